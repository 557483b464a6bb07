//! The other hosts' daemons, asked through the real service, without a wire between.

use std::time::Duration;

use godwit_api::{
    peer::v1::{
        AdmitRequest, ArrivalRequest, GreetRequest, ListMacsRequest, ListMacsResponse, LookRequest,
        PlanRequest, PlanResponse, Sighting as WireSighting, UnreserveRequest,
        peer_service_server::PeerService,
    },
    status, v1 as api,
};
use godwit_coordinator::{Caller, Job, PeerDesk, retry::Policy, words};
use godwit_migration::{
    Brief, Cause, DestinationView, HostRefusal, MacAddress, PciAddress, Refusal, Sighting,
};
use tonic::{Request, Response, Status};

use super::{PretendWorld, cause};
use crate::{ills::Ill, stopwatch::What};

/// One request is not waited for longer.
const REQUEST: Duration = Duration::from_secs(10);

impl PretendWorld {
    pub(super) async fn ask_reserve(&self, job: &Job) -> Result<Vec<(MacAddress, PciAddress)>, Cause> {
        let request = words::reserve_request(&job.brief);
        let ask = async |desk: PeerDesk<_>, request| desk.reserve(request).await;
        let answer = self.ask(&job.brief, job.deadline, request, ask).await?;
        let read =
            |held: &godwit_api::peer::v1::HeldVf| Some((held.mac.parse().ok()?, held.vf.parse().ok()?));
        let held: Option<Vec<_>> = answer.held.iter().map(read).collect();
        let may_lack = job.brief.policy != godwit_migration::Policy::Require;
        held.filter(|held| held.len() == job.brief.pairs.len() || (may_lack && held.is_empty()))
            .ok_or_else(|| cause("PEER_ANSWER", "it does not hold what was asked for"))
    }

    pub(super) async fn ask_plan(&self, asked: PlanRequest, brief: &Brief) -> Result<PlanResponse, Cause> {
        let ask = async |desk: PeerDesk<_>, request| desk.plan(request).await;
        let answer = self.ask_once(brief.peer(), asked, &ask).await;
        let answer = answer.map_err(|status| told(brief.peer(), &status))?;
        Ok(answer.into_inner())
    }

    /// Its place in the destination's queue; 0: it may begin.
    pub(super) async fn ask_admit(&self, job: &Job) -> Result<u32, Cause> {
        let request = AdmitRequest {
            migration_id: job.brief.id.clone(),
        };
        let ask = async |desk: PeerDesk<_>, request| desk.admit(request).await;
        let answer = self.ask(&job.brief, REQUEST, request, ask).await?;
        Ok(answer.place)
    }

    pub(super) async fn ask_unreserve(&self, job: &Job) -> Result<(), Cause> {
        let request = UnreserveRequest {
            migration_id: job.brief.id.clone(),
            guest_uuid: job.brief.guest.uuid.clone(),
        };
        let ask = async |desk: PeerDesk<_>, request| desk.unreserve(request).await;
        self.ask(&job.brief, job.deadline, request, ask).await.map(drop)
    }

    /// A host that cannot be asked is unreadable.
    pub(super) async fn ask_look(&self, brief: &Brief, close: bool, within: Duration) -> DestinationView {
        let request = LookRequest {
            migration_id: brief.id.clone(),
            guest_uuid: brief.guest.uuid.clone(),
            close,
        };
        let ask = async |desk: PeerDesk<_>, request| desk.look(request).await;
        match self.ask(brief, within, request, ask).await {
            Ok(answer) => {
                let mut view = DestinationView {
                    sighting: sighting(answer.sighting()),
                    closed: answer.closed,
                    ran: false,
                };
                let not_there = matches!(view.sighting, Sighting::Absent | Sighting::ShutOff);
                if not_there && !view.closed {
                    let record = self.ask_arrival(brief, within).await;
                    view.ran = record
                        .is_ok_and(|record| matches!(record.moved(), api::Moved::Yes | api::Moved::Gone));
                }
                view
            }
            Err(_) => DestinationView {
                sighting: Sighting::Unreadable,
                closed: false,
                ran: false,
            },
        }
    }

    pub(super) async fn ask_arrival(&self, brief: &Brief, within: Duration) -> Result<api::Migration, Cause> {
        let request = ArrivalRequest {
            migration_id: brief.id.clone(),
        };
        let ask = async |desk: PeerDesk<_>, request| desk.arrival(request).await;
        let answer = self.ask(brief, within, request, ask).await?;
        answer
            .migration
            .ok_or_else(|| cause("PEER_ANSWER", "it has no record"))
    }

