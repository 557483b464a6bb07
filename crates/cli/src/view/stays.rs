//! An operation on a guest that stays, as sentences: it is accelerated, or put on its standby, without a migration.

use godwit_api::v1::{Acceleration, Migration, Moved, PairStatus, Phase, Role};

use super::{outcome, words};

/// It is no migration: source and destination are this host.
pub(crate) fn stays(migration: &Migration) -> bool {
    matches!(migration.role(), Role::Accelerate | Role::Decelerate)
}

/// The VF that a pair has, or gets, on the host that the guest stays on.
pub(crate) fn vf_here(pair: &PairStatus) -> &str {
    match pair.destination_vf.as_str() {
        "" => &pair.source_vf,
        vf => vf,
    }
}

/// What is being done with it, where its traffic is, and what it waits for.
pub(super) fn sentences(migration: &Migration) -> Vec<String> {
    let Migration { guest, source, .. } = migration;
    let to_standby = migration.role() == Role::Decelerate;
    let mut sentences = Vec::new();
    match (migration.settled, migration.acceleration()) {
        _ if migration.moved() == Moved::Gone => {
            return vec![format!("{guest} does not run on {source} any more.")];
        }
        (false, _) => {
            sentences.push(at_work(migration));
            sentences.extend(outcome::traffic(migration));
        }
        (true, Acceleration::Accelerated) if to_standby => {
            sentences.push(format!(
                "{guest} is not on its standby: that could not be had, so it is accelerated on {source} again."
            ));
            sentences.extend(outcome::traffic(migration));
        }
        (true, Acceleration::Accelerated) => {
            sentences.push(format!("{guest} is accelerated on {source}."));
            sentences.extend(outcome::traffic(migration));
        }
        (true, Acceleration::Standby) => {
            let since = outcome::since_and_because(migration);
            sentences.push(format!("{guest} is on its standby on {source}{since}."));
            if to_standby && !migration.ended && is_up(migration) {
                sentences.push("Its VF could not be taken, so it is accelerated again.".into());
            }
        }
        (true, Acceleration::Unknown | Acceleration::Unspecified) => {
            sentences.push(format!("{guest} runs on {source}."));
            sentences.extend(outcome::traffic(migration));
        }
    }
    sentences
}

/// Its state in a few words, for a table.
pub(super) fn brief(migration: &Migration) -> String {
    let to_standby = migration.role() == Role::Decelerate;
    if !migration.settled {
        let phase = words::phase_or_dash(migration.phase());
        return match (to_standby, is_up(migration)) {
            (false, true) => format!("accelerate: {phase}"),
            (true, true) => format!("undo: {phase}"),
            (_, false) => format!("standby: {phase}"),
        };
    }
    match migration.acceleration() {
        _ if migration.moved() == Moved::Gone => "guest gone",
        Acceleration::Accelerated if to_standby => "accelerated again",
        Acceleration::Accelerated => "accelerated",
        Acceleration::Standby if outcome::waits_for_vf(migration) => "waits for a VF",
        Acceleration::Standby => "on standby",
        Acceleration::Unknown | Acceleration::Unspecified => "failed",
    }
    .into()
}

fn at_work(migration: &Migration) -> String {
    let Migration { guest, source, .. } = migration;
    match (migration.role() == Role::Decelerate, is_up(migration)) {
        (false, true) => format!("{guest} is being accelerated on {source}."),
        (true, true) => {
            format!("{guest} could not be put on its standby; it is being accelerated on {source} again.")
        }
        (_, false) => format!("{guest} is being put on its standby on {source}."),
    }
}

/// It is on the way to its VF, and not to its standby. The phases of the two have no name in common.
fn is_up(migration: &Migration) -> bool {
    matches!(migration.phase(), Phase::Hold | Phase::Plug | Phase::FailBack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    fn told(migration: &Migration) -> String {
        format!(
            "[{}] {}",
            outcome::brief(migration),
            outcome::sentences(migration).join(" ")
        )
    }

    fn at(role: Role, phase: Phase, acceleration: Acceleration) -> Migration {
        Migration {
            role: role.into(),
            phase: phase.into(),
            acceleration: acceleration.into(),
            ..sample::accelerating()
        }
    }

    fn settled(migration: Migration, ended: bool) -> Migration {
        Migration {
            settled: true,
            ended,
            ..migration
        }
    }

    #[test]
    fn on_the_way() {
        use Acceleration::{Accelerated, Standby};
        let all = [
            at(Role::Accelerate, Phase::Plug, Standby),
            at(Role::Accelerate, Phase::FailOver, Standby),
            Migration {
                because: String::new(),
                standby_since: None,
                ..at(Role::Decelerate, Phase::FailOver, Accelerated)
            },
            at(Role::Decelerate, Phase::Unplug, Standby),
            at(Role::Decelerate, Phase::FailBack, Standby),
        ];
        insta::assert_snapshot!(all.iter().map(told).collect::<Vec<_>>().join("\n"), @"
        [accelerate: plug] web-1 is being accelerated on alpha. Its traffic is on standby since 2026-01-02 03:04:06Z, because the VF was pulled.
        [standby: fail-over] web-1 is being put on its standby on alpha. Its traffic is on standby since 2026-01-02 03:04:06Z, because the VF was pulled.
        [standby: fail-over] web-1 is being put on its standby on alpha. Its traffic is on the VF 0000:01:10.4.
        [standby: unplug] web-1 is being put on its standby on alpha. Its traffic is on standby since 2026-01-02 03:04:06Z, because the VF was pulled.
        [undo: fail-back] web-1 could not be put on its standby; it is being accelerated on alpha again. Its traffic is on standby since 2026-01-02 03:04:06Z, because the VF was pulled.
        ");
    }

    #[test]
    fn settled_for_good_or_for_now() {
        use Acceleration::{Accelerated, Standby, Unknown};
        let all = [
            settled(at(Role::Accelerate, Phase::FailBack, Accelerated), true),
            settled(at(Role::Accelerate, Phase::Hold, Standby), false),
            settled(at(Role::Accelerate, Phase::Plug, Standby), false),
            settled(at(Role::Accelerate, Phase::Release, Standby), true),
            settled(at(Role::Decelerate, Phase::Release, Standby), true),
            settled(at(Role::Decelerate, Phase::FailBack, Accelerated), true),
            settled(at(Role::Decelerate, Phase::Plug, Standby), false),
            Migration {
                needs_person: true,
                ..settled(at(Role::Decelerate, Phase::Unplug, Standby), false)
            },
            Migration {
                moved: Moved::Gone.into(),
                ..settled(at(Role::Accelerate, Phase::Release, Unknown), true)
            },
        ];
        let told = all.iter().map(told).collect::<Vec<_>>().join("\n");
        assert!(!told.contains("moves") && !told.contains("stays on"), "{told}");
        insta::assert_snapshot!(told, @"
        [accelerated] web-1 is accelerated on alpha. Its traffic is on the VF 0000:01:10.4.
        [waits for a VF] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled. It waits for a VF.
        [on standby] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled.
        [on standby] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled.
        [on standby] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled.
        [accelerated again] web-1 is not on its standby: that could not be had, so it is accelerated on alpha again. Its traffic is on the VF 0000:01:10.4.
        [on standby] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled. Its VF could not be taken, so it is accelerated again.
        [needs a person] web-1 is on its standby on alpha since 2026-01-02 03:04:06Z, because the VF was pulled. It waits for the guest to let its VF go.
        [guest gone] web-1 does not run on alpha any more.
        ");
    }
}
