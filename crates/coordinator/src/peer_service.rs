//! The service for other hosts' daemons: what a source may ask of its destination.

mod closing;
mod plan;
mod version;

use std::time::Duration;

use godwit_api::peer::v1::{self as api, peer_service_server::PeerService};
use godwit_migration::{
    Brief, Cause, Guest, HostRefusal, MacAddress, Migration, Outcome, Pair, Phase, Refusal, Role, Sighting,
    State,
};
use tonic::{Request, Response, Status};

use crate::{
    Coordinator, NotNow, Refused, World,
    operation::View,
    service::{carried, name},
    subject::asked,
    trouble, words,
};

/// At most this many pairs in one request.
const MOST_PAIRS: usize = 64;

/// More NUMA nodes of a request do not count.
const MOST_NODES: usize = 64;

/// A source that waits to be admitted and has not asked for so long waits no more.
const ASKS_AGAIN: Duration = Duration::from_secs(15);

/// Name of the host that called, proved by its certificate. The server puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// [`PeerService`] over a coordinator.
pub struct PeerDesk<W>(pub Coordinator<W>);

#[tonic::async_trait]
impl<W: World> PeerService for PeerDesk<W> {
    async fn reserve(
        &self,
        request: Request<api::ReserveRequest>,
    ) -> Result<Response<api::ReserveResponse>, Status> {
        let (desk, caller) = (PeerDesk(self.0.clone()), caller(&request)?);
        let asked = asked(request);
        let pairs = carried(async move { desk.reserved(asked, caller).await }).await?;
        let held = |pair: &Pair| {
            Some(api::HeldVf {
                mac: pair.mac.to_string(),
                vf: pair.destination_vf?.to_string(),
            })
        };
        Ok(Response::new(api::ReserveResponse {
            held: pairs.iter().filter_map(held).collect(),
        }))
    }

    async fn plan(&self, request: Request<api::PlanRequest>) -> Result<Response<api::PlanResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.plan_for(asked(request), &caller).await?))
    }

    async fn admit(
        &self,
        request: Request<api::AdmitRequest>,
    ) -> Result<Response<api::AdmitResponse>, Status> {
        let caller = caller(&request)?;
        let place = self.admitted(&asked(request).migration_id, &caller).await?;
        Ok(Response::new(api::AdmitResponse {
            admitted: place == 0,
            place,
        }))
    }

    async fn unreserve(
        &self,
        request: Request<api::UnreserveRequest>,
    ) -> Result<Response<api::UnreserveResponse>, Status> {
        let (desk, caller) = (PeerDesk(self.0.clone()), caller(&request)?);
        let asked = asked(request);
        carried(async move {
            match desk
                .close(&asked.migration_id, &asked.guest_uuid, &caller)
                .await?
            {
                // It came, and runs here still: whoever gives up what was held for it has it running on two hosts, and is to hear that as
                // long as it is so.
                (
                    sighting @ (Sighting::Running | Sighting::Paused),
                    Some(State::Done(Outcome::Accelerated | Outcome::OnStandby)),
                ) => Err(desk.has_guest(&asked.guest_uuid, sighting)),
                // Also one that the guest came with and left again: nothing is held for it any more.
                (_, Some(State::Done(_))) => Ok(()),
                (Sighting::Absent | Sighting::ShutOff, state) => Err(desk.at(&asked.migration_id, state)),
                // It runs here, but not by this migration.
                (Sighting::Running | Sighting::Paused | Sighting::Incoming | Sighting::Split, None) => {
                    desk.forestall(&asked.migration_id, &asked.guest_uuid, &caller)
                        .await
                }
                (sighting, _) => Err(desk.has_guest(&asked.guest_uuid, sighting)),
            }
        })
        .await?;
        Ok(Response::new(api::UnreserveResponse {}))
    }

    async fn look(&self, request: Request<api::LookRequest>) -> Result<Response<api::LookResponse>, Status> {
        let (desk, caller) = (PeerDesk(self.0.clone()), caller(&request)?);
        let asked = asked(request);
        let (sighting, state) = carried(async move {
            match asked.close {
                true => desk.close(&asked.migration_id, &asked.guest_uuid, &caller).await,
                false => desk.seen(&asked.migration_id, &asked.guest_uuid, &caller).await,
            }
        })
        .await?;
        let sighting = match sighting {
            Sighting::Absent => api::Sighting::Absent,
            Sighting::Incoming => api::Sighting::Incoming,
            Sighting::Running => api::Sighting::Running,
            Sighting::Paused => api::Sighting::Paused,
            Sighting::ShutOff => api::Sighting::ShutOff,
            Sighting::Unreadable => api::Sighting::Unreadable,
            Sighting::Split => api::Sighting::Split,
        };
        // A guest that came and left again may have run here: that is an end, and no promise.
        let closed = state == Some(State::Done(Outcome::Closed));
        Ok(Response::new(api::LookResponse {
            sighting: sighting.into(),
            closed,
        }))
    }

    async fn arrival(
        &self,
        request: Request<api::ArrivalRequest>,
    ) -> Result<Response<api::ArrivalResponse>, Status> {
        let caller = caller(&request)?;
        let id = asked(request).migration_id;
        let unknown = || {
            Refused::from(NotNow::Unknown {
                id: id.clone(),
                more: " here",
            })
        };
        let view = self.shared_record(&id, &caller).await?.ok_or_else(unknown)?;
        Ok(Response::new(api::ArrivalResponse {
            migration: Some(words::migration(&view)),
        }))
    }

    async fn greet(
        &self,
        request: Request<api::GreetRequest>,
    ) -> Result<Response<api::GreetResponse>, Status> {
        caller(&request)?;
        let host = Some(self.0.myself().await);
        Ok(Response::new(api::GreetResponse { host }))
    }

    async fn list_macs(
        &self,
        request: Request<api::ListMacsRequest>,
    ) -> Result<Response<api::ListMacsResponse>, Status> {
        caller(&request)?;
        Ok(Response::new(trouble::macs(&self.0).await?))
    }
}

