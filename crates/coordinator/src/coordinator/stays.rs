//! Guests that stay: decelerated and accelerated without a migration, when somebody asks, and by this host itself when a
//! guest that should have its VF has none.

use std::{sync::Arc, time::Duration};

use godwit_migration::{
    Brief, Course, Event, HostRefusal, Migration, Outcome, Refusal, Role, State,
    preflight::{self, GuestFacts},
};
use tracing::{info, warn};

use super::{Coordinator, guests::Known};
use crate::{Refused, Which, World, clock::new_id, operation::View};

/// How long a request waits for a guest to be on its standby before something else is done with it.
const TAKE_OVER: Duration = Duration::from_secs(90);

/// At most so many moves that came to nothing are looked behind.
const LOOK_BACK: u32 = 100;

impl<W: World> Coordinator<W> {
    /// Puts a guest on its standby; `sticky`: until somebody asks otherwise.
    pub(crate) async fn standby(&self, named: &str, sticky: bool) -> Result<View, Refused> {
        let known = self.known(named).await?;
        match self.stays(&known.facts.guest.uuid) {
            Some(open) if open.brief.role == Role::Decelerate => self.get(&open.brief.id).await,
            Some(open) => {
                self.lower(&open, sticky).await?;
                self.get(&open.brief.id).await
            }
            None => self.begin_here(known, Role::Decelerate, sticky).await,
        }
    }

    /// Puts a guest on its standby for something that is done with it meanwhile. Until that is over this host does not accelerate it by
    /// itself; it is over after this time, when the guest is seen not to run, or when somebody asks.
    pub(crate) async fn standby_for(&self, named: &str, lasts: Duration) -> Result<View, Refused> {
        let facts = self.guest(named).await?;
        // Before it is on its standby: from then on it would be looked after.
        self.0.passing.lower(&facts.guest, lasts);
        let begun = self.standby(&facts.guest.uuid, false).await;
        if begun.is_err() {
            self.0.passing.over(&facts.guest.uuid);
        }
        begun
    }

    /// Gives a guest that is on its standby a VF.
    pub(crate) async fn accelerate(&self, named: &str) -> Result<View, Refused> {
        // Also of a guest that does not run, which is refused next.
        self.0.passing.over(named);
        let known = self.known(named).await?;
        match self.stays(&known.facts.guest.uuid) {
            Some(open) if is_accelerating(&open) => {
                self.retry_now(&open.brief.id).await?;
                self.get(&open.brief.id).await
            }
            _ => self.begin_here(known, Role::Accelerate, false).await,
        }
    }

    /// Whoever was being accelerated is put on its standby first, so that what is to be done with it can begin. True
    /// if that was so.
    pub(super) async fn take_over(&self, uuid: &str) -> Result<bool, Refused> {
        let Some(open) = self.stays(uuid).filter(|open| is_resting(open)) else {
            return Ok(false);
        };
        self.lower(&open, false).await?;
        if let Some(mut watch) = self.watch(&open.brief.id) {
            let settled = watch.wait_for(|view| !is_lowering(&view.migration));
            // One that goes on, or does not end in time, is told as what keeps the guest busy.
            let _ = tokio::time::timeout(TAKE_OVER, settled).await;
        }
        Ok(true)
    }

    /// Looks at every guest, and accelerates those that should have a VF and have none: that came by another tool, were
    /// started here, lost their VF, or moved where none was free. Called when something has changed, and now and then.
    pub async fn look_after_guests(&self) {
        self.vf_was_freed();
        if self.open().is_err() {
            return;
        }
        let facts = match self.0.world.guests(None).await {
            Ok(facts) => facts,
            Err(cause) => return warn!("the guests are not looked after now: {}", cause.message),
        };
        let runs = |uuid: &str| {
            facts
                .iter()
                .any(|facts| facts.running && facts.guest.uuid == uuid)
        };
        self.0.passing.only(runs);
        for facts in facts.into_iter().filter(preflight::wants_vf) {
            if let Err(refused) = self.look_after(facts).await {
                info!("not accelerated: {refused}");
            }
        }
    }

    async fn look_after(&self, facts: GuestFacts) -> Result<(), Refused> {
        let idle = self.check_idle(&facts.guest, None).is_ok();
        // A guest that boots has no agent yet; it is looked at again.
        if !idle || preflight::paired(&facts).is_err() {
            return Ok(());
        }
        let uuid = &facts.guest.uuid;
        if self.0.passing.is_lowered(uuid) || self.keeps_standby(uuid).await? {
            return Ok(());
        }
        // All guests were looked at at once, and what was under way on this one may have ended since: it may have its VF.
        let known = self.known(uuid).await?;
        if !preflight::wants_vf(&known.facts) {
            return Ok(());
        }
        info!(guest = %facts.guest.name, "on standby without need: it is accelerated");
        self.begin_here(known, Role::Accelerate, false).await.map(drop)
    }

