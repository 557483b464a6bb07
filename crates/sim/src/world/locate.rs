//! Settling where the guest is, from what both hosts see; and the two things that only then may be done to it.

use godwit_api::v1 as api;
use godwit_migration::{Cause, Contradiction, Event, Report, Sighting, SourceView, Verdict, Whereabouts};

use super::{Work, attempt::Attempt, cause};
use crate::model::Domain;

impl Attempt<'_> {
    /// Reads the evidence; an unclear view of an absent guest asks the destination for its promise. Ends with
    /// [`Event::Located`].
    pub(super) async fn locate(&self) -> Work<Report> {
        let (job, world) = (&self.job, self.world);
        let source = self
            .step("see what is here", 10, |model| Ok(self.source_view(model)))
            .await?;
        let mut destination = world.ask_look(&job.brief, false, job.deadline / 3).await;
        let mut found = Whereabouts::read(source, destination);
        let here = matches!(source.sighting, Sighting::Running | Sighting::Paused);
        let not_there = matches!(destination.sighting, Sighting::Absent | Sighting::ShutOff);
        if found == Whereabouts::Unknown && source.job_over && here && not_there {
            destination = world.ask_look(&job.brief, true, job.deadline / 3).await;
            found = Whereabouts::read(source, destination);
        }
        let word = |sighting: Sighting| format!("{sighting:?}").to_lowercase();
        let closed = if destination.closed { ", closed" } else { "" };
        let detail = format!(
            "{} on {}, {}{closed} on {}",
            word(source.sighting),
            job.brief.source,
            word(destination.sighting),
            job.brief.destination
        );
        Err(Event::Located {
            verdict: found.verdict(),
            detail,
        })
    }

    fn source_view(&self, model: &mut crate::model::Model) -> SourceView {
        let sighting = match model.body(self.guest, self.host).map(|body| body.domain) {
            None => Sighting::Absent,
            Some(Domain::Running) => Sighting::Running,
            Some(Domain::ShutOff) => Sighting::ShutOff,
            Some(Domain::Torn) => Sighting::Split,
            Some(Domain::Paused | Domain::Incoming) => Sighting::Paused,
        };
        let seen = self.world.seen().get(&self.guest).copied();
        let transfer = model.guests[self.guest].transfer.as_ref();
        let ours = transfer.filter(|transfer| transfer.from == self.host);
        // Of a transfer that this life did not see begin, nothing can be excluded.
        let watched = ours.filter(|transfer| seen == Some(transfer.number));
        SourceView {
            sighting,
            job_over: ours.is_none_or(|transfer| !transfer.active()),
            switched_over: watched.is_none_or(|transfer| transfer.events.switched_over),
            ended_as_migrated: watched.is_some_and(|transfer| transfer.events.ended_as_migrated),
        }
    }

    /// The guest that the transfer left paused here runs again; the destination has promised not to run it.
    pub(super) async fn resume(&self) -> Work<Report> {
        let (guest, host) = (self.guest, self.host);
        self.look().await?;
        self.step("resume", 30, |model| {
            model.set_domain(guest, host, Domain::Running);
            Ok(())
        })
        .await?;
        Ok(Report::of("the guest runs again"))
    }

    /// The destination has the guest although it stayed, as far as this host was told.
    pub(super) async fn contradicted(&self, cause: Cause) -> Work<Report> {
        let source = self
            .step("see what is here", 10, |model| Ok(self.source_view(model)))
            .await?;
        let brief = &self.job.brief;
        let record = self.world.ask_arrival(brief, self.job.deadline / 3).await;
        let arrived = record.is_ok_and(|record| record.moved() == api::Moved::Yes);
        match Contradiction::read(source, arrived) {
            Contradiction::NotHere => Ok(Report::of("the guest is not here any more")),
            Contradiction::OnBoth => Err(Event::Located {
                verdict: Verdict::OnBoth,
                detail: format!(
                    "it stayed on {}, and {}: the copy here is stale",
                    brief.source, cause.message
                ),
            }),
            Contradiction::Unclear => Err(Event::Failed(cause)),
        }
    }

    /// The guest runs on both hosts: the copy here stops.
    pub(super) async fn suspend(&self) -> Work<Report> {
        let (guest, host) = (self.guest, self.host);
        self.step("suspend", 30, |model| {
            match model.body(guest, host).map(|body| body.domain) {
                Some(Domain::Running | Domain::Paused) => {
                    model.set_domain(guest, host, Domain::Paused);
                    for pair in 0..self.job.brief.pairs.len() {
                        model.steer_away(host, guest, pair);
                    }
                    Ok(())
                }
                _ => Err(Event::Failed(cause("SUSPEND", "it does not run here"))),
            }
        })
        .await?;
        Ok(Report::of("the copy here is paused"))
    }
}
