//! The two outcomes of a migration as sentences, never mixed up: did the guest move, is it accelerated.

use godwit_api::v1::{Acceleration, Migration, Moved, Phase};

use super::{stays, words};
use crate::exit::Wish;

pub(crate) use stays::{stays, vf_here};

/// "Migration", or what else it is.
pub(crate) fn noun(migration: &Migration) -> &'static str {
    if stays(migration) {
        "Operation"
    } else {
        "Migration"
    }
}

/// From where to where; of a guest that stays, where.
pub(crate) fn hosts(migration: &Migration) -> String {
    match stays(migration) {
        true => migration.source.clone(),
        false => format!("{} -> {}", migration.source, migration.destination),
    }
}

/// What it is about, in one line, by what was wished: a guest that arrives can be put on its standby as well.
pub(crate) fn way(wish: Wish, migration: &Migration) -> String {
    let Migration {
        id,
        guest,
        source,
        destination,
        ..
    } = migration;
    let what = match (wish, migration.ended) {
        (Wish::Move, _) => format!("{guest} moves from {source} to {destination}"),
        (Wish::Accelerate, false) => format!("{guest} is being accelerated on {destination}"),
        (Wish::Accelerate, true) => format!("{guest} was to be accelerated on {destination}"),
        (Wish::Standby, false) => format!("{guest} is being put on its standby on {destination}"),
        (Wish::Standby, true) => format!("{guest} was to be put on its standby on {destination}"),
    };
    format!("{} {id}: {what}.", noun(migration))
}

/// What it waits for, as far as that has a word.
pub(crate) fn waits(migration: &Migration) -> Option<String> {
    match (migration.phase(), migration.queue_place) {
        (Phase::Queue, place) if place > 0 && !migration.settled => {
            Some(format!("waits for other transfers, place {place}"))
        }
        (Phase::Unplug, _) if rests(migration) => Some("waits for the guest to let its VF go".into()),
        _ if waits_for_vf(migration) => Some("waits for a VF".into()),
        _ => None,
    }
}

pub(super) fn waits_for_vf(migration: &Migration) -> bool {
    rests(migration) && migration.phase() == Phase::Hold
}

fn rests(migration: &Migration) -> bool {
    migration.settled && !migration.ended
}

/// Where the guest is, where its traffic is, and how long it stood still by libvirt (once that is known).
pub(crate) fn sentences(migration: &Migration) -> Vec<String> {
    let mut sentences = match stays(migration) {
        true => stays::sentences(migration),
        false => vec![place(migration)],
    };
    if !stays(migration) {
        sentences.extend(traffic(migration));
    }
    sentences.extend(waits(migration).map(|why| format!("It {why}.")));
    let downtime = migration
        .progress
        .as_ref()
        .and_then(|progress| progress.downtime_ms);
    if let Some(ms) = downtime.filter(|_| migration.moved() == Moved::Yes) {
        sentences.push(format!("It stood still for {}, by libvirt.", words::length(ms)));
    }
    sentences
}

/// A migration's state in a few words, for a table.
pub(crate) fn brief(migration: &Migration) -> String {
    if migration.needs_person {
        return "needs a person".into();
    }
    if stays(migration) {
        return stays::brief(migration);
    }
    if !migration.settled {
        return at_work(migration);
    }
    match (migration.moved(), migration.acceleration()) {
        (Moved::Yes, Acceleration::Accelerated) => "moved, accelerated",
        (Moved::Yes, Acceleration::Standby) if waits_for_vf(migration) => "moved, waits for a VF",
        (Moved::Yes, Acceleration::Standby) => "moved, on standby",
        (Moved::Yes, _) => "moved",
        (Moved::No, _) => "rolled back",
        (Moved::Unknown, _) => "place unknown",
        (Moved::Gone, _) => "guest gone",
        (Moved::Undecided | Moved::Unspecified, _) => "failed",
    }
    .into()
}

fn at_work(migration: &Migration) -> String {
    let phase = words::phase_or_dash(migration.phase());
    let turned = migration.moved() == Moved::No;
    let percent = migration.progress.as_ref().and_then(words::percent);
    match (turned, migration.cancelled, percent) {
        (true, _, _) => format!("undo: {phase}"),
        (false, true, _) => format!("cancelled: {phase}"),
        (false, false, _) if waits(migration).is_some() => {
            format!("{phase}, place {}", migration.queue_place)
        }
        (false, false, Some(percent)) if phase == "transfer" => format!("{phase} {percent} %"),
        (false, false, _) => phase,
    }
}

fn place(migration: &Migration) -> String {
    let Migration {
        guest,
        source,
        destination,
        ..
    } = migration;
    match migration.moved() {
        Moved::Yes => format!("{guest} runs on {destination}."),
        Moved::No => format!("{guest} stays on {source}."),
        Moved::Unknown => format!("It is not known whether {guest} runs on {source} or on {destination}."),
        Moved::Gone => format!("{guest} runs neither on {source} nor on {destination}."),
        Moved::Undecided | Moved::Unspecified if migration.settled => {
            format!("It was not decided whether {guest} moves from {source} to {destination}.")
        }
        Moved::Undecided | Moved::Unspecified => {
            format!("It is not decided yet whether {guest} moves from {source} to {destination}.")
        }
    }
}

pub(super) fn traffic(migration: &Migration) -> Option<String> {
    match migration.acceleration() {
        _ if migration.moved() == Moved::Gone => None,
        Acceleration::Accelerated => Some(on_vfs(migration)),
        Acceleration::Standby => {
            let since = since_and_because(migration);
            Some(format!("Its traffic is on standby{since}."))
        }
        Acceleration::Unknown | Acceleration::Unspecified => {
            Some("Whether its traffic is on a VF was not observed.".into())
        }
    }
}