    /// Somebody put the guest on its standby, and nothing came of what was asked for since: a move that was refused, or
    /// undone, leaves that as it was.
    async fn keeps_standby(&self, uuid: &str) -> Result<bool, Refused> {
        let newest = self.0.journal.newest(uuid, Which::All, LOOK_BACK, None).await?;
        let undone = |migration: &&Migration| migration.state() == State::Done(Outcome::Aborted);
        let last = newest.iter().find(|migration| !undone(migration));
        Ok(last.is_some_and(Migration::keeps_standby))
    }

    /// A PF is set aside: its guests go to their standby, and nobody gets a VF of it.
    pub(crate) async fn standby_pf(&self, pf: &str) -> Result<Vec<Result<View, Refused>>, Refused> {
        let guests = self.guests_of(pf).await?;
        self.0.journal.set_pf_aside(pf, true).await?;
        let mut begun = Vec::new();
        for guest in guests {
            begun.push(self.standby(&guest, false).await);
        }
        Ok(begun)
    }

    /// VFs of the PF are given out again.
    pub(crate) async fn accelerate_pf(&self, pf: &str) -> Result<Vec<Result<View, Refused>>, Refused> {
        self.guests_of(pf).await?;
        self.0.journal.set_pf_aside(pf, false).await?;
        let facts = self.0.world.guests(None).await.map_err(Refused::Cause)?;
        self.vf_was_freed();
        let mut begun = Vec::new();
        for facts in facts.into_iter().filter(preflight::wants_vf) {
            if !self.keeps_standby(&facts.guest.uuid).await? {
                begun.push(self.accelerate(&facts.guest.uuid).await);
            }
        }
        Ok(begun)
    }

    /// The guests that have a VF of the PF.
    async fn guests_of(&self, pf: &str) -> Result<Vec<String>, Refused> {
        let vfs = self.vfs().await?;
        if !vfs.iter().any(|vf| vf.pf == pf) {
            let mut known: Vec<&str> = vfs.iter().map(|vf| vf.pf.as_str()).collect();
            known.dedup();
            let refusal = HostRefusal::UnknownPf {
                host: self.host().into(),
                pf: pf.chars().filter(|c| !c.is_control()).take(64).collect(),
                known: known.join(", "),
            };
            return Err(Refusal::from(refusal).into());
        }
        let guest = |vf: godwit_migration::Vf| match vf.usage {
            godwit_migration::VfUse::Guest(guest) if vf.pf == pf => Some(guest),
            _ => None,
        };
        let mut guests: Vec<String> = vfs.into_iter().filter_map(guest).collect();
        guests.sort();
        guests.dedup();
        Ok(guests)
    }

    async fn begin_here(&self, known: Known, role: Role, sticky: bool) -> Result<View, Refused> {
        let (_alone, facts) = self.alone_with(known, None).await?;
        let mut pairs = preflight::paired(&facts).map_err(godwit_migration::Refusal::from)?;
        if role == Role::Accelerate {
            // A VF that it has already is the one that it keeps.
            pairs
                .iter_mut()
                .for_each(|pair| pair.destination_vf = pair.source_vf.take());
        }
        let brief = Brief {
            id: new_id(),
            role,
            guest: facts.guest,
            source: self.host().into(),
            destination: self.host().into(),
            pairs,
            policy: facts.policy,
            sticky,
            teamed: false,
            nodes: facts.nodes,
            probes: self.probes(None),
            keep: Default::default(),
            options: Default::default(),
        };
        let id = brief.id.clone();
        self.begin(brief, None).await?;
        self.get(&id).await
    }

    /// The open operation of a guest that stays, or that has arrived here.
    pub(super) fn stays(&self, uuid: &str) -> Option<Arc<Migration>> {
        self.open_of(uuid)
            .into_iter()
            .find(|open| open.brief.role == Role::Decelerate || is_accelerating(open))
    }

    async fn lower(&self, open: &Migration, sticky: bool) -> Result<(), Refused> {
        let taken = self.tell(&open.brief.id, Event::StandbyAsked { sticky }).await?;
        if taken {
            return Ok(());
        }
        Err(godwit_migration::Refusal::from(self.busy(open)).into())
    }
}

fn is_accelerating(open: &Migration) -> bool {
    matches!(
        open.state(),
        State::Work(Course::Arrive | Course::Halt, phase) | State::Rest(Course::Arrive, phase)
            if phase != godwit_migration::Phase::Await && phase != godwit_migration::Phase::Release
    )
}

/// On its way to its standby. That may fail, and then it is being accelerated again.
fn is_lowering(open: &Migration) -> bool {
    matches!(
        open.state(),
        State::Work(Course::Halt | Course::Withdraw, _) | State::Rest(Course::Withdraw, _)
    )
}

pub(super) fn is_resting(open: &Migration) -> bool {
    matches!(open.state(), State::Rest(Course::Arrive, _))
}
