//! The transfer: libvirt's job, which goes on by itself, and the daemon that watches it.

use std::{sync::Arc, time::Duration};

use godwit_migration::{Cause, Course, Event, Figures, Keep, Kept, Report, Sighting, State};
use tokio::time::Instant;

use super::{
    Shared, Work,
    attempt::Attempt,
    cause,
    keeping::{BEGUN_LATER, ENDED, Keeper},
};
use crate::{
    ills::Ill,
    model::{GuestId, Model, Stage, Transfer},
};

/// What the migration network carries, bytes per second.
const RATE: u64 = 1_250_000_000;
/// One small piece of the job, milliseconds.
const TICK: u64 = 100;
/// How often a transfer's figures are read, milliseconds.
const FIGURES: u64 = 500;

/// What the daemon finds when it comes to work on a transfer.
enum Found {
    Going(u64),
    Begun(u64),
    Nothing,
}

impl Attempt<'_> {
    /// Whatever came of it: the next phase looks where the guest is.
    pub(super) async fn transfer(&self) -> Work<Report> {
        let turned = matches!(self.job.state, State::Work(Course::Turn, _));
        let keeper = self.keeper();
        // What an earlier process left here may be a stale copy: such a copy is not sent again.
        let doubtful = self.job.taken_up && !self.awaited().await;
        let found = self
            .step("ask libvirt for the transfer", 50, |model| {
                Ok(self.begin(model, turned || doubtful))
            })
            .await?;
        let going = matches!(found, Found::Going(_));
        let number = match found {
            Found::Nothing => return Ok(Report::of("no transfer is running")),
            Found::Going(number) => number,
            Found::Begun(number) => {
                self.world.seen().insert(self.guest, number);
                number
            }
        };
        let ended = self.attend(number, turned).await;
        self.world.aborted().remove(&self.job.brief.id);
        let mut kept = match keeper {
            Ok(keeper) => keeper.end(matches!(ended, Some((true, _)))).await,
            Err(kept) => kept,
        };
        if going {
            // The pause may have begun before.
            kept.not_kept.get_or_insert(BEGUN_LATER.into());
        }
        match ended {
            Some((true, figures)) => Ok(Report {
                figures: Some(figures),
                detail: format!("libvirt says the transfer went well; {kept}"),
                kept: Some(Box::new(kept)),
                ..Report::default()
            }),
            _ => Err(Event::Failed(Cause {
                kept: Some(Box::new(kept)).filter(|kept| kept.frames > 0),
                ..cause(ENDED, "libvirt ended the transfer with an error")
            })),
        }
    }

    /// Looks on at the guest's tap from now on; or why not.
    fn keeper(&self) -> Result<Keeper, Kept> {
        let ails = |ill| self.world.model().hosts[self.host].ills.contains(&ill);
        if self.job.brief.keep == Keep::Off {
            return Err(Kept::not("so it was asked for, or configured"));
        }
        if ails(Ill::Macvtaps) {
            return Err(Kept::not("its standby has no tap on this host"));
        }
        let keeper = Keeper::begin(&self.world.shared, self.guest, &self.job.brief);
        keeper.ok_or_else(|| Kept::not("no such hosts"))
    }

    async fn awaited(&self) -> bool {
        let within = self.world.shared.pace.exactly(Duration::from_secs(15));
        let there = self.world.ask_look(&self.job.brief, false, within).await;
        matches!(there.sighting, Sighting::Absent | Sighting::ShutOff) && !there.ran && !there.closed
    }

    fn begin(&self, model: &mut Model, turned: bool) -> Found {
        let (guest, host) = (self.guest, self.host);
        let transfer = model.guests[guest].transfer.as_ref();
        let going = transfer.filter(|transfer| transfer.active() && transfer.from == host);
        if let Some(transfer) = going {
            return Found::Going(transfer.number);
        }
        let to = model
            .hosts
            .iter()
            .position(|host| host.name == self.job.brief.destination);
        match to {
            Some(to) if model.runs(guest, host) && !turned => {
                let number = model.start_job(guest, (host, to), &self.job.brief.id);
                tokio::spawn(drive(Arc::clone(&self.world.shared), guest, number));
                Found::Begun(number)
            }
            _ => Found::Nothing,
        }
    }

    /// Until the job is over: whether libvirt called it a success, and its figures. Ends it early when asked to.
    async fn attend(&self, number: u64, turned: bool) -> Option<(bool, Figures)> {
        let end = Instant::now() + self.job.deadline;
        loop {
            let early = turned || Instant::now() >= end || self.world.aborted().contains(&self.job.brief.id);
            {
                let mut model = self.world.model();
                let memory = model.guests[self.guest].memory;
                let transfer = model.guests[self.guest].transfer.as_mut();
                let transfer = transfer.filter(|transfer| transfer.number == number)?;
                transfer.abort |= early;
                let now = figures(transfer, memory);
                if let Stage::Over { reported_ok } = transfer.stage {
                    return Some((reported_ok, now));
                }
                self.job.progress.send_replace(Some(now));
            }
            let pause = self.world.shared.pace.exactly(Duration::from_millis(FIGURES));
            tokio::time::sleep(pause).await;
        }
    }
}