/// " since 2026-01-02 03:04:15Z, because …", as far as it is known.
pub(super) fn since_and_because(migration: &Migration) -> String {
    let since = words::time(migration.standby_since.as_ref())
        .map(|time| format!(" since {}", words::to_second(Some(time))))
        .unwrap_or_default();
    match migration.because.trim().trim_end_matches('.') {
        "" => since,
        because => format!("{since}, because {because}"),
    }
}

fn on_vfs(migration: &Migration) -> String {
    let arrived = migration.moved() == Moved::Yes;
    let vfs: Vec<&str> = migration
        .pairs
        .iter()
        .map(|pair| {
            if stays(migration) {
                vf_here(pair)
            } else if arrived {
                pair.destination_vf.as_str()
            } else {
                pair.source_vf.as_str()
            }
        })
        .filter(|vf| !vf.is_empty())
        .collect();
    match vfs[..] {
        [] => "Its traffic is on its VF.".into(),
        [vf] => format!("Its traffic is on the VF {vf}."),
        _ => format!("Its traffic is on the VFs {}.", vfs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;
    use godwit_api::v1::Phase;

    fn told(migration: &Migration) -> String {
        sentences(migration).join("\n")
    }

    #[test]
    fn moved_and_accelerated() {
        insta::assert_snapshot!(told(&sample::accelerated()), @"
        web-1 runs on beta.
        Its traffic is on the VF 0000:01:10.2.
        It stood still for 214 ms, by libvirt.
        ");
    }

    #[test]
    fn moved_and_on_standby() {
        let mut migration = sample::on_standby();
        insta::assert_snapshot!(told(&migration), @"
        web-1 runs on beta.
        Its traffic is on standby since 2026-01-02 03:04:15Z, because the driver in the guest did not take the VF.
        It stood still for 214 ms, by libvirt.
        ");
        migration.because.clear();
        migration.standby_since = None;
        assert_eq!(sentences(&migration)[1], "Its traffic is on standby.");
    }

    #[test]
    fn rolled_back() {
        insta::assert_snapshot!(told(&sample::rolled_back()), @"
        web-1 stays on alpha.
        Its traffic is on the VF 0000:01:10.0.
        ");
    }

    #[test]
    fn nobody_knows() {
        insta::assert_snapshot!(told(&sample::unknown()), @"
        It is not known whether web-1 runs on alpha or on beta.
        Whether its traffic is on a VF was not observed.
        ");
        let gone = Migration {
            moved: Moved::Gone.into(),
            ..sample::unknown()
        };
        insta::assert_snapshot!(told(&gone), @"web-1 runs neither on alpha nor on beta.");
    }

    #[test]
    fn waiting() {
        let queued = sample::queued();
        let hold = Migration {
            phase: Phase::Hold.into(),
            ..sample::on_standby()
        };
        let all = [
            queued.clone(),
            Migration {
                queue_place: 0,
                ..queued
            },
            hold,
        ];
        let lines: Vec<String> = all
            .iter()
            .map(|m| format!("[{}] {}", brief(m), sentences(m).join(" ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        [queue, place 2] It is not decided yet whether web-1 moves from alpha to beta. Its traffic is on the VF 0000:01:10.0. It waits for other transfers, place 2.
        [queue] It is not decided yet whether web-1 moves from alpha to beta. Its traffic is on the VF 0000:01:10.0.
        [moved, waits for a VF] web-1 runs on beta. Its traffic is on standby since 2026-01-02 03:04:15Z, because the driver in the guest did not take the VF. It waits for a VF. It stood still for 214 ms, by libvirt.
        ");
    }

    #[test]
    fn what_it_is_about_follows_the_wish() {
        let all = [
            way(Wish::Move, &sample::running()),
            way(Wish::Standby, &sample::running()),
            way(Wish::Accelerate, &sample::accelerating()),
            way(
                Wish::Accelerate,
                &Migration {
                    ended: true,
                    ..sample::accelerating()
                },
            ),
            hosts(&sample::running()),
            hosts(&sample::accelerating()),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        Migration 0198c0de-1111-7222-8333-444455556666: web-1 moves from alpha to beta.
        Migration 0198c0de-1111-7222-8333-444455556666: web-1 is being put on its standby on beta.
        Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being accelerated on alpha.
        Operation 0198c0de-1111-7222-8333-444455556666: web-1 was to be accelerated on alpha.
        alpha -> beta
        alpha
        ");
    }

    #[test]
    fn briefly() {
        let running = sample::running();
        let seen = [
            running.clone(),
            Migration {
                cancelled: true,
                ..running.clone()
            },
            Migration {
                moved: Moved::No.into(),
                phase: Phase::Plug.into(),
                cancelled: true,
                ..running.clone()
            },
            Migration {
                phase: Phase::Reserve.into(),
                progress: None,
                ..running
            },
            sample::accelerated(),
            sample::on_standby(),
            Migration {
                acceleration: Acceleration::Unknown.into(),
                ..sample::accelerated()
            },
            sample::rolled_back(),
            sample::unknown(),
            Migration {
                needs_person: false,
                ..sample::unknown()
            },
            Migration {
                moved: Moved::Gone.into(),
                needs_person: false,
                ..sample::unknown()
            },
            Migration {
                moved: Moved::Undecided.into(),
                ..sample::rolled_back()
            },
        ];
        insta::assert_snapshot!(seen.iter().map(brief).collect::<Vec<_>>().join("\n"), @"
        transfer 60 %
        cancelled: transfer
        undo: plug
        reserve
        moved, accelerated
        moved, on standby
        moved
        rolled back
        needs a person
        place unknown
        guest gone
        failed
        ");
    }
}
