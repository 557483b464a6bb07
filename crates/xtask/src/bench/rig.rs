//! On the rig: moves by Godwit and by a script of the same steps, alternately, on the same guest.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use godwit_rig::between::{self, Between};
use godwit_rig::losses::Loss;
use godwit_rig::measure::{self, Measured};
use godwit_rig::rig::Up;
use godwit_rig::{Host, Place, Rig, build, godwit, logs, ready, say, script, ssh};
use serde_json::{Value, json};

use super::{Aim, Part, median};

/// Phases that both have, in order.
const PHASES: [&str; 5] = ["fail-over", "unplug", "transfer", "plug", "fail-back"];

/// One move.
struct Moved {
    from: Host,
    /// From the command to the guest on its VF, seconds.
    total_s: f64,
    measured: Measured,
    /// Only Godwit's: its own time between steps.
    between: Vec<Between>,
}

pub(super) fn moves(rig: &Rig, count: u32) -> Result<Part> {
    rig.up(Up {
        optimised: true,
        ..Up::default()
    })?;
    let probe = build::build_static(&rig.place, "godwit-probe")?;
    ready::on(&rig.place, Host::Alpha)?;
    let idle = daemons_mb(&rig.place)?;
    let (mut by_godwit, mut by_script) = (Vec::new(), Vec::new());
    let mut from = Host::Alpha;
    for number in 0..2 * count {
        // Each goes as often one way as the other, and as often first.
        let godwit = matches!(number % 4, 0 | 3);
        let who = if godwit { "godwit" } else { "script" };
        say(format!(
            "move {} of {} by {who}, from {from}",
            number + 1,
            2 * count
        ));
        let moved = match godwit {
            true => godwit_moves(&rig.place, &probe, from),
            false => script_moves(&rig.place, &probe, from),
        };
        if moved.is_err() {
            logs::after_failure(&rig.place, "bench");
        }
        let moved = moved.with_context(|| format!("move {} by {who}", number + 1))?;
        say(format!("  {:.1} s", moved.total_s));
        if godwit { &mut by_godwit } else { &mut by_script }.push(moved);
        from = from.other();
    }
    Ok(told(&by_godwit, &by_script, &[idle, daemons_mb(&rig.place)?]))
}

fn godwit_moves(place: &Place, probe: &std::path::Path, from: Host) -> Result<Moved> {
    let (begun, mut measured) = measure::begun_move(place, probe, from, |_| {})?;
    let id = measured.migration.id.clone();
    measured.migration = godwit_rig::command::wait_for("the record's end", ready_limit(), || {
        let known = godwit::status(place, from, &id)?;
        Ok(Some(known).filter(|known| known.ended))
    })?;
    let between = between::of(place, &measured.migration)?;
    moved(from, begun, measured, between)
}

fn ready_limit() -> std::time::Duration {
    std::time::Duration::from_secs(60)
}

fn script_moves(place: &Place, probe: &std::path::Path, from: Host) -> Result<Moved> {
    for host in Host::ALL {
        ssh::run(place, host, "rig-service stop godwitd")?;
    }
    let done = script::one_move(place, probe, from);
    for host in Host::ALL {
        ssh::run(place, host, "rig-service start godwitd")?;
    }
    let (begun, measured) = done?;
    moved(from, begun, measured, Vec::new())
}

fn moved(from: Host, begun: f64, measured: Measured, between: Vec<Between>) -> Result<Moved> {
    ensure!(
        measured.code == 0 && measured.moved && measured.accelerated && measured.answered,
        "it did not go well: {measured:?}"
    );
    let back = measured.spans.iter().rev().find(|span| span.name == "fail-back");
    let back = back.context("no fail back")?.to;
    Ok(Moved {
        from,
        total_s: back - begun,
        measured,
        between,
    })
}

/// Resident megabytes of godwitd on each host.
fn daemons_mb(place: &Place) -> Result<[f64; 2]> {
    let mut all = [0.0; 2];
    for (host, mb) in Host::ALL.into_iter().zip(&mut all) {
        let line = "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(cat /run/rig/godwitd.pid)/status";
        let kib: f64 = ssh::output(place, host, line)?.trim().parse()?;
        *mb = kib * 1024.0 / 1e6;
    }
    Ok(all)
}

impl Moved {
    fn phase_s(&self, name: &str) -> f64 {
        let spans = self.measured.spans.iter().filter(|span| span.name == name);
        spans.map(|span| span.ms() / 1000.0).sum()
    }

    /// Godwit's own time between steps, milliseconds: after these phases, or after all.
    fn between_ms(&self, counts: impl Fn(&Between) -> bool) -> f64 {
        let counted = self.between.iter().filter(|one| counts(one));
        counted.map(|one| one.ms).sum()
    }

    fn lost(&self) -> Loss {
        let losses = self.measured.losses.values().copied();
        losses.fold(Loss::default(), Loss::plus)
    }

