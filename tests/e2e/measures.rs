//! What Godwit says that a move has lost, beside what the rig's own meter says.

use anyhow::{Context, Result, ensure};
use godwit_rig::guest::WEB_1;
use godwit_rig::losses::Loss;
use godwit_rig::{Host, build, godwit, measure};

use crate::stage::Stage;

/// Beside the guest's own, for a while.
const V6: &str = "fd77::100";

/// The phases that the guest's probes are counted in, the transfer left out: what comes to a guest in its pause the meter counts
/// there, and the guest's clock stands still.
const PHASES: [&str; 4] = ["fail-over", "unplug", "plug", "fail-back"];

/// Both ask a hundred times a second, not at the same instants, and each loses what it loses by itself: a probe is lost on its
/// way there or back, and a datagram of the meter on one of them.
pub(crate) fn agrees_with_the_meter(stage: &Stage) -> Result<()> {
    let probe = build::build_static(&stage.place, "godwit-probe")?;
    let measured = measure::one_move(&stage.place, &probe, Host::Alpha, |_| {})?;
    ensure!(
        measured.code == 0,
        "exit code {}: {}",
        measured.code,
        measured.complaint
    );
    let id = &measured.migration.id;
    let told = measured.migration.measurement.clone();
    let told = told.context("the source's record has no measurement")?;
    let there = godwit::status(&stage.place, Host::Beta, id)?.measurement;
    ensure!(
        there.as_ref() == Some(&told),
        "beta says {there:?}, alpha {told:?}"
    );
    ensure!(told.not_measured.is_empty(), "{told:?}");
    let pair = told.pairs.first().context("no pair was measured")?;
    let mut lost = 0;
    for phase in PHASES {
        let found = pair.phases.iter().find(|counted| counted.phase == phase);
        let counted = found.with_context(|| format!("{phase} was not measured: {told:?}"))?;
        lost += counted.lost;
    }
    let sent: u64 = pair.phases.iter().map(|phase| phase.sent).sum();
    let meter = measured
        .losses
        .iter()
        .filter(|(phase, _)| PHASES.contains(&phase.as_str()));
    let meter = meter.fold(Loss::default(), |all, (_, loss)| all.plus(*loss));
    let (there, back) = (meter.to_guest.1, meter.from_guest.1);
    println!("  the guest lost {lost} of {sent}, the meter {there} to it and {back} from it");
    ensure!(sent > 100, "too little was sent: {told:?}");
    // What the emulator's main loop holds up for more than a second, as it does at a plug, is late for the meter and lost for the guest.
    let held_up = pair.phases.iter().map(|phase| phase.longest_gap_ms);
    let late: u64 = held_up.filter(|ms| *ms >= 1000).map(|ms| ms / 10).sum();
    let (least, most) = (there.max(back) / 2, (there + back) * 3 / 2 + late);
    ensure!(
        (least.saturating_sub(20)..=most + 20).contains(&lost),
        "the guest lost {lost}, the meter {there} and {back}: {told:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// What arrives while the guest stands still between its hosts comes late, and is not lost, nor is anything else of the move: there and
/// back.
pub(crate) fn nothing_is_lost_in_the_pause(stage: &Stage) -> Result<()> {
    nothing_is_lost_to(stage, WEB_1.address)
}

/// So it is with IPv6, whose neighbours are found by multicast.
pub(crate) fn nothing_is_lost_by_ipv6(stage: &Stage) -> Result<()> {
    let bond = |word: &str| {
        let line = format!("ip -6 addr {word} {V6}/64 dev bond0");
        let answer = WEB_1.shell(&stage.place, Host::Alpha, &line)?;
        ensure!(answer.status == 0, "{line}: {}", answer.text);
        anyhow::Ok(())
    };
    // One that a story before this left there is as good.
    bond("replace")?;
    let told = nothing_is_lost_to(stage, V6);
    // Where it came back to; one that was left elsewhere is switched off.
    let undone = bond("del");
    told.and(undone)
}

fn nothing_is_lost_to(stage: &Stage, address: &str) -> Result<()> {
    let probe = build::build_static(&stage.place, "godwit-probe")?;
    for from in [Host::Alpha, Host::Beta] {
        let (measured, hops) = measure::traced_move(&stage.place, &probe, from, address)?;
        ensure!(
            measured.code == 0,
            "exit code {}: {}",
            measured.code,
            measured.complaint
        );
        let kept = measured.migration.kept.clone();
        let kept = kept.context("the record does not say what was kept")?;
        let lost = measured.losses.get("transfer").copied().unwrap_or_default();
        println!(
            "  from {from}: {} of {} lost in the transfer, pause {:?} ms, {kept:?}",
            lost.to_guest.1, lost.to_guest.0, measured.downtime_ms
        );
        for lost in &hops {
            println!("    lost {lost}");
        }
        ensure!(kept.not_kept.is_empty() && kept.frames > 0, "{kept:?}");
        ensure!(kept.delivered == kept.frames, "{kept:?}");
        ensure!(lost.to_guest.1 == 0, "{lost:?} in the transfer: {kept:?}");
        let elsewhere = measured.losses.iter().filter(|(phase, _)| *phase != "transfer");
        let elsewhere = elsewhere.fold(Loss::default(), |all, (_, loss)| all.plus(*loss));
        println!("    outside the transfer: {elsewhere:?}");
        // Of what the guest sent as it stopped, one has been seen to be lost, and its neighbours come as the VF is plugged.
        ensure!(
            elsewhere.to_guest.1 == 0 && elsewhere.from_guest.1 <= 1,
            "lost outside the transfer: {:?}",
            measured.losses
        );
    }
    Ok(())
}

/// Nothing is asked of the guest, and nothing told.
pub(crate) fn off_for_one_move(stage: &Stage) -> Result<()> {
    let answer = stage.godwit("migrate web-1 beta --wait --probes 0")?;
    answer.done()?;
    let all = godwit::migrations(&stage.place, Host::Beta)?;
    let last = all.first().context("beta has no migration")?;
    let last = stage.migration(Host::Beta, &last.id, |migration| migration.ended)?;
    ensure!(last.measurement.is_none(), "{last:?}");
    stage.guest_is_accelerated_on(Host::Beta)
}
