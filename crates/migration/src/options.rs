//! libvirt's own options of a transfer: what may be asked for, within what bounds, and what goes together. Each is left to
//! libvirt, or to the configuration, where nobody says anything.
//!
//! Bounds and combinations are those of libvirt 11 (`src/qemu/qemu_migration_params.c`, `qemu_migration.c`) and QEMU 10
//! (`migration/options.c`). They are checked here so that what these would refuse is refused before the guest has lost its VF.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// What a transfer is to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Limit of the rate, MiB/s, 1 to 1,048,576.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// The same after the switch to post-copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_copy_bandwidth: Option<u64>,
    /// How long the guest may be paused for the last of its memory, ms, 1 to 2,000,000. It is what QEMU aims at, not a promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_ms: Option<u64>,
    /// Connections that carry the memory side by side, 1 to 255; 0: one, and not QEMU's way for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// A guest that writes faster than is sent is slowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_converge: Option<AutoConverge>,
    /// The guest may go on at the destination before all of its memory is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_copy: Option<bool>,
    /// How the memory is compressed; an empty list: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Vec<Compression>>,
    /// Whether QEMU encrypts what it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What becomes of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What happens if it takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Whether a guest is slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoConverge {
    /// It is not.
    Off,
    /// It is, in steps.
    On {
        /// Per cent of its time that are taken from it first, 1 to 99.
        initial: Option<u32>,
        /// Per cent that are taken besides if that is not enough, 1 to 99.
        increment: Option<u32>,
    },
}

/// A way to compress memory, by libvirt's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// The difference to what was sent before.
    Xbzrle,
    /// zlib in several threads; QEMU 9.1 and newer have it no more.
    Mt,
    /// zlib, in parallel connections.
    Zlib,
    /// Zstandard, in parallel connections.
    Zstd,
}

/// Whether QEMU encrypts what it sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tls {
    /// It does not.
    Off,
    /// It does, with the certificates of `migrate_tls_x509_cert_dir` of libvirt's `qemu.conf`.
    On {
        /// Name in the destination's certificate, where it is not the host's own.
        destination: Option<String>,
    },
}

/// What becomes of a guest's disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// Both hosts have them.
    Shared,
    /// They are copied.
    Copied {
        /// Only what differs from an image that the destination has already.
        incremental: bool,
        /// By their names in the domain (`vda`); empty: all that can be written and are not shared.
        disks: Vec<String>,
    },
}

/// What happens if a transfer takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// After so long, 1 to 86,400 s.
    pub seconds: u64,
    /// This.
    pub action: TimeoutAction,
}

/// What is done with a transfer that takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutAction {
    /// It is given up, and the guest stays.
    Cancel,
    /// The guest is paused until all of it is there.
    Suspend,
    /// The guest goes on at the destination, and the rest of its memory follows.
    PostCopy,
}

/// What cannot be asked for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongOptions {
    /// A number.
    #[error("{what} is not {bounds}")]
    Bounds {
        /// Which.
        what: &'static str,
        /// What it may be.
        bounds: &'static str,
    },
    /// A word.
    #[error("`{word}` is not {bounds}")]
    Word {
        /// As it was given, as far as it is printable.
        word: String,
        /// What it should have been.
        bounds: &'static str,
    },
    /// Two of them that do not go together.
    #[error("{one} does not go with {other}: {why}")]
    Apart {
        /// One.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// Who says so.
        why: &'static str,
    },
    /// One that means nothing without another.
    #[error("{what} needs {other}")]
    Needs {
        /// Which.
        what: &'static str,
        /// What is missing.
        other: &'static str,
    },
}

impl Options {
    /// The highest limit of the rate, MiB/s: 1 TiB/s.
    pub const MOST_BANDWIDTH: u64 = 1 << 20;
    /// The longest pause that QEMU takes, ms.
    pub const MOST_DOWNTIME_MS: u64 = 2_000_000;
    /// So many connections QEMU opens at most.
    pub const MOST_CONNECTIONS: u32 = 255;
    /// So many disks are named at most.
    pub const MOST_DISKS: usize = 64;
    /// The longest time after which something is done, s.
    pub const MOST_SECONDS: u64 = 86_400;

    /// Nothing is said of anything.
    pub fn is_empty(&self) -> bool {
        *self == Options::default()
    }

    /// These, and where they say nothing, what `defaults` says. A destination's name alone is no wish for TLS.
    pub fn or(self, defaults: &Options) -> Options {
        let defaults = defaults.clone();
        Options {
            bandwidth: self.bandwidth.or(defaults.bandwidth),
            post_copy_bandwidth: self.post_copy_bandwidth.or(defaults.post_copy_bandwidth),
            downtime_ms: self.downtime_ms.or(defaults.downtime_ms),
            parallel: self.parallel.or(defaults.parallel),
            auto_converge: self.auto_converge.or(defaults.auto_converge),
            post_copy: self.post_copy.or(defaults.post_copy),
            compression: self.compression.or(defaults.compression),
            tls: self.tls.or(defaults.tls),
            storage: self.storage.or(defaults.storage),
            timeout: self.timeout.or(defaults.timeout),
        }
    }

    /// The guest may run at the destination before its memory is there.
    pub fn post_copies(&self) -> bool {
        self.post_copy == Some(true)
    }

    /// Several connections carry the memory: how many.
    pub fn connections(&self) -> Option<u32> {
        self.parallel.filter(|connections| *connections > 0)
    }

    /// When a transfer that may switch to post-copy does so by itself: after the first pass over the memory, unless a timeout says when.
    pub fn switches_after_first_pass(&self) -> bool {
        let by_timeout = |timeout: Timeout| timeout.action == TimeoutAction::PostCopy;
        self.post_copies() && !self.timeout.is_some_and(by_timeout)
    }

