//! What the command's end means to a script.

use godwit_api::v1::{
    Acceleration, Finding, Migration, Moved, PlanMigrationResponse, Role, Severity, VfCheck,
};

/// The command was done; of a migration: moved and accelerated; of a guest that stays: it is as it was asked for.
pub(crate) const DONE: u8 = 0;
/// Refused or failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage (clap's own number).
pub(crate) const USAGE: u8 = 2;
/// The guest moved, or was to be accelerated; its traffic is on its standby, or nobody saw it on the VF. Of the doctor:
/// warnings; of VFs that were checked: one is not as it should be.
pub(crate) const ON_STANDBY: u8 = 3;
/// The guest stays where it was; its standby could not be had, and it is accelerated again.
pub(crate) const ROLLED_BACK: u8 = 4;
/// A person has to look. Of the doctor: errors.
pub(crate) const NEEDS_PERSON: u8 = 5;
/// The time of `--timeout` was over first (as of timeout(1)).
pub(crate) const NOT_SETTLED: u8 = 124;
/// ctrl-C, as shells count it (128 + SIGINT).
pub(crate) const INTERRUPTED: u8 = 130;
/// Nobody reads our output any more, as shells count it (128 + SIGPIPE).
pub(crate) const BROKEN_PIPE: u8 = 141;

/// What was to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Another host, and a VF there.
    Move,
    /// A VF, where it is.
    Accelerate,
    /// The standby, where it is.
    Standby,
}

impl Wish {
    /// What it was begun for. Somebody may have asked for something else since.
    pub(crate) fn of(migration: &Migration) -> Wish {
        match migration.role() {
            Role::Accelerate => Wish::Accelerate,
            Role::Decelerate => Wish::Standby,
            Role::Source | Role::Destination | Role::Unspecified => Wish::Move,
        }
    }
}

/// Of a plan: it would move and be accelerated, it would move on its standby, it would not move.
pub(crate) fn of_plan(plan: &PlanMigrationResponse) -> u8 {
    let all = !plan.pairs.is_empty() && plan.pairs.iter().all(|pair| !pair.vf.is_empty());
    match (plan.moves, all) {
        (true, true) => DONE,
        (true, false) => ON_STANDBY,
        (false, _) => FAILED,
    }
}

/// The exit code of a settled migration, or operation on a guest that stays, by what was wished.
pub(crate) fn exit_code(wish: Wish, migration: &Migration) -> u8 {
    match wish {
        Wish::Move => of_move(migration),
        Wish::Accelerate | Wish::Standby => of_stay(wish, migration),
    }
}