impl<W: World> PeerDesk<W> {
    /// This host's record of the migration, if the caller is its source.
    async fn record(&self, id: &str, caller: &str) -> Result<Option<View>, Refused> {
        let record = self.shared_record(id, caller).await?;
        match record {
            Some(view) if !is_of(&view.migration, caller) => Err(Refused::NotAllowed(format!(
                "migration {id} is not one from {caller} to this host"
            ))),
            record => Ok(record),
        }
    }

    /// The same, also if the caller is its destination.
    async fn shared_record(&self, id: &str, caller: &str) -> Result<Option<View>, Refused> {
        uuid(id)?;
        match self.0.get(id).await {
            Ok(view) if is_of(&view.migration, caller) || is_to(&view.migration, caller) => Ok(Some(view)),
            Ok(_) => Err(Refused::NotAllowed(format!(
                "migration {id} is not one between {caller} and this host"
            ))),
            Err(Refused::NotNow(NotNow::Unknown { .. })) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The same, of that guest.
    async fn record_of(&self, id: &str, guest: &str, caller: &str) -> Result<Option<View>, Refused> {
        uuid(guest)?;
        let record = self.record(id, caller).await?;
        match &record {
            Some(view) if view.migration.brief.guest.uuid != guest => {
                Err(Refused::Invalid(format!("migration {id} is of another guest")))
            }
            _ => Ok(record),
        }
    }

    /// The VFs that are held: now, or since the same was asked before.
    async fn reserved(&self, asked: api::ReserveRequest, caller: String) -> Result<Vec<Pair>, Refused> {
        let _alone = self.0.alone().await;
        let (id, guest) = (&asked.migration_id, &asked.guest_uuid);
        match self.record_of(id, guest, &caller).await? {
            Some(view) if view.migration.ended() => Err(self.refuse(HostRefusal::Refused {
                host: self.0.host().into(),
                detail: format!("migration {id} is closed here"),
            })),
            Some(view) => Ok(view.migration.brief.pairs.clone()),
            None => self.hold(asked, caller).await,
        }
    }

    /// Its place in the queue of transfers to this host; 0: it may begin. One that has arrived, or will not come, is
    /// inside no more.
    async fn admitted(&self, id: &str, caller: &str) -> Result<u32, Refused> {
        let waits = |view: &View| view.migration.state().phase() == Some(Phase::Await);
        let record = self.record(id, caller).await?;
        if !record.as_ref().is_some_and(waits) {
            return Err(self.at(id, record.map(|view| view.migration.state())));
        }
        let incoming = self.0.incoming();
        for inside in incoming.inside() {
            let view = self.0.get(&inside).await.ok();
            if !view.as_ref().is_some_and(waits) {
                incoming.leave(&inside);
            }
        }
        Ok(incoming.ask(id, ASKS_AGAIN))
    }

    /// Holds VFs for a guest that is to come, and begins to wait for it.
    async fn hold(&self, asked: api::ReserveRequest, caller: String) -> Result<Vec<Pair>, Refused> {
        let guest = Guest {
            name: asked.guest.clone(),
            uuid: asked.guest_uuid.clone(),
        };
        name("guest", &guest.name)?;
        self.check_version(&asked)?;
        let mut pairs = wanted(&asked)?;
        self.check_absent(&guest).await?;
        self.0.check_idle(&guest, None)?;
        let nodes = plan::wanted_nodes(&asked);
        let policy = words::policy_of(asked.policy()).unwrap_or_default();
        let chosen = self.0.choose_by(policy, &pairs, &nodes).await?;
        for (pair, (_, vf)) in pairs.iter_mut().zip(chosen) {
            pair.destination_vf = Some(vf);
        }
        let mut brief = self.brief(asked.migration_id, guest, caller, pairs.clone());
        let probes = asked.probes_per_second.min(Brief::MOST_PROBES);
        (brief.policy, brief.nodes, brief.probes) = (policy, nodes, probes);
        self.0.begin(brief, None).await?;
        Ok(pairs)
    }

    async fn check_absent(&self, guest: &Guest) -> Result<(), Refused> {
        match self.0.world().sight(&guest.uuid).await {
            Sighting::Absent | Sighting::ShutOff => Ok(()),
            sighting => Err(self.has_guest(&guest.uuid, sighting)),
        }
    }

    /// What this host sees, and how far the migration is here; none where it was not heard of.
    async fn seen(&self, id: &str, guest: &str, caller: &str) -> Result<(Sighting, Option<State>), Refused> {
        let record = self.record_of(id, guest, caller).await?;
        let sighting = self.0.world().sight(guest).await;
        Ok((sighting, record.map(|view| view.migration.state())))
    }

    /// The migration is where it cannot be closed.
    fn at(&self, id: &str, state: Option<State>) -> Refused {
        let at = state.and_then(State::phase).map_or("its end", Phase::name);
        self.refuse(HostRefusal::Refused {
            host: self.0.host().into(),
            detail: format!("migration {id} is at {at} here"),
        })
    }

    fn has_guest(&self, uuid: &str, sighting: Sighting) -> Refused {
        let (host, uuid) = (self.0.host().to_owned(), uuid.to_owned());
        self.refuse(match sighting {
            Sighting::Unreadable => HostRefusal::Refused {
                host,
                detail: "libvirt here does not answer".into(),
            },
            other => HostRefusal::HasGuest {
                host,
                uuid,
                state: format!("{other:?}").to_lowercase(),
            },
        })
    }

    fn brief(&self, id: String, guest: Guest, source: String, pairs: Vec<Pair>) -> Brief {
        Brief::arrival(id, guest, (source, self.0.host().into()), pairs)
    }

    fn refuse(&self, refusal: HostRefusal) -> Refused {
        Refusal::Host(refusal).into()
    }
}

pub(crate) fn is_of(migration: &Migration, caller: &str) -> bool {
    migration.brief.role == Role::Destination && migration.brief.source == caller
}

fn is_to(migration: &Migration, caller: &str) -> bool {
    migration.brief.role == Role::Source && migration.brief.destination == caller
}

fn caller<T>(request: &Request<T>) -> Result<String, Refused> {
    let caller = request.extensions().get::<Caller>();
    caller.map(|caller| caller.0.clone()).ok_or_else(|| {
        Refused::NotAllowed("the caller's host name is not known: it showed no certificate".into())
    })
}

fn uuid(text: &str) -> Result<(), Refused> {
    let known = uuid::Uuid::try_parse(text).is_ok_and(|uuid| uuid.to_string() == text);
    if known {
        Ok(())
    } else {
        Err(Refused::Invalid("an id is not a UUID in lower case".into()))
    }
}

fn wanted(asked: &api::ReserveRequest) -> Result<Vec<Pair>, Refused> {
    let may_have_none = asked.policy() == godwit_api::v1::Policy::StandbyOnly;
    if (asked.pairs.is_empty() && !may_have_none) || asked.pairs.len() > MOST_PAIRS {
        let what = format!("a guest has 1 to {MOST_PAIRS} pairs, or none and the policy standby-only");
        return Err(Refused::Invalid(what));
    }
    let pairs: Vec<Pair> = asked.pairs.iter().map(wanted_pair).collect::<Result<_, _>>()?;
    for (index, pair) in pairs.iter().enumerate() {
        let like = |other: &Pair| other.mac == pair.mac || other.primary == pair.primary;
        if pairs[..index].iter().any(like) {
            return Err(Refused::Invalid(format!(
                "two pairs have the MAC {} or the alias {}",
                pair.mac, pair.primary
            )));
        }
    }
    Ok(pairs)
}

fn wanted_pair(asked: &api::WantedPair) -> Result<Pair, Refused> {
    let mac = |text: &str| {
        text.parse::<MacAddress>()
            .map_err(|error| Refused::Invalid(error.to_string()))
    };
    // The alias becomes part of libvirt's XML: only what libvirt itself allows there.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !asked.alias.starts_with("ua-") || asked.alias.len() > 64 || !asked.alias.chars().all(plain) {
        return Err(Refused::Invalid(format!(
            "`{}` is not a user alias (ua-...)",
            clip(&asked.alias)
        )));
    }
    name("pool", &asked.pool)?;
    let profile = asked.profile.as_ref().map(words::profile_of).transpose();
    Ok(Pair {
        mac: mac(&asked.mac)?,
        primary_mac: mac(&asked.primary_mac)?,
        standby: String::new(),
        primary: asked.alias.clone(),
        pool: asked.pool.clone(),
        source_vf: None,
        destination_vf: None,
        profile: profile.map_err(|error| Refused::Invalid(error.to_string()))?,
    })
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl From<Cause> for Refused {
    fn from(cause: Cause) -> Refused {
        Refused::Cause(cause)
    }
}
