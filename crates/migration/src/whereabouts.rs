//! Which host runs the guest: decided from evidence on both, never from a return code.

use serde::{Deserialize, Serialize};

use crate::Verdict;

/// What a host sees of a guest through libvirt, by calls that wait for no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sighting {
    /// No such domain.
    Absent,
    /// Being received; it has not run here.
    Incoming,
    /// Running.
    Running,
    /// Paused, and not being received.
    Paused,
    /// Defined, not running.
    ShutOff,
    /// libvirt does not answer.
    Unreadable,
    /// Post-copy: a part of its memory is here and the rest at the other host. On the source it has stopped for good; at the
    /// destination it cannot go on, because the connection broke. Neither side can undo that.
    Split,
}

/// The source's evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceView {
    /// What libvirt here shows.
    pub sighting: Sighting,
    /// No migration job is running here any more.
    pub job_over: bool,
    /// The guest was paused for the switch-over: SUSPENDED with detail MIGRATED was seen, or it
    /// cannot be excluded (events were missed). Only then the destination may have run it.
    pub switched_over: bool,
    /// libvirt here ended its copy because it moved: STOPPED with detail MIGRATED, which it does only after
    /// the destination confirmed that the guest runs.
    pub ended_as_migrated: bool,
}

/// The destination's evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationView {
    /// What libvirt there shows; [`Sighting::Unreadable`] when the host cannot be asked.
    pub sighting: Sighting,
    /// It has durably promised that this migration is closed there.
    pub closed: bool,
    /// Its record of this migration says that the guest has run there, wherever it may be now.
    pub ran: bool,
}

/// Where the guest is. Six values; unknown is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Whereabouts {
    /// It runs on the source only.
    SourceRunning,
    /// It is paused on the source and not at the destination.
    SourcePaused,
    /// It is at the destination.
    Destination,
    /// It runs on both.
    Both,
    /// It is on neither.
    Gone,
    /// The evidence does not say.
    Unknown,
}

impl Whereabouts {
    /// Reads the evidence of both hosts.
    pub fn read(source: SourceView, destination: DestinationView) -> Whereabouts {
        use Sighting as S;
        if !source.job_over {
            return Whereabouts::Unknown;
        }
        // Once it ran there, every copy here is stale, also when it went on from there or was shut down.
        let there = matches!(destination.sighting, S::Running | S::Paused) || destination.ran;
        let not_there = matches!(destination.sighting, S::Absent | S::ShutOff);
        match source.sighting {
            // What has stopped here for post-copy must never run here again, whatever became of the rest.
            S::Split if destination.ran => Whereabouts::Destination,
            S::Split if not_there => Whereabouts::Gone,
            S::Split => Whereabouts::Unknown,
            S::Running if there => Whereabouts::Both,
            S::Running if destination.sighting == S::Split => Whereabouts::Both,
            // It never paused for the switch-over, so no other copy can have run.
            S::Running if !source.switched_over => Whereabouts::SourceRunning,
            S::Running if not_there && destination.closed => Whereabouts::SourceRunning,
            S::Absent | S::ShutOff | S::Paused if there => Whereabouts::Destination,
            S::Paused if not_there && destination.closed => Whereabouts::SourcePaused,
            S::Absent | S::ShutOff if not_there => Whereabouts::Gone,
            S::Absent | S::ShutOff if source.ended_as_migrated => Whereabouts::Destination,
            _ => Whereabouts::Unknown,
        }
    }

    /// What it asks for.
    pub fn verdict(self) -> Verdict {
        match self {
            Whereabouts::SourceRunning => Verdict::Here,
            Whereabouts::SourcePaused => Verdict::PausedHere,
            Whereabouts::Destination => Verdict::There,
            Whereabouts::Both => Verdict::OnBoth,
            Whereabouts::Gone => Verdict::Gone,
            Whereabouts::Unknown => Verdict::Unknown,
        }
    }
}

/// What a source makes of a destination that has the guest although it stayed: so a person said, or so it looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// It runs on both: the copy here is the stale one.
    OnBoth,
    /// It is not here any more, by whatever hand: there is nothing left to give back for it.
    NotHere,
    /// It cannot be said.
    Unclear,
}

