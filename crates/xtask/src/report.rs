//! The demo's result, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use godwit_rig::losses::Loss;
use godwit_rig::measure::Measured;
use serde_json::{Value, json};

/// What people read.
pub(crate) fn text(all: &[Measured]) -> String {
    let mut text = String::new();
    for (measured, number) in all.iter().zip(1..) {
        if all.len() == 1 {
            timeline(&mut text, measured);
        } else {
            headline(&mut text, number, measured);
        }
        verdict(&mut text, measured);
    }
    losses(&mut text, all);
    text.push_str(EXPLORE);
    text
}

/// What programs read: one line, about the last move; losses are the sums of all.
pub(crate) fn json(all: &[Measured]) -> String {
    let Some(last) = all.last() else {
        return json!({"moved": false, "accelerated": false}).to_string();
    };
    let phases: Vec<Value> = last
        .spans
        .iter()
        .map(|span| json!({"name": span.name, "host": span.host, "ms": rounded(span.ms())}))
        .collect();
    let mut lost: BTreeMap<&str, Value> = BTreeMap::new();
    let sums = sums(all);
    for (phase, loss) in &sums {
        lost.insert(
            phase,
            json!({"to_guest": loss.to_guest.1, "from_guest": loss.from_guest.1}),
        );
    }
    let total = sums.values().copied().fold(Loss::default(), Loss::plus);
    lost.insert(
        "total",
        json!({"to_guest": total.to_guest.1, "from_guest": total.from_guest.1}),
    );
    json!({
        "moved": last.moved,
        "accelerated": last.accelerated,
        "answered": last.answered,
        "moves": all.len(),
        "phases": phases,
        "sent": {"to_guest": total.to_guest.0, "from_guest": total.from_guest.0},
        "lost": lost,
        "downtime_ms": last.downtime_ms,
    })
    .to_string()
}

const EXPLORE: &str = "\nThe rig stays up. To explore it:
  cargo xtask rig status
  cargo xtask rig guest state
  cargo xtask rig ssh beta godwit status
  cargo xtask rig ssh beta               a shell on the host
To take it down:
  cargo xtask rig down
";

fn timeline(text: &mut String, measured: &Measured) {
    let start = measured.spans.first().map_or(0.0, |span| span.from);
    let _ = writeln!(text, "\n{:>9}  {:<6} {:<12} {:>9}", "at", "host", "phase", "took");
    for span in &measured.spans {
        let _ = write!(
            text,
            "{:>7.2} s  {:<6} {:<12} ",
            span.from - start,
            span.host,
            span.name
        );
        let _ = match span.to.is_finite() {
            true => writeln!(text, "{:>7.2} s", span.to - span.from),
            false => writeln!(text, "{:>9}", "goes on"),
        };
    }
}

fn headline(text: &mut String, number: u32, measured: &Measured) {
    let end = measured
        .spans
        .iter()
        .map(|span| span.to)
        .filter(|to| to.is_finite())
        .fold(0.0, f64::max);
    let start = measured.spans.first().map_or(end, |span| span.from);
    let migration = &measured.migration;
    let (source, destination) = (&migration.source, &migration.destination);
    let _ = writeln!(
        text,
        "\nmove {number}, {source} to {destination}, took {:.1} s",
        end - start
    );
}

fn verdict(text: &mut String, measured: &Measured) {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let traffic = measured.traffic;
    let _ = writeln!(text, "moved, by libvirt on both hosts: {}", yes(measured.moved));
    let _ = writeln!(
        text,
        "accelerated, by counters under traffic: {} (VF {} packets in, {} out; tap {} in, {} out)",
        yes(measured.accelerated),
        traffic.vf.0,
        traffic.vf.1,
        traffic.tap.0,
        traffic.tap.1,
    );
    let _ = writeln!(text, "answered in the end: {}", yes(measured.answered));
    let downtime = measured
        .downtime_ms
        .map_or("unknown".into(), |ms| format!("{ms} ms"));
    let _ = writeln!(text, "the guest stood still, by QEMU: {downtime}");
    if measured.code != 0 {
        let said = measured.complaint.trim_end();
        let _ = writeln!(text, "godwit migrate ended with {}: {said}", measured.code);
    }
}