    fn json(&self) -> Value {
        let phases: BTreeMap<&str, f64> = PHASES.map(|name| (name, self.phase_s(name))).into();
        let lost = self.lost();
        json!({"from": self.from.name(), "total_s": self.total_s, "phases_s": phases,
            "downtime_ms": self.measured.downtime_ms,
            "sent": {"to_guest": lost.to_guest.0, "from_guest": lost.from_guest.0},
            "lost": {"to_guest": lost.to_guest.1, "from_guest": lost.from_guest.1}})
    }
}

/// What the guest's next step waits for.
fn on_the_way(one: &Between) -> bool {
    ["reserve", "queue", "fail-over", "unplug", "await", "plug"].contains(&one.after.as_str())
}

fn told(by_godwit: &[Moved], by_script: &[Moved], daemons_mb: &[[f64; 2]]) -> Part {
    let middle = |moves: &[Moved], of: &dyn Fn(&Moved) -> f64| median(moves.iter().map(of).collect());
    let share = |moved: &Moved| moved.between_ms(on_the_way) / moved.total_s / 10.0;
    let ratios: Vec<f64> = by_godwit
        .iter()
        .zip(by_script)
        .map(|(godwit, script)| godwit.total_s / script.total_s)
        .collect();
    let aim = Aim {
        what: "share of a move that godwitd takes between steps, median",
        measured: middle(by_godwit, &share),
        most: 2.0,
        unit: "%",
    };
    let mut text = table(by_godwit, by_script);
    let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let _ = writeln!(
        text,
        "godwit's total over the script's, pair by pair: {}; median {:.2}",
        shown.join(", "),
        median(ratios.clone())
    );
    let (way, all) = (
        middle(by_godwit, &|moved| moved.between_ms(on_the_way)),
        middle(by_godwit, &|moved| moved.between_ms(|_| true)),
    );
    let _ = writeln!(
        text,
        "godwitd between steps, median: {way:.0} ms on the guest's way, {all:.0} ms in all on both hosts"
    );
    let _ = writeln!(
        text,
        "resident memory of godwitd, alpha and beta, before and after: {daemons_mb:.1?} MB"
    );
    let idle = Aim {
        what: "memory of an idle godwitd, the larger of two",
        measured: daemons_mb
            .first()
            .map_or(f64::NAN, |first| first[0].max(first[1])),
        most: 30.0,
        unit: "MB",
    };
    let aims = [aim, idle];
    aims.iter().for_each(|aim| text.push_str(&aim.text()));
    let json = json!({
        "godwit": by_godwit.iter().map(Moved::json).collect::<Vec<_>>(),
        "script": by_script.iter().map(Moved::json).collect::<Vec<_>>(),
        "ratios": ratios,
        "ratio_median": median(ratios.clone()),
        "between_ms": {"on_the_way": way, "all": all},
        "godwitd_resident_mb": daemons_mb,
        "aims": aims.iter().map(Aim::json).collect::<Vec<_>>(),
    });
    Part { text, json }
}

fn table(by_godwit: &[Moved], by_script: &[Moved]) -> String {
    let mut text = format!(
        "\nMoves of the rig's guest under {} datagrams a second each way, {} by each, seconds\n  {:<22}",
        measure::RATE,
        by_godwit.len(),
        ""
    );
    for (who, moves) in [("godwit", by_godwit), ("script", by_script)] {
        moves
            .iter()
            .for_each(|moved| _ = write!(text, " {:>9}", format!("{who}<{}", &moved.from.name()[..1])));
        let _ = write!(text, " {:>9}", "median");
    }
    text.push('\n');
    let mut row = |name: &str, of: &dyn Fn(&Moved) -> f64, digits: usize| {
        let _ = write!(text, "  {name:<22}");
        for moves in [by_godwit, by_script] {
            let values: Vec<f64> = moves.iter().map(of).collect();
            values
                .iter()
                .for_each(|value| _ = write!(text, " {value:>9.digits$}"));
            let _ = write!(text, " {:>9.digits$}", median(values));
        }
        text.push('\n');
    };
    for name in PHASES {
        row(name, &|moved| moved.phase_s(name), 2);
    }
    row("command to accelerated", &|moved| moved.total_s, 2);
    row(
        "pause, ms",
        &|moved| moved.measured.downtime_ms.map_or(f64::NAN, |ms| ms as f64),
        0,
    );
    row("lost to the guest", &|moved| moved.lost().to_guest.1 as f64, 0);
    let in_transfer = |moved: &Moved| {
        let losses = &moved.measured.losses;
        losses.get("transfer").map_or(0.0, |loss| loss.to_guest.1 as f64)
    };
    row("  in the transfer", &in_transfer, 0);
    row(
        "lost from the guest",
        &|moved| moved.lost().from_guest.1 as f64,
        0,
    );
    text
}