/// The worse of two exit codes of settled operations: a person is needed, failed, rolled back, on standby, done.
pub(crate) fn worse(one: u8, other: u8) -> u8 {
    let rank = |code| match code {
        DONE => 0,
        ON_STANDBY => 1,
        ROLLED_BACK => 2,
        NEEDS_PERSON => 4,
        _ => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The first that applies of needs a person, rolled back, and moved with or without acceleration. "Accelerated" must
/// have been observed; an undecided end is a failure.
fn of_move(migration: &Migration) -> u8 {
    match (
        migration.needs_person,
        migration.moved(),
        migration.acceleration(),
    ) {
        (true, _, _) | (_, Moved::Unknown | Moved::Gone, _) => NEEDS_PERSON,
        (_, Moved::No, _) => ROLLED_BACK,
        (_, Moved::Yes, Acceleration::Accelerated) => DONE,
        (_, Moved::Yes, _) => ON_STANDBY,
        (_, Moved::Undecided | Moved::Unspecified, _) => FAILED,
    }
}

/// A guest that has gone from this host is neither. One that rests on its standby, and is to be accelerated again
/// because its VF could not be taken, has not got what was asked for.
fn of_stay(wish: Wish, migration: &Migration) -> u8 {
    match (wish, migration.acceleration()) {
        _ if migration.needs_person => NEEDS_PERSON,
        _ if migration.moved() == Moved::Gone => FAILED,
        (Wish::Standby, Acceleration::Standby) if migration.ended => DONE,
        (Wish::Standby, Acceleration::Accelerated | Acceleration::Standby) => ROLLED_BACK,
        (_, Acceleration::Accelerated) => DONE,
        (_, Acceleration::Standby) => ON_STANDBY,
        (_, Acceleration::Unknown | Acceleration::Unspecified) => FAILED,
    }
}

/// The worst severity: a person has to mend something, or only to know of it. Hints are nothing to a script; a word of a
/// newer daemon is never success.
pub(crate) fn of_findings(findings: &[Finding]) -> u8 {
    let code = |finding: &Finding| match Severity::try_from(finding.severity) {
        Ok(Severity::Hint) => DONE,
        Ok(Severity::Warning) => ON_STANDBY,
        Ok(Severity::Error | Severity::Unspecified) | Err(_) => NEEDS_PERSON,
    };
    findings.iter().map(code).fold(DONE, worse)
}

/// The exit code of VFs that were checked.
pub(crate) fn of_checks(checks: &[VfCheck]) -> u8 {
    match checks.iter().all(|check| check.wrong.is_empty()) {
        true => DONE,
        false => ON_STANDBY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn every_combination() {
        let mut table = String::new();
        for moved in 0..=5 {
            let name = Moved::try_from(moved).unwrap().as_str_name();
            write!(table, "{name}:").unwrap();
            for needs_person in [false, true] {
                for acceleration in 0..=3 {
                    let migration = Migration {
                        needs_person,
                        moved,
                        acceleration,
                        ..Migration::default()
                    };
                    write!(table, " {}", exit_code(Wish::Move, &migration)).unwrap();
                }
                table.push_str(if needs_person { "\n" } else { " |" });
            }
        }
        // Columns: unspecified, accelerated, standby, unknown; then the same with a person needed.
        insta::assert_snapshot!(table, @"
        MOVED_UNSPECIFIED: 1 1 1 1 | 5 5 5 5
        MOVED_UNDECIDED: 1 1 1 1 | 5 5 5 5
        MOVED_YES: 3 0 3 3 | 5 5 5 5
        MOVED_NO: 4 4 4 4 | 5 5 5 5
        MOVED_UNKNOWN: 5 5 5 5 | 5 5 5 5
        MOVED_GONE: 5 5 5 5 | 5 5 5 5
        ");
    }

    #[test]
    fn every_end_of_a_guest_that_stays() {
        let mut table = String::new();
        for (name, moved, ended) in [
            ("rests", Moved::No, false),
            ("ended", Moved::No, true),
            ("gone ", Moved::Gone, true),
        ] {
            write!(table, "{name}:").unwrap();
            for wish in [Wish::Accelerate, Wish::Standby] {
                for (needs_person, acceleration) in
                    [(false, 0), (false, 1), (false, 2), (false, 3), (true, 2)]
                {
                    let migration = Migration {
                        needs_person,
                        acceleration,
                        ended,
                        moved: moved.into(),
                        ..Migration::default()
                    };
                    write!(table, " {}", exit_code(wish, &migration)).unwrap();
                }
                table.push_str(if wish == Wish::Standby { "\n" } else { " |" });
            }
        }
        // Columns: unspecified, accelerated, standby, unknown, a person needed; to accelerate, then standby.
        insta::assert_snapshot!(table, @"
        rests: 1 0 3 1 5 | 1 4 4 1 5
        ended: 1 0 3 1 5 | 1 4 0 1 5
        gone : 1 1 1 1 5 | 1 1 1 1 5
        ");
    }

    #[test]
    fn the_wish_is_the_roles() {
        let wish = |role: Role| {
            Wish::of(&Migration {
                role: role.into(),
                ..Migration::default()
            })
        };
        assert_eq!(wish(Role::Accelerate), Wish::Accelerate);
        assert_eq!(wish(Role::Decelerate), Wish::Standby);
        assert_eq!([wish(Role::Source), wish(Role::Destination)], [Wish::Move; 2]);
    }

    #[test]
    fn the_worst_of_several_counts() {
        let all = [DONE, ON_STANDBY, ROLLED_BACK, FAILED, NEEDS_PERSON];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(worse(*one, *other), all[at.max(other_at)]);
            }
        }
    }

    #[test]
    fn words_of_a_newer_daemon_are_never_success() {
        let migration = Migration {
            moved: 99,
            acceleration: 99,
            ..Migration::default()
        };
        for wish in [Wish::Move, Wish::Accelerate, Wish::Standby] {
            assert_eq!(exit_code(wish, &migration), FAILED);
        }
        let migration = Migration {
            moved: Moved::Yes.into(),
            acceleration: 99,
            ..Migration::default()
        };
        assert_eq!(exit_code(Wish::Move, &migration), ON_STANDBY);
    }
}