fn figures(transfer: &Transfer, memory: u64) -> Figures {
    Figures {
        memory_total: memory,
        memory_processed: transfer.copied.processed,
        memory_remaining: memory - transfer.copied.processed,
        rate: RATE,
        elapsed_ms: transfer.copied.begun.elapsed().as_millis() as u64,
        iteration: 1,
        downtime_ms: transfer.copied.downtime_ms,
    }
}

/// libvirt's own: whatever becomes of the daemon that asked for it.
async fn drive(shared: Arc<Shared>, guest: GuestId, number: u64) {
    let mut switched = None;
    loop {
        tokio::time::sleep(shared.pace.of(TICK)).await;
        let goes_on = shared.deed(guest, "the transfer goes on", |model| {
            let goes_on = model.job_goes_on(guest, number, RATE * TICK / 1000);
            if let Some(transfer) = model.guests[guest]
                .transfer
                .as_mut()
                .filter(|job| job.number == number)
            {
                if transfer.events.switched_over {
                    switched.get_or_insert(Instant::now());
                }
                if transfer.stage == Stage::Finishing {
                    transfer.copied.downtime_ms =
                        switched.map(|since: Instant| since.elapsed().as_millis() as u64);
                }
            }
            goes_on
        });
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use godwit_api::v1::{Moved, Phase};

    use super::*;
    use crate::{
        Layout,
        model::{Domain, Fate},
        world::moving::{ALPHA, BETA, Moving},
    };

    /// Post-copy breaks: the guest stands still on both hosts, nothing is undone, and the record waits for a person.
    async fn torn() -> Moving {
        let moving = Moving::begin(Layout::new(2, 1), 0, Fate::Torn).await;
        let rests = moving.record(|record| record.needs_person).await;
        assert_eq!((rests.phase(), rests.moved()), (Phase::Locate, Moved::Unknown));
        let failure = rests.failure.unwrap();
        assert_eq!(failure.reason, "GUEST_NOT_LOCATED");
        let seen = format!("{} {:?}", failure.message, failure.causes);
        assert!(seen.contains("split on alpha, split on beta"), "{seen}");
        // However long that is: neither half runs again by itself.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let torn = Some(Domain::Torn);
        assert_eq!((moving.domain(ALPHA), moving.domain(BETA)), (torn, torn));
        moving
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_copy_that_broke_waits_for_a_person_and_goes_on_when_it_is_resumed() {
        let moving = torn().await;
        moving
            .cluster
            .shared
            .deed(0, "post-copy is resumed", |model| model.resume_post_copy(0));
        let ended = moving.record(|record| record.ended).await;
        assert_eq!(ended.moved(), Moved::Yes);
        assert_eq!(moving.model().running_on(0), [1]);
        assert_eq!(moving.model().wrong, [""; 0]);
        moving.cluster.stop();
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_copy_whose_destination_lost_its_half_ends_with_the_guest_gone() {
        let moving = torn().await;
        moving
            .cluster
            .shared
            .deed(0, "beta loses its half", |model| model.lose_half(0));
        let ended = moving.record(|record| record.ended).await;
        assert_eq!(ended.moved(), Moved::Gone);
        let left = moving.domain(ALPHA);
        assert_eq!(left, Some(Domain::Torn), "nothing of it runs on the source");
        assert_eq!(moving.model().wrong, [""; 0]);
        moving.cluster.stop();
    }
}
