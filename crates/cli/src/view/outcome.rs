//! The two outcomes of a migration as sentences, never mixed up: did the guest move, is it accelerated.

use godwit_api::v1::{Acceleration, Migration, Moved};

use super::words;

/// Where the guest is, where its traffic is, and how long QEMU paused it (once that is known).
pub(crate) fn sentences(migration: &Migration) -> Vec<String> {
    let mut sentences = vec![place(migration)];
    sentences.extend(traffic(migration));
    let downtime = migration
        .progress
        .as_ref()
        .and_then(|progress| progress.downtime_ms);
    if let Some(ms) = downtime.filter(|_| migration.moved() == Moved::Yes) {
        sentences.push(format!("QEMU paused it for {}.", words::length(ms)));
    }
    sentences
}

/// A migration's state in a few words, for a table.
pub(crate) fn brief(migration: &Migration) -> String {
    if migration.needs_person {
        return "needs a person".into();
    }
    if !migration.settled {
        return at_work(migration);
    }
    match (migration.moved(), migration.acceleration()) {
        (Moved::Yes, Acceleration::Accelerated) => "moved, accelerated",
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

fn traffic(migration: &Migration) -> Option<String> {
    match migration.acceleration() {
        _ if migration.moved() == Moved::Gone => None,
        Acceleration::Accelerated => Some(on_vfs(migration)),
        Acceleration::Standby => {
            let since = words::time(migration.standby_since.as_ref())
                .map(|time| format!(" since {}", words::to_second(Some(time))))
                .unwrap_or_default();
            let because = match migration.because.trim().trim_end_matches('.') {
                "" => String::new(),
                because => format!(", because {because}"),
            };
            Some(format!("Its traffic is on standby{since}{because}."))
        }
        Acceleration::Unknown | Acceleration::Unspecified => {
            Some("Whether its traffic is on a VF was not observed.".into())
        }
    }
}

fn on_vfs(migration: &Migration) -> String {
    let arrived = migration.moved() == Moved::Yes;
    let vfs: Vec<&str> = migration
        .pairs
        .iter()
        .map(|pair| {
            if arrived {
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
        QEMU paused it for 214 ms.
        ");
    }

    #[test]
    fn moved_and_on_standby() {
        let mut migration = sample::on_standby();
        insta::assert_snapshot!(told(&migration), @"
        web-1 runs on beta.
        Its traffic is on standby since 2026-01-02 03:04:15Z, because the driver in the guest did not take the VF.
        QEMU paused it for 214 ms.
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
