//! The configuration file. Every key is documented here and in docs/operations.md; unknown keys are refused.

mod access;
mod faults;
mod hook;
mod keep;
mod measure;
mod nearest;
mod pools;
mod transfer;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use godwit_coordinator::{Deadlines, History, Limits, faults::Fault};
use godwit_migration::{
    Phase,
    profile::{MustMatch, Setting},
};
use godwit_server::Operator;
use serde::Deserialize;

use self::nearest::nearest;
pub(crate) use self::{
    access::{AccessTable, AuditTable, OperatorTable},
    hook::HookTable,
    keep::KeepTable,
    measure::MeasureTable,
    pools::PoolTable,
    transfer::TransferTable,
};
use crate::world::doubt::{Doubt, OnUnknown};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// This host's name: the DNS name in its certificate, and what its peers call it.
    pub(crate) host: String,
    /// Unix socket for the CLI and local programs. Default `/run/godwit/godwitd.sock`.
    #[serde(default = "default_socket")]
    pub(crate) socket: PathBuf,
    /// Directory of the journal. Default `/var/lib/godwit`.
    #[serde(default = "default_state")]
    pub(crate) state: PathBuf,
    /// URI of this host's libvirtd. Default `qemu:///system`.
    #[serde(default = "default_libvirt")]
    pub(crate) libvirt: String,
    /// Address and port for other hosts' daemons. Needs `[tls]`. Without it this host only sends guests.
    pub(crate) listen: Option<SocketAddr>,
    /// Keys of this host.
    pub(crate) tls: Option<Tls>,
    /// Hosts that guests are exchanged with.
    #[serde(default, rename = "peer")]
    pub(crate) peers: Vec<Peer>,
    /// Unix groups whose users may use the socket.
    #[serde(default)]
    pub(crate) access: AccessTable,
    /// Who else may come in at `listen`.
    #[serde(default, rename = "operator")]
    pub(crate) operators: Vec<OperatorTable>,
    /// Where requests are written down.
    #[serde(default)]
    pub(crate) audit: AuditTable,
    /// VFs that Godwit may use.
    #[serde(default, rename = "pool")]
    pub(crate) pools: Vec<PoolTable>,
    /// Deadline of each phase, in seconds, where it is not the default.
    #[serde(default)]
    pub(crate) deadlines: BTreeMap<PhaseName, u64>,
    /// How many transfers at once.
    #[serde(default)]
    pub(crate) limits: LimitsTable,
    /// A guest that runs here and may run at its destination as well.
    #[serde(default)]
    pub(crate) unknown: UnknownTable,
    /// What a guest's VF must have as its last one had it.
    #[serde(default)]
    pub(crate) profile: ProfileTable,
    /// How a guest's outage is measured.
    #[serde(default)]
    pub(crate) measure: MeasureTable,
    /// Frames that arrive for a guest while it is paused between two hosts.
    #[serde(default)]
    pub(crate) keep: KeepTable,
    /// What transfers from here are like.
    #[serde(default)]
    pub(crate) transfer: TransferTable,
    /// How much is kept of migrations that have ended.
    #[serde(default)]
    pub(crate) history: HistoryTable,
    /// Guests that plain libvirt brings.
    #[serde(default)]
    pub(crate) hook: HookTable,
    /// The host's D-Bus.
    #[serde(default)]
    pub(crate) dbus: DbusTable,
    /// What is to go wrong on purpose. Refused without `--allow-faults`.
    #[serde(default, rename = "fault")]
    pub(crate) faults: Vec<FaultTable>,
}

/// A guest that runs here and may run at its destination as well, which cannot be asked.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UnknownTable {
    /// `auto` (the default), `keep` or `suspend`.
    pub(crate) policy: OnUnknown,
    /// libvirt's lock manager keeps two copies from one disk. Default false.
    pub(crate) disk_locks: bool,
}

/// What a guest's VF must have as its last one had it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProfileTable {
    /// Settings of which a difference is an error: the guest stays on its standby. Of the others it is a warning. Default
    /// `vlan`, `vlan-protocol`, `spoofchk` and `trust`.
    pub(crate) must_match: Vec<Setting>,
}