impl Contradiction {
    /// Reads what is here, and whether the destination's record of this very migration says that its guest arrived. A guest that
    /// was there before (Reserve is refused then) is no arrival, and the copy here is not touched for it.
    pub fn read(source: SourceView, arrived: bool) -> Contradiction {
        match source.sighting {
            Sighting::Absent | Sighting::ShutOff if source.job_over => Contradiction::NotHere,
            Sighting::Running | Sighting::Paused if source.job_over && arrived => Contradiction::OnBoth,
            _ => Contradiction::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sighting as S;

    #[test]
    fn a_copy_is_stale_only_if_the_guest_arrived_by_this_migration() {
        for (source, _) in all() {
            let here = matches!(source.sighting, S::Running | S::Paused);
            for arrived in [false, true] {
                let read = Contradiction::read(source, arrived);
                let stale = read == Contradiction::OnBoth;
                assert_eq!(stale, here && source.job_over && arrived, "{source:?}");
                let over = read == Contradiction::NotHere;
                let gone = matches!(source.sighting, S::Absent | S::ShutOff);
                assert_eq!(over, gone && source.job_over, "{source:?}");
            }
        }
    }

    const SIGHTINGS: [Sighting; 7] = [
        S::Absent,
        S::Incoming,
        S::Running,
        S::Paused,
        S::ShutOff,
        S::Unreadable,
        S::Split,
    ];

    fn all() -> impl Iterator<Item = (SourceView, DestinationView)> {
        let bits = 0..32_u8;
        bits.flat_map(|bits| {
            SIGHTINGS.into_iter().flat_map(move |here| {
                SIGHTINGS.into_iter().map(move |there| {
                    let bit = |n: u8| bits & (1 << n) != 0;
                    (
                        SourceView {
                            sighting: here,
                            job_over: bit(0),
                            switched_over: bit(1),
                            ended_as_migrated: bit(2),
                        },
                        DestinationView {
                            sighting: there,
                            closed: bit(3),
                            ran: bit(4),
                        },
                    )
                })
            })
        })
    }

    #[test]
    fn undo_is_allowed_only_by_the_rule() {
        for (source, destination) in all() {
            let here = Whereabouts::read(source, destination) == Whereabouts::SourceRunning;
            let not_there = matches!(destination.sighting, S::Absent | S::ShutOff);
            let there = matches!(destination.sighting, S::Running | S::Paused | S::Split) || destination.ran;
            let rule = source.job_over
                && source.sighting == S::Running
                && !there
                && (!source.switched_over || (destination.closed && not_there));
            assert_eq!(here, rule, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn a_paused_guest_is_resumed_only_after_the_promise() {
        for (source, destination) in all() {
            if Whereabouts::read(source, destination) == Whereabouts::SourcePaused {
                assert!(
                    source.job_over && destination.closed && source.sighting == S::Paused && !destination.ran
                );
                assert!(
                    matches!(destination.sighting, S::Absent | S::ShutOff),
                    "{destination:?}"
                );
            }
        }
    }

    #[test]
    fn a_guest_whose_memory_is_on_both_hosts_is_never_run_here_and_gone_only_if_it_is_nowhere_else() {
        for (source, destination) in all().filter(|(source, _)| source.sighting == S::Split) {
            let found = Whereabouts::read(source, destination);
            let nowhere_else = matches!(destination.sighting, S::Absent | S::ShutOff) && !destination.ran;
            let wanted = match (source.job_over, destination.ran) {
                (false, _) => Whereabouts::Unknown,
                (true, true) => Whereabouts::Destination,
                (true, false) if nowhere_else => Whereabouts::Gone,
                (true, false) => Whereabouts::Unknown,
            };
            assert_eq!(found, wanted, "{source:?} {destination:?}");
        }
        // Nor is it said to have moved where only a part of it is.
        for (source, destination) in all().filter(|(_, there)| there.sighting == S::Split && !there.ran) {
            let moved = Whereabouts::read(source, destination) == Whereabouts::Destination;
            assert!(!moved || source.ended_as_migrated, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn silence_never_says_that_the_guest_is_gone() {
        for (source, destination) in all() {
            let silent = source.sighting == S::Unreadable || destination.sighting == S::Unreadable;
            if silent {
                assert_ne!(Whereabouts::read(source, destination), Whereabouts::Gone);
            }
        }
    }

    #[test]
    fn a_copy_that_ended_as_migrated_has_moved_although_the_destination_is_silent() {
        let source = SourceView {
            sighting: S::Absent,
            job_over: true,
            switched_over: true,
            ended_as_migrated: true,
        };
        let silent = DestinationView {
            sighting: S::Unreadable,
            closed: false,
            ran: false,
        };
        assert_eq!(Whereabouts::read(source, silent), Whereabouts::Destination);
        let unsure = SourceView {
            ended_as_migrated: false,
            ..source
        };
        assert_eq!(Whereabouts::read(unsure, silent), Whereabouts::Unknown);
    }

    #[test]
    fn a_guest_that_ran_there_and_went_on_leaves_a_stale_copy_here() {
        let here = |sighting| SourceView {
            sighting,
            job_over: true,
            switched_over: true,
            ended_as_migrated: false,
        };
        for sighting in [S::Absent, S::ShutOff, S::Unreadable] {
            let went_on = DestinationView {
                sighting,
                closed: false,
                ran: true,
            };
            assert_eq!(Whereabouts::read(here(S::Running), went_on), Whereabouts::Both);
            assert_eq!(
                Whereabouts::read(here(S::Paused), went_on),
                Whereabouts::Destination
            );
            assert_eq!(
                Whereabouts::read(here(S::Absent), went_on),
                Whereabouts::Destination
            );
        }
    }
}
