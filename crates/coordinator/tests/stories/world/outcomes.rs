//! What the phases come to when nothing is wrong: by asking the other host where there is one.

use godwit_api::peer::v1::{self as peer, peer_service_server::PeerService};
use godwit_coordinator::{Job, words};
use godwit_migration::{
    Acceleration, Brief, DestinationView, Event, Figures, Phase, PhaseSpan, Report, Role, Sighting,
    SourceView, VfUse, Whereabouts,
};
use tonic::{Response, Status};

use super::{Knobs, Pretend};
use crate::facts;

impl Pretend {
    pub(super) async fn goes_well(&self, job: &Job, phase: Phase) -> Result<Event, Status> {
        let brief = &job.brief;
        let link = self.linked();
        Ok(match (phase, link) {
            (Phase::Reserve, Some(link)) => reserved(
                link.desk
                    .reserve(self.request(words::reserve_request(brief)))
                    .await?,
            ),
            (Phase::Reserve, None) => Event::Done(Report {
                held: brief
                    .pairs
                    .iter()
                    .map(|pair| (pair.mac, facts::there()))
                    .collect(),
                ..Report::of("beta holds a VF")
            }),
            (Phase::Transfer, Some(link)) => {
                self.sees(&brief.guest.uuid, Sighting::Absent);
                link.world.sees(&brief.guest.uuid, Sighting::Running);
                moved(self.knobs().figures)
            }
            (Phase::Transfer, None) => moved(self.knobs().figures),
            (Phase::Locate, Some(link)) => {
                let looked = link.desk.look(self.request(facts::look(brief, false))).await?;
                located(self.sighting(brief), &looked.into_inner())
            }
            (Phase::Locate, None) => facts::located(godwit_migration::Verdict::There),
            (Phase::Follow, Some(link)) => loop {
                let asked = peer::ArrivalRequest {
                    migration_id: brief.id.clone(),
                };
                let record = link.desk.arrival(self.request(asked)).await?.into_inner();
                let record = record.migration.unwrap();
                if record.settled {
                    break followed(words::acceleration_of(&record), words::spans(&record));
                }
                tokio::task::yield_now().await;
            },
            (Phase::Follow, None) => followed(Acceleration::Accelerated, Vec::new()),
            (Phase::Unreserve, Some(link)) => {
                let asked = peer::UnreserveRequest {
                    migration_id: brief.id.clone(),
                    guest_uuid: brief.guest.uuid.clone(),
                };
                link.desk.unreserve(self.request(asked)).await?;
                Event::Done(Report::of("nothing is held"))
            }
            (Phase::Await, _) => {
                let uuid = &brief.guest.uuid;
                self.until(|world| world.knobs().sightings.get(uuid) == Some(&Sighting::Running))
                    .await;
                Event::Done(Report::of("the guest runs here"))
            }
            (Phase::Unplug | Phase::Release, _) => self.give(brief, VfUse::Free),
            (Phase::Plug, _) => self.give(brief, VfUse::Guest(brief.guest.name.clone())),
            _ => Event::Done(Report::of(format!("{phase} is so"))),
        })
    }

    fn sighting(&self, brief: &Brief) -> Sighting {
        let knobs = self.knobs();
        knobs
            .sightings
            .get(&brief.guest.uuid)
            .copied()
            .unwrap_or(Sighting::Absent)
    }

    fn give(&self, brief: &Brief, usage: VfUse) -> Event {
        let mine: Vec<_> = brief
            .pairs
            .iter()
            .filter_map(|pair| brief.vf_here(pair))
            .collect();
        let mut knobs = self.knobs();
        for vf in knobs.vfs.iter_mut().filter(|vf| mine.contains(&vf.address)) {
            vf.usage = usage.clone();
        }
        if brief.role != Role::Source {
            self.show(&mut knobs, brief, matches!(usage, VfUse::Guest(_)));
        }
        Event::Done(Report::of(format!("{usage:?}")))
    }
}

impl Pretend {
    /// The guest as it is now, with or without its VFs.
    fn show(&self, knobs: &mut Knobs, brief: &Brief, plugged: bool) {
        let facts = knobs.guests.iter_mut().filter(|facts| facts.guest == brief.guest);
        for facts in facts {
            for (pair, known) in facts.pairs.iter_mut().zip(&brief.pairs) {
                pair.vf = brief.vf_here(known).filter(|_| plugged);
            }
            for seen in facts.agent.iter_mut().flatten() {
                (seen.has_primary, seen.on_primary) = (plugged, plugged);
            }
        }
    }
}

fn reserved(answer: Response<peer::ReserveResponse>) -> Event {
    let held = answer.into_inner().held;
    let held = held
        .iter()
        .map(|held| (held.mac.parse().unwrap(), held.vf.parse().unwrap()));
    Event::Done(Report {
        held: held.collect(),
        ..Report::of("held")
    })
}

fn moved(figures: Option<Figures>) -> Event {
    Event::Done(Report {
        figures,
        ..Report::of("it went over")
    })
}

fn followed(acceleration: Acceleration, spans: Vec<PhaseSpan>) -> Event {
    Event::Done(Report {
        acceleration: Some(acceleration),
        spans,
        ..Report::of("it was told")
    })
}

fn located(here: Sighting, there: &peer::LookResponse) -> Event {
    let source = SourceView {
        sighting: here,
        job_over: true,
        switched_over: true,
        ended_as_migrated: false,
    };
    let sighting = match there.sighting() {
        peer::Sighting::Running => Sighting::Running,
        peer::Sighting::Absent => Sighting::Absent,
        _ => Sighting::Unreadable,
    };
    // In these stories no guest goes on from its destination.
    let destination = DestinationView {
        sighting,
        closed: there.closed,
        ran: false,
    };
    let found = Whereabouts::read(source, destination);
    facts::located(found.verdict())
}