impl Default for ProfileTable {
    fn default() -> ProfileTable {
        let MustMatch(must_match) = MustMatch::default();
        ProfileTable { must_match }
    }
}

/// The host's D-Bus.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DbusTable {
    /// The daemon is on the system bus, and keeps the host awake while an operation is at work. Default true.
    pub(crate) enabled: bool,
}

impl Default for DbusTable {
    fn default() -> DbusTable {
        DbusTable { enabled: true }
    }
}

/// How many transfers at once; more wait, with their VFs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsTable {
    /// From this host, 1 to 64. Default 1: transfers that share a link keep each other's guests on standby longer.
    pub(crate) outgoing: usize,
    /// To this host, 1 to 64. Default 2.
    pub(crate) incoming: usize,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        let Limits { outgoing, incoming } = Limits::default();
        LimitsTable { outgoing, incoming }
    }
}

/// Files in PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The authority that signed every host's certificate.
    pub(crate) ca: PathBuf,
    /// This host's certificate; its DNS name is `host`.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Lists of revoked certificates (CRL) of that authority.
    pub(crate) crl: Option<PathBuf>,
}

/// Another host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// Its name: the DNS name in its certificate.
    pub(crate) name: String,
    /// Host and port of its daemon.
    pub(crate) address: String,
    /// URI of its libvirtd as this host's libvirtd reaches it, for example `qemu+tls://beta/system`.
    pub(crate) migrate_uri: String,
    /// Where QEMU sends the guest's memory, for example `tcp://10.1.0.2`. libvirt chooses when absent.
    pub(crate) memory_uri: Option<String>,
}

/// What is kept of migrations that have ended.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HistoryTable {
    /// At most this many. Default 1,000.
    keep: usize,
    /// None that ended more than this many days ago. Default 90.
    days: u32,
}

/// Something that is to go wrong on purpose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultTable {
    /// What goes wrong.
    kind: faults::KindName,
    /// How often, counted over restarts. Default 1.
    #[serde(default = "faults::once")]
    times: u32,
    /// `fail`, `pause`, `die`: in which phase.
    phase: Option<PhaseName>,
    /// `pause`: for how long.
    seconds: Option<u64>,
    /// `die`: when. Default `before`.
    moment: Option<faults::MomentName>,
    /// `die` at moment `during`: so long after the work began.
    after_ms: Option<u64>,
}

/// A phase as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(crate) struct PhaseName(Phase);

/// The configuration cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("configuration {path} cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("configuration {path}: {detail}")]
    Wrong { path: PathBuf, detail: String },
}

impl Default for HistoryTable {
    fn default() -> HistoryTable {
        let History { keep, days } = History::default();
        HistoryTable { keep, days }
    }
}

fn default_socket() -> PathBuf {
    "/run/godwit/godwitd.sock".into()
}

fn default_state() -> PathBuf {
    "/var/lib/godwit".into()
}

