//! This guest: its kernel, its devices, and what is done to them in answer to a request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use godwit_api::agent::v1::RefusalReason;
use godwit_api::agent::v1::guest_frame::Body as Answer;
use godwit_wire::Mac;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::announce::Announcer;
use crate::both_ports::BothPorts;
use crate::kernel::{Kernel, KernelError};
use crate::known;
use crate::measure::{self, Measurements};
use crate::neighbourhood::Surroundings;
use crate::pair::{self, Link, Pair};
use crate::patience::{Over, Patience};
use crate::refusal::Refusal;
use crate::session::Verb;
use crate::sysfs::Sysfs;
use crate::{primary, switch};

/// How long an abandoned verb may take to leave things in order.
const SETTLE: Duration = Duration::from_secs(2);

/// Everything a verb works on.
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    pub(crate) sysfs: Sysfs,
    pub(crate) both_ports: BothPorts,
    pub(crate) announcer: Announcer,
    pub(crate) measurements: Measurements,
    /// Held while a verb is worked on.
    at_work: Mutex<()>,
}

impl Guest {
    pub(crate) fn new(sysfs: Sysfs) -> Self {
        let at_work = Mutex::default();
        Self {
            kernel: Kernel,
            sysfs,
            both_ports: BothPorts::new(Kernel),
            announcer: Announcer::default(),
            measurements: Measurements::default(),
            at_work,
        }
    }

    /// Does what is asked and gives the answer. It ends soon after its patience does, whatever happens.
    pub(crate) async fn perform(self: Arc<Self>, verb: Verb, mut patience: Patience) -> Answer {
        let _at_work = self.at_work.lock().await;
        let answer = match verb {
            Verb::Inspect => in_time(&mut patience, self.inspect()).await,
            Verb::Acquaint { target } => in_time(&mut patience, self.acquaint(target)).await,
            Verb::ReleasePrimary { standby } => in_time(&mut patience, primary::release(&self, standby))
                .await
                .map(Answer::Released),
            Verb::AdoptPrimary { standby, primary } => primary::adopt(&self, standby, primary, &mut patience)
                .await
                .map(Answer::Adopted),
            Verb::Switch { standby, to, target } => {
                switch::switch(&self, standby, (to, target), &mut patience)
                    .await
                    .map(Answer::Switched)
            }
            Verb::Measure { standby, ask } => measure::measure(&self, standby, &ask, &mut patience)
                .await
                .map(Answer::Measured),
        };
        answer.unwrap_or_else(|refusal| Answer::Refused(refusal.into()))
    }

    /// Brings an abandoned verb to its end and undoes what only a switch needs, before the agent ends.
    pub(crate) async fn settle(&self) {
        let _ = timeout(SETTLE, self.at_work.lock()).await;
        self.both_ports.settle().await;
    }

    async fn inspect(&self) -> Result<Answer, Refusal> {
        Ok(Answer::Inspected(pair::inspected(&self.links().await?)))
    }

    /// The same, with whom this guest knows.
    async fn acquaint(&self, wanted: Option<IpAddr>) -> Result<Answer, Refusal> {
        let links = self.links().await?;
        let surroundings = Surroundings::read(self.kernel, wanted).await?;
        let mut inspected = pair::inspected(&links);
        known::tell(&mut inspected, &surroundings, &links);
        Ok(Answer::Inspected(inspected))
    }

    /// All interfaces with their devices.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, KernelError> {
        let mut links = self.kernel.links().await?;
        for link in &mut links {
            link.device = self.sysfs.device(&link.name);
        }
        Ok(links)
    }

    pub(crate) async fn pair(&self, standby: Mac) -> Result<Pair, Refusal> {
        pair::find(&self.links().await?, standby)
    }

    /// A refusal because the operating system refused something that is not netlink.
    pub(crate) fn broken(&self, what: &str, error: &io::Error) -> Refusal {
        Refusal::new(RefusalReason::Kernel, format!("cannot {what}: {error}"))
    }
}

/// For work that may be dropped at any point.
async fn in_time<T>(
    patience: &mut Patience,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        done = work => done,
        over = patience.over() => Err(gave_up(over, "the kernel has not answered")),
    }
}

/// The refusal of work whose patience is over.
pub(crate) fn gave_up(over: Over, missing: &str) -> Refusal {
    match over {
        Over::Deadline => Refusal::new(RefusalReason::Deadline, format!("not in time: {missing}")),
        Over::Abandoned => Refusal::new(RefusalReason::Deadline, format!("abandoned: {missing}")),
    }
}
