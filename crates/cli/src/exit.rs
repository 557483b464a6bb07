//! What the command's end means to a script.

use godwit_api::v1::{Acceleration, Migration, Moved};

/// The command was done; of a migration: moved and accelerated.
pub(crate) const DONE: u8 = 0;
/// Refused or failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage (clap's own number).
pub(crate) const USAGE: u8 = 2;
/// The guest moved; its traffic is on its standby, or nobody saw it on the VF.
pub(crate) const ON_STANDBY: u8 = 3;
/// The guest stays where it was.
pub(crate) const ROLLED_BACK: u8 = 4;
/// A person has to look.
pub(crate) const NEEDS_PERSON: u8 = 5;
/// ctrl-C, as shells count it (128 + SIGINT).
pub(crate) const INTERRUPTED: u8 = 130;
/// Nobody reads our output any more, as shells count it (128 + SIGPIPE).
pub(crate) const BROKEN_PIPE: u8 = 141;

/// The exit code of a settled migration: the first that applies of needs a person, rolled back, and moved
/// with or without acceleration. "Accelerated" must have been observed; an undecided end is a failure.
pub(crate) fn exit_code(migration: &Migration) -> u8 {
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
                    write!(table, " {}", exit_code(&migration)).unwrap();
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
    fn words_of_a_newer_daemon_are_never_success() {
        let migration = Migration {
            moved: 99,
            acceleration: 99,
            ..Migration::default()
        };
        assert_eq!(exit_code(&migration), FAILED);
        let migration = Migration {
            moved: Moved::Yes.into(),
            acceleration: 99,
            ..Migration::default()
        };
        assert_eq!(exit_code(&migration), ON_STANDBY);
    }
}