    /// The disks that are named.
    pub fn disks(&self) -> &[String] {
        match &self.storage {
            Some(Storage::Copied { disks, .. }) => disks,
            Some(Storage::Shared) | None => &[],
        }
    }

    /// Bounds and combinations; what depends on the guest or the hosts is not known here.
    ///
    /// # Errors
    /// The first that is wrong, by its sentence.
    pub fn check(&self) -> Result<(), WrongOptions> {
        self.check_bounds()?;
        self.check_words()?;
        self.check_needs()?;
        self.check_together()
    }

    fn check_bounds(&self) -> Result<(), WrongOptions> {
        let rate = |rate: Option<u64>| rate.is_none_or(|rate| (1..=Options::MOST_BANDWIDTH).contains(&rate));
        let percent = |value: Option<u32>| value.is_none_or(|value| (1..=99).contains(&value));
        let (initial, increment) = match self.auto_converge {
            Some(AutoConverge::On { initial, increment }) => (initial, increment),
            Some(AutoConverge::Off) | None => (None, None),
        };
        let downtime = self.downtime_ms.unwrap_or(1);
        let seconds = self.timeout.map_or(1, |timeout| timeout.seconds);
        let bounds = [
            (rate(self.bandwidth), "the bandwidth", "1 to 1,048,576 MiB/s"),
            (
                rate(self.post_copy_bandwidth),
                "the bandwidth after the switch to post-copy",
                "1 to 1,048,576 MiB/s",
            ),
            (
                (1..=Options::MOST_DOWNTIME_MS).contains(&downtime),
                "the downtime",
                "1 to 2,000,000 ms",
            ),
            (
                self.parallel.unwrap_or(0) <= Options::MOST_CONNECTIONS,
                "the number of parallel connections",
                "0 to 255",
            ),
            (percent(initial), "auto-converge's first step", "1 to 99 per cent"),
            (
                percent(increment),
                "auto-converge's next step",
                "1 to 99 per cent",
            ),
            (
                (1..=Options::MOST_SECONDS).contains(&seconds),
                "the timeout",
                "1 to 86,400 s",
            ),
            (
                self.disks().len() <= Options::MOST_DISKS,
                "the number of disks",
                "0 to 64",
            ),
        ];
        match bounds.into_iter().find(|(fits, ..)| !fits) {
            Some((_, what, bounds)) => Err(WrongOptions::Bounds { what, bounds }),
            None => Ok(()),
        }
    }

    fn check_words(&self) -> Result<(), WrongOptions> {
        let wrong = |word: &str, bounds| WrongOptions::Word {
            word: word.chars().filter(|c| !c.is_control()).take(64).collect(),
            bounds,
        };
        let target = |disk: &&String| {
            let fits = (1..=32).contains(&disk.len());
            !(fits && disk.chars().all(|c| c.is_ascii_alphanumeric()))
        };
        if let Some(disk) = self.disks().iter().find(target) {
            return Err(wrong(disk, "a disk's name in a domain, as `vda`"));
        }
        let Some(Tls::On {
            destination: Some(name),
        }) = &self.tls
        else {
            return Ok(());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        match (1..=253).contains(&name.len()) && name.chars().all(plain) {
            true => Ok(()),
            false => Err(wrong(name, "a name in a certificate")),
        }
    }

    fn check_needs(&self) -> Result<(), WrongOptions> {
        let methods = self.compression.as_deref().unwrap_or_default();
        let threaded = methods
            .iter()
            .any(|method| matches!(method, Compression::Zlib | Compression::Zstd));
        let switches = self
            .timeout
            .is_some_and(|timeout| timeout.action == TimeoutAction::PostCopy);
        let needs = [
            (
                self.post_copy_bandwidth.is_some() && !self.post_copies(),
                "the bandwidth after the switch to post-copy",
                "post-copy",
            ),
            (
                switches && !self.post_copies(),
                "a timeout that switches to post-copy",
                "post-copy",
            ),
            (
                threaded && self.connections().is_none(),
                "compression by zlib or zstd",
                "parallel connections",
            ),
        ];
        match needs.into_iter().find(|(lacks, ..)| *lacks) {
            Some((_, what, other)) => Err(WrongOptions::Needs { what, other }),
            None => Ok(()),
        }
    }

    fn check_together(&self) -> Result<(), WrongOptions> {
        let methods = self.compression.as_deref().unwrap_or_default();
        let has = |method| methods.contains(&method);
        let parallel = self.connections().is_some();
        let twice = methods
            .iter()
            .enumerate()
            .any(|(index, method)| methods[..index].contains(method));
        let apart = [
            (
                parallel && (has(Compression::Xbzrle) || has(Compression::Mt)),
                "compression by xbzrle or mt",
                "parallel connections",
                "libvirt refuses it",
            ),
            (twice, "a way of compression", "itself", "it is named twice"),
            (
                parallel && methods.len() > 1,
                "one way of compression",
                "another",
                "libvirt takes one alone in parallel connections",
            ),
            (
                self.post_copies() && has(Compression::Mt),
                "compression by mt",
                "post-copy",
                "QEMU refuses it",
            ),
        ];
        match apart.into_iter().find(|(both, ..)| *both) {
            Some((_, one, other, why)) => Err(WrongOptions::Apart { one, other, why }),
            None => Ok(()),
        }
    }
}

impl Compression {
    /// Every way.
    pub const ALL: [Compression; 4] = [
        Compression::Xbzrle,
        Compression::Mt,
        Compression::Zlib,
        Compression::Zstd,
    ];

    /// libvirt's name, and the word for people.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Xbzrle => "xbzrle",
            Compression::Mt => "mt",
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        }
    }
}
