//! What the configuration says of this host.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use godwit_migration::{Keep, Options, Phase, profile::MustMatch};

use crate::History;

/// How long each phase may take.
#[derive(Clone, Debug)]
pub struct Deadlines(BTreeMap<Phase, Duration>);

impl Deadlines {
    /// The defaults, in seconds, with `changed` on top.
    pub fn new(changed: impl IntoIterator<Item = (Phase, Duration)>) -> Deadlines {
        let seconds = |phase| match phase {
            Phase::Reserve | Phase::Unreserve | Phase::Resume | Phase::Suspend => 15,
            Phase::Locate | Phase::FailOver | Phase::Release => 30,
            Phase::Unplug | Phase::Plug | Phase::FailBack => 60,
            Phase::Follow => 180,
            Phase::Transfer => 3600,
            Phase::Hold => 30,
            Phase::Await | Phase::Queue => u64::MAX / 1000,
        };
        let mut all: BTreeMap<_, _> = Phase::ALL
            .iter()
            .map(|phase| (*phase, Duration::from_secs(seconds(*phase))))
            .collect();
        all.extend(changed);
        Deadlines(all)
    }

    /// The phase's deadline.
    pub fn of(&self, phase: Phase) -> Duration {
        self.0.get(&phase).copied().unwrap_or(Duration::from_secs(60))
    }
}

/// What this host is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub host: String,
    /// Names of the hosts that it exchanges guests with.
    pub peers: Vec<String>,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// How many transfers at once.
    pub limits: Limits,
    /// How much is kept of what has ended.
    pub history: History,
    /// What a guest's VF must have as its last one had it.
    pub must_match: MustMatch,
    /// Names of its pools, for its peers to compare with theirs.
    pub pools: Vec<String>,
    /// What a move from here is like, where whoever asks for it says nothing.
    pub unasked: Unasked,
    /// When its certificate ends.
    pub certificate: Expiry,
}

/// What a move is like of which nothing was said.
#[derive(Clone, Debug, Default)]
pub struct Unasked {
    /// Probes a second by which the guest's outage is measured; 0: it is not.
    pub probes: u32,
    /// Whether frames that arrive in its pause are kept.
    pub keep: Keep,
    /// Its transfer.
    pub transfer: Options,
}

/// When a certificate ends, looked up each time: it can be replaced while the daemon runs.
#[derive(Clone, Default)]
pub struct Expiry(Option<Arc<dyn Fn() -> Option<i64> + Send + Sync>>);

impl Expiry {
    /// As `look` finds it: milliseconds since 1970, none without a certificate.
    pub fn new(look: impl Fn() -> Option<i64> + Send + Sync + 'static) -> Expiry {
        Expiry(Some(Arc::new(look)))
    }

    /// Milliseconds since 1970; none without a certificate.
    pub fn ends_ms(&self) -> Option<i64> {
        self.0.as_ref().and_then(|look| look())
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expiry").field(&self.ends_ms()).finish()
    }
}

/// How many transfers at once; more wait in the order in which they came, with their VFs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From this host.
    pub outgoing: usize,
    /// To this host.
    pub incoming: usize,
}

impl Default for Limits {
    /// One from here: transfers that share a link only keep each other's guests on standby longer. Two to here.
    fn default() -> Limits {
        Limits {
            outgoing: 1,
            incoming: 2,
        }
    }
}