fn default_libvirt() -> String {
    "qemu:///system".into()
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.into(),
            source,
        })?;
        Config::parse(&text).map_err(|detail| ConfigError::Wrong {
            path: path.into(),
            detail,
        })
    }

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("{place}{}{}", error.message(), nearest(error.message()))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !name.is_empty() && name.len() <= 253 && name.chars().all(fits)
        };
        let names = self.peers.iter().map(|peer| &peer.name).chain([&self.host]);
        let pools = self.pools.iter().map(|pool| &pool.name);
        if let Some(name) = names.chain(pools).find(|name| !plain(name)) {
            return Err(format!("`{name}` is not a name (letters, digits, `-`, `.`, `_`)"));
        }
        if let Some(peer) = self.peers.iter().find(|peer| peer.name == self.host) {
            return Err(format!("peer `{}` has the name of this host", peer.name));
        }
        twice(self.peers.iter().map(|peer| &peer.name))
            .map_or(Ok(()), |n| Err(format!("two peers are named `{n}`")))?;
        twice(self.pools.iter().map(|pool| &pool.name))
            .map_or(Ok(()), |n| Err(format!("two pools are named `{n}`")))?;
        twice(self.pools.iter().flat_map(|pool| &pool.pfs))
            .map_or(Ok(()), |n| Err(format!("PF `{n}` is in two pools")))?;
        self.pools.iter().try_for_each(PoolTable::check)?;
        self.operators()?;
        self.audit.check()?;
        let strangers = !self.peers.is_empty() || !self.operators.is_empty();
        if self.tls.is_none() && (self.listen.is_some() || strangers) {
            return Err(
                "`listen`, `[[peer]]` and `[[operator]]` need `[tls]`: over the network there is mutual TLS only"
                    .into(),
            );
        }
        let LimitsTable { outgoing, incoming } = self.limits;
        if !(1..=64).contains(&outgoing) || !(1..=64).contains(&incoming) {
            return Err("limits.outgoing and limits.incoming are 1 to 64 transfers".into());
        }
        self.measure.check()?;
        self.keep.check()?;
        self.transfer.options()?;
        self.faults()?;
        self.hook
            .check(&self.socket, self.pools.iter().map(|pool| &pool.name))?;
        let HistoryTable { keep, days } = self.history;
        if !(1..=1_000_000).contains(&keep) || !(1..=36_500).contains(&days) {
            return Err("history.keep is not 1 to 1000000, or history.days not 1 to 36500".into());
        }
        match self
            .deadlines
            .iter()
            .find(|(_, seconds)| !(1..=86_400).contains(*seconds))
        {
            Some((phase, _)) => Err(format!("deadlines.{} is not 1 to 86400 seconds", phase.0)),
            None => Ok(()),
        }
    }

    /// How this host deals with a guest that may run twice.
    pub(crate) fn doubt(&self) -> Doubt {
        let UnknownTable { policy, disk_locks } = self.unknown;
        Doubt { policy, disk_locks }
    }

    /// Who else may come in at `listen`.
    pub(crate) fn operators(&self) -> Result<Vec<Operator>, String> {
        let hosts = self.peers.iter().map(|peer| &peer.name).chain([&self.host]);
        access::operators(&self.operators, hosts)
    }

    /// What a guest's VF must have as its last one had it.
    pub(crate) fn must_match(&self) -> MustMatch {
        MustMatch(self.profile.must_match.clone())
    }

    /// How many transfers at once.
    pub(crate) fn limits(&self) -> Limits {
        let LimitsTable { outgoing, incoming } = self.limits;
        Limits { outgoing, incoming }
    }

    /// What is to go wrong on purpose.
    pub(crate) fn faults(&self) -> Result<Vec<Fault>, String> {
        faults::read(&self.faults)
    }

    /// How much is kept of migrations that have ended.
    pub(crate) fn history(&self) -> History {
        let HistoryTable { keep, days } = self.history;
        History { keep, days }
    }

    /// The phases' deadlines.
    pub(crate) fn deadlines(&self) -> Deadlines {
        let named = self.deadlines.iter();
        Deadlines::new(named.map(|(phase, s)| (phase.0, Duration::from_secs(*s))))
    }
}