    /// The same; none if it never heard of the migration.
    pub(super) async fn ask_record(&self, brief: &Brief) -> Result<Option<api::Migration>, Cause> {
        match self.ask_arrival(brief, REQUEST).await {
            Err(cause) if cause.reason == "MIGRATION_UNKNOWN" => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Asked once: whoever asks wants to know how it is now.
    pub(super) async fn ask_greet(&self, peer: &str) -> Result<api::Host, Cause> {
        let ask = async |desk: PeerDesk<_>, request| desk.greet(request).await;
        let answer = self.ask_once(peer, GreetRequest {}, &ask).await;
        let mut answer = answer.map_err(|status| told(peer, &status))?.into_inner();
        let wrong = self.host_named(peer).is_some_and(|there| {
            let model = self.model();
            model.hosts[there].ills.contains(&Ill::ClockAhead)
        });
        let clock = answer.host.as_mut().and_then(|host| host.clock.as_mut());
        if let Some(clock) = clock.filter(|_| wrong) {
            clock.seconds += 60;
        }
        answer
            .host
            .ok_or_else(|| cause("PEER_ANSWER", "it did not say how it is"))
    }

    /// The MACs that it has. Asked once.
    pub(super) async fn ask_macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        let ask = async |desk: PeerDesk<_>, request| desk.list_macs(request).await;
        let answer = self.ask_once(peer, ListMacsRequest {}, &ask).await;
        Ok(answer.map_err(|status| told(peer, &status))?.into_inner())
    }

    /// Asks until there is an answer or the time is over. Everything asked of a peer is harmless to repeat.
    async fn ask<Q: Clone, A>(
        &self,
        brief: &Brief,
        within: Duration,
        request: Q,
        call: impl AsyncFn(PeerDesk<PretendWorld>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Cause> {
        let attempt = || async {
            let once = self.ask_once(brief.peer(), request.clone(), &call);
            match tokio::time::timeout(REQUEST.min(within), once).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer")),
            }
        };
        let answer = Policy::NEAR.retry(within, status::is_passing, attempt).await;
        answer
            .map(Response::into_inner)
            .map_err(|status| told(brief.peer(), &status))
    }

    /// The request may be lost, and so may the answer; and the daemon there may die over it.
    async fn ask_once<Q, A>(
        &self,
        peer: &str,
        request: Q,
        call: &impl AsyncFn(PeerDesk<PretendWorld>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<Response<A>, Status> {
        let there = self
            .host_named(peer)
            .ok_or_else(|| Status::not_found("no such host"))?;
        self.wire(there).await?;
        let seat = self.shared.seat(there).clone();
        let seat = seat.ok_or_else(|| Status::unavailable("connection refused"))?;
        let mut request = Request::new(request);
        request.extensions_mut().insert(Caller(self.name.clone()));
        let answered = call(PeerDesk(seat.coordinator.clone()), request);
        let answered = self.shared.stopwatch.time(self.host, What::PeerAnswers, answered);
        let answer = tokio::select! {
            biased;
            () = seat.death() => Err(Status::unavailable("connection reset")),
            answer = answered => answer,
        };
        self.wire(there).await?;
        answer
    }

    /// The way to the other host and the time it takes.
    async fn wire(&self, there: usize) -> Result<(), Status> {
        tokio::time::sleep(self.shared.pace.of(2)).await;
        match self.model().hears(self.host, there) {
            true => Ok(()),
            false => Err(Status::unavailable("no route to host")),
        }
    }
}

/// The peer's own words if it refused, or that it cannot be reached.
fn told(host: &str, status: &Status) -> Cause {
    if let Some(failure) = status::failure(status) {
        return words::cause_of(failure);
    }
    if !status::is_passing(status) {
        return cause("PEER_REFUSED", format!("{host} refused: {}", status.message()));
    }
    let refusal = Refusal::Host(HostRefusal::Unreachable {
        host: host.into(),
        detail: status.message().into(),
    });
    Cause {
        hint: refusal.hint(),
        ..cause(refusal.reason(), refusal.to_string())
    }
}

fn sighting(wire: WireSighting) -> Sighting {
    match wire {
        WireSighting::Absent => Sighting::Absent,
        WireSighting::Incoming => Sighting::Incoming,
        WireSighting::Running => Sighting::Running,
        WireSighting::Paused => Sighting::Paused,
        WireSighting::ShutOff => Sighting::ShutOff,
        WireSighting::Split => Sighting::Split,
        WireSighting::Unreadable | WireSighting::Unspecified => Sighting::Unreadable,
    }
}