/// One column per move and direction, one line per phase, in the order of the phases.
fn losses(text: &mut String, all: &[Measured]) {
    let _ = writeln!(
        text,
        "\ndatagrams lost of sent, to the guest and from it, at 100/s each way:"
    );
    let _ = write!(text, "{:<12}", "phase");
    for number in 1..=all.len() {
        let _ = write!(
            text,
            " {:>12} {:>12}",
            format!("{number} to"),
            format!("{number} from")
        );
    }
    text.push('\n');
    for phase in order(all) {
        let _ = write!(text, "{phase:<12}");
        for measured in all {
            row(text, measured.losses.get(phase).copied().unwrap_or_default());
        }
        text.push('\n');
    }
    let _ = write!(text, "{:<12}", "total");
    for measured in all {
        row(
            text,
            measured
                .losses
                .values()
                .copied()
                .fold(Loss::default(), Loss::plus),
        );
    }
    text.push('\n');
}

fn row(text: &mut String, loss: Loss) {
    let of = |(sent, lost): (u64, u64)| format!("{lost} of {sent}");
    let _ = write!(text, " {:>12} {:>12}", of(loss.to_guest), of(loss.from_guest));
}

/// The names of all phases with traffic, in the order in which they first began.
fn order(all: &[Measured]) -> Vec<&str> {
    let begun = all
        .iter()
        .flat_map(|measured| measured.spans.iter().map(|span| span.name.as_str()));
    let names = std::iter::once("before").chain(begun).chain(["between", "after"]);
    let mut order: Vec<&str> = Vec::new();
    for name in names {
        let has_traffic = all.iter().any(|measured| measured.losses.contains_key(name));
        if has_traffic && !order.contains(&name) {
            order.push(name);
        }
    }
    order
}

fn sums(all: &[Measured]) -> BTreeMap<String, Loss> {
    let mut sums: BTreeMap<String, Loss> = BTreeMap::new();
    for (phase, loss) in all.iter().flat_map(|measured| &measured.losses) {
        let sum = sums.entry(phase.clone()).or_default();
        *sum = sum.plus(*loss);
    }
    sums
}

/// A number of milliseconds, or null for a phase that goes on.
fn rounded(ms: f64) -> Value {
    if ms.is_finite() {
        json!(ms.round() as i64)
    } else {
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use godwit_rig::counters::Traffic;
    use godwit_rig::godwit::Migration;
    use godwit_rig::losses::Loss;
    use godwit_rig::measure::Measured;
    use godwit_rig::timeline::Span;

    fn measured() -> Measured {
        let span = Span {
            host: "alpha".into(),
            name: "transfer".into(),
            from: 1.0,
            to: 3.5,
        };
        let loss = Loss {
            to_guest: (250, 7),
            from_guest: (240, 2),
        };
        Measured {
            code: 0,
            complaint: String::new(),
            migration: Migration::default(),
            spans: vec![span],
            losses: BTreeMap::from([("transfer".to_owned(), loss)]),
            downtime_ms: Some(480),
            traffic: Traffic {
                vf: (300, 300),
                tap: (0, 0),
            },
            moved: true,
            accelerated: true,
            answered: true,
        }
    }

    #[test]
    fn the_last_line_is_one_object() {
        let line = super::json(&[measured()]);
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["moved"], true);
        assert_eq!(value["phases"][0]["ms"], 2500);
        assert_eq!(value["lost"]["transfer"]["to_guest"], 7);
        assert_eq!(value["downtime_ms"], 480);
    }

    #[test]
    fn people_see_losses_beside_their_phase() {
        let text = super::text(&[measured(), measured()]);
        assert!(
            text.contains("transfer         7 of 250     2 of 240     7 of 250     2 of 240"),
            "{text}"
        );
        assert!(text.contains("480 ms"));
    }
}