fn twice<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
host = "alpha"
listen = "10.1.0.1:7716"
[tls]
ca = "ca.pem"
certificate = "host.pem"
key = "host.key"
[[peer]]
name = "beta"
address = "10.1.0.2:7716"
migrate_uri = "qemu+tls://beta/system"
[[pool]]
name = "fabric"
pfs = ["pf0"]
[deadlines]
fail-over = 7
"#;

    #[test]
    fn a_whole_file_is_read_with_defaults() {
        let config = Config::parse(WHOLE).unwrap();
        assert_eq!(config.socket, Path::new("/run/godwit/godwitd.sock"));
        assert_eq!(config.deadlines().of(Phase::FailOver), Duration::from_secs(7));
        assert_eq!(config.deadlines().of(Phase::Unplug), Duration::from_secs(60));
        assert_eq!(config.limits(), Limits::default());
        let measure = config.measure;
        assert_eq!(
            (measure.probes, measure.ask, measure.reflector),
            (100, None, None)
        );
        let reflector = WHOLE.replace(
            "[deadlines]",
            "[measure]\nreflector = \"[fd00::9]:7007\"\n[deadlines]",
        );
        let reflector = Config::parse(&reflector).unwrap().measure.reflector;
        assert_eq!(reflector, "[fd00::9]:7007".parse().ok());
        assert_eq!(config.history(), History { keep: 1000, days: 90 });
        assert_eq!(config.must_match(), MustMatch::default());
        assert!(config.dbus.enabled);
        let must = WHOLE.replace(
            "[deadlines]",
            "[profile]\nmust_match = [\"vlan\", \"max-tx-rate\"]\n[deadlines]",
        );
        assert_eq!(
            Config::parse(&must).unwrap().must_match().0,
            [Setting::Vlan, Setting::MaxTxRate]
        );
        let short = WHOLE.replace("[deadlines]", "[history]\ndays = 7\n[deadlines]");
        assert_eq!(
            Config::parse(&short).unwrap().history(),
            History { keep: 1000, days: 7 }
        );
    }

    #[test]
    fn wrong_files_are_refused_with_line_and_nearest_name() {
        let wrong = |from: &str, to: &str| Config::parse(&WHOLE.replace(from, to)).unwrap_err();
        let unknown = wrong("listen =", "lisen =");
        assert!(
            unknown.contains("line 3") && unknown.ends_with("did you mean `listen`?"),
            "{unknown}"
        );
        let unknown = wrong("pfs =", "pf =");
        assert!(unknown.ends_with("did you mean `pfs`?"), "{unknown}");
        let unknown = wrong("fail-over = 7", "failover = 7");
        assert!(unknown.ends_with("did you mean `fail-over`?"), "{unknown}");
        assert!(wrong("host = \"alpha\"", "").contains("missing field `host`"));
        assert!(wrong("host = \"alpha\"", "host = \"beta\"").contains("the name of this host"));
        let limits = wrong("[deadlines]", "[limits]\nincoming = 0\n[deadlines]");
        assert!(limits.contains("1 to 64"), "{limits}");
        let probes = wrong("[deadlines]", "[measure]\nprobes = 1001\n[deadlines]");
        assert!(probes.contains("0 to 1000"), "{probes}");
        let ask = wrong("[deadlines]", "[measure]\nask = \"gateway\"\n[deadlines]");
        assert!(ask.contains("line"), "{ask}");
        for nowhere in ["0.0.0.0:7007", "127.0.0.1:7007", "10.77.0.9:0", "[ff02::1]:7007"] {
            let reflector = format!("[measure]\nreflector = \"{nowhere}\"\n[deadlines]");
            let reflector = wrong("[deadlines]", &reflector);
            assert!(
                reflector.contains(nowhere) && reflector.contains("godwit reflect"),
                "{reflector}"
            );
        }
        let reflector = wrong("[deadlines]", "[measure]\nreflector = \"10.77.0.9\"\n[deadlines]");
        assert!(reflector.contains("line"), "{reflector}");
        assert!(wrong("fail-over = 7", "fail-over = 0").contains("1 to 86400"));
        assert!(wrong("name = \"fabric\"", "name = \"a b\"").contains("not a name"));
        assert!(wrong("[tls]", "[[pool]]").contains("unknown field `ca`"));
        let setting = wrong("[deadlines]", "[profile]\nmust_match = [\"vlna\"]\n[deadlines]");
        assert!(setting.ends_with("did you mean `vlan`?"), "{setting}");
        let history = |keys: &str| wrong("[deadlines]", &format!("[history]\n{keys}\n[deadlines]"));
        assert!(history("keep = 0").contains("history.keep is not 1 to"));
        assert!(history("days = 0").contains("history.days not 1 to"));
        let fault = wrong("[deadlines]", "[[fault]]\nkind = \"dye\"\n[deadlines]");
        assert!(fault.ends_with("did you mean `die`?"), "{fault}");
        let plain = wrong(
            "[tls]\nca = \"ca.pem\"\ncertificate = \"host.pem\"\nkey = \"host.key\"\n",
            "",
        );
        assert!(plain.contains("need `[tls]`"), "{plain}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::read(Path::new("/nonexistent/godwitd.toml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "configuration /nonexistent/godwitd.toml cannot be read"
        );
    }
}
