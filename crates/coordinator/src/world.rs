//! The seam: what the loop needs from the world outside this process.

use std::{future::Future, time::Duration};

use godwit_api::{
    peer::v1::{KeepOffer, ListMacsResponse},
    v1 as api,
};
use godwit_migration::{
    Brief, Cause, Event, Figures, Guest, Pair, PciAddress, Policy, Sighting, State, Vf,
    doctor::Diagnosis,
    plan::{Carried, Needs},
    preflight::{GuestFacts, PairSeen},
};
use tokio::sync::watch;

/// One attempt at one phase.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the migration is about.
    pub brief: Brief,
    /// [`State::Work`], or [`State::Rest`] when the phase failed before and is tried again.
    pub state: State,
    /// The first attempt by this process at a phase that an earlier process had begun: what that one did is
    /// not known.
    pub taken_up: bool,
    /// To be kept by the work itself; the loop gives up a little later.
    pub deadline: Duration,
    /// Where a transfer's figures go while it runs.
    pub progress: watch::Sender<Option<Figures>>,
    /// Where its place in a queue goes while it waits there, from 1; 0: it does not wait.
    pub place: watch::Sender<u32>,
}

/// What is planned.
#[derive(Clone, Copy, Debug)]
pub enum Planning<'a> {
    /// A guest of this host is to leave.
    Leaving {
        /// What it would be.
        brief: &'a Brief,
        /// What its agent sees of its pairs, as far as it answers.
        seen: &'a [PairSeen],
        /// How fast the newest transfer there was; none: there is none in the history.
        carried: Option<&'a Carried>,
    },
    /// A guest is to come here from the host of that name.
    Arriving(&'a Needs, &'a str),
}

/// What came of it, as the wire has it: half of it may be another host's.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Of a guest that is to leave: what its destination would hold.
    pub pairs: Vec<api::PairPlan>,
    /// What stands in the way, the worst first.
    pub findings: Vec<api::Finding>,
    /// What could not be looked at.
    pub not_checked: Vec<api::NotChecked>,
    /// Of a guest that is to leave: whether what arrives for its NICs in the pause will be kept, and whether their networks are the same.
    pub nics: Vec<api::NicPlan>,
    /// Of a guest that is to come: of each NIC, by its MAC, which of its networks were proved to be the same, a sentence each.
    pub proved: Vec<(String, Vec<String>)>,
    /// Of a guest that is to come: what this host does with such frames.
    pub offer: Option<KeepOffer>,
    /// Of a guest that is to leave: how long its parts may take.
    pub estimate: Vec<api::StepEstimate>,
    /// Of a guest that is to leave: its destination, by its own answer, would refuse it. The findings say why.
    pub refused: bool,
    /// Of a guest that is to leave: why its destination did not answer.
    pub unasked: Option<Cause>,
    /// Of libvirt and QEMU, as far as they are known: here, and of a guest that is to leave at its destination.
    pub versions: (Option<api::Versions>, Option<api::Versions>),
    /// Of a guest that is to come: a port of QEMU's where somebody listens for a while, and this host's name as libvirt has it.
    pub port: Option<(u16, String)>,
}

/// Hosts, guests, VFs and peers; real ones in the daemon, pretend ones in the simulator.
pub trait World: Send + Sync + 'static {
    /// Makes the phase so, and says what came of it. It looks before it acts and is safe to repeat: it may
    /// have been done in part, or whole, by a process that died. Dropping the future may leave it half done.
    fn work(&self, job: Job) -> impl Future<Output = Event> + Send;

    /// Makes a running transfer of the guest end early. Nothing to abort is not an error.
    fn abort(&self, brief: &Brief) -> impl Future<Output = Result<(), Cause>> + Send;

    /// The guests of this host, or the one of that name or UUID (none: an empty list).
    fn guests(&self, named: Option<&str>) -> impl Future<Output = Result<Vec<GuestFacts>, Cause>> + Send;

    /// Writes what the guest should have into its domain's metadata.
    fn adopt(
        &self,
        guest: &Guest,
        pairs: &[Pair],
        policy: Policy,
    ) -> impl Future<Output = Result<(), Cause>> + Send;

    /// The VFs of this host's pools, as the host shows them; holds are not its business.
    fn vfs(&self) -> impl Future<Output = Result<Vec<Vf>, Cause>> + Send;

    /// Makes a VF that nobody has as good as new. Safe to repeat.
    fn clean(&self, vf: PciAddress) -> impl Future<Output = Result<(), Cause>> + Send;

    /// What libvirt here shows of a guest, by calls that wait for no job.
    fn sight(&self, uuid: &str) -> impl Future<Output = Sighting> + Send;

    /// What stands in the way of a guest that is to leave, here and at its destination, and what that would hold for it now; or of one
    /// that is to come, here. Asked once; nothing is held or changed. What cannot be looked at in time is told, and hides nothing else: an
    /// error says that nothing at all could be looked at.
    fn plan(&self, what: Planning<'_>) -> impl Future<Output = Result<Planned, Cause>> + Send;

    /// How the peer of that name is, by its own words; asked once. A peer can be reached through the world alone.
    fn greet(&self, peer: &str) -> impl Future<Output = Result<api::Host, Cause>> + Send;

    /// The MACs that the peer of that name has, by its own words; asked once.
    fn macs(&self, peer: &str) -> impl Future<Output = Result<ListMacsResponse, Cause>> + Send;

    /// The record that the other host of a brief has of that migration, by its own words; none: it never heard of it. Asked
    /// for as long as one request may take.
    fn record(&self, brief: &Brief) -> impl Future<Output = Result<Option<api::Migration>, Cause>> + Send;

    /// What stands in the way of SR-IOV migration on this host by itself, or in the guest's domain. Changes nothing; what
    /// cannot be looked at in time is told, and hides nothing else. The facts are those of real hosts
    /// alone.
    fn doctor(&self, guest: Option<&GuestFacts>) -> impl Future<Output = Diagnosis> + Send;
}
