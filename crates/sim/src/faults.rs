//! Faults as knobs of the world: at which phase, on which host, what, and how often.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use godwit_migration::Phase;

use crate::model::{Fate, GuestId, HostId};

/// How long a crashed coordinator stays away, unless said otherwise.
const DOWN: Duration = Duration::from_secs(5);
/// How long a host that is cut off hears nobody: longer than the deadline of a request to it.
const CUT: Duration = Duration::from_secs(20);
/// A guest that answers an unplug late answers after its deadline.
const LATE: Duration = Duration::from_secs(90);

/// What goes wrong in an attempt at a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It fails before the step's effect.
    Fail,
    /// It fails in spite of the step's effect.
    Half,
    /// It never answers: the loop gives up at the deadline.
    Hang,
    /// The coordinator that works on it dies, and is started again after a while.
    Crash(Duration),
    /// The same, and its journal is lost with it: in storms alone, on a source that has not touched its guest yet.
    Forget(Duration),
    /// The host at the other end hears nobody for a while.
    Cut(Duration),
    /// The daemons of the two hosts do not hear each other for a while, though all else does.
    Part(Duration),
    /// The guest is shut down.
    Stop,
    /// The guest reboots.
    Reboot,
    /// Somebody cancels the migration.
    Cancel,
    /// Unplug: the guest does not answer; for ever, or for a while.
    Silent(Option<Duration>),
    /// Fail over: the agent says that the traffic has moved, and moves nothing.
    Lie,
    /// Transfer: how it goes.
    Fate(Fate),
}

/// One knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The phase that it strikes in.
    pub phase: Phase,
    /// On this host only (a name when it comes from outside, see [`Knobs::set`]).
    pub host: Option<HostId>,
    /// For this guest only.
    pub guest: Option<GuestId>,
    /// What happens.
    pub kind: Kind,
    /// Before or after which micro-step of the phase; the last one if it has fewer.
    pub step: u8,
    /// How often still.
    pub times: u32,
}

/// A fault as somebody typed it: the host is still a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its host, if it is of one host only.
    pub host: Option<String>,
    /// The rest.
    pub fault: Fault,
}

/// All knobs.
#[derive(Clone, Debug, Default)]
pub struct Knobs {
    set: Vec<Fault>,
    off: bool,
    /// How many faults struck, by phase and kind.
    pub(crate) struck: BTreeMap<String, u64>,
}

impl Knobs {
    /// Turns one more.
    pub fn set(&mut self, fault: Fault) {
        self.set.push(fault);
    }

    /// Turns all off, for good.
    pub fn clear(&mut self) {
        self.set.clear();
        self.off = true;
    }

    /// All were turned off: what was about to strike does not.
    pub(crate) fn off(&self) -> bool {
        self.off
    }

    /// The fault that strikes this attempt, if any; used up by it.
    pub(crate) fn strike(&mut self, phase: Phase, guest: GuestId, host: HostId) -> Option<(Kind, u8)> {
        self.take(
            |fault| fault.phase == phase && !matches!(fault.kind, Kind::Fate(_)),
            guest,
            host,
        )
        .map(|fault| (fault.kind, fault.step))
    }

    /// How the transfer that begins now is to go.
    pub(crate) fn fate(&mut self, guest: GuestId, host: HostId) -> Option<Fate> {
        let found = self.take(|fault| matches!(fault.kind, Kind::Fate(_)), guest, host)?;
        match found.kind {
            Kind::Fate(fate) => Some(fate),
            _ => None,
        }
    }

    fn take(&mut self, wanted: impl Fn(&Fault) -> bool, guest: GuestId, host: HostId) -> Option<Fault> {
        let fits = |fault: &&mut Fault| {
            fault.times > 0
                && fault.guest.is_none_or(|of| of == guest)
                && fault.host.is_none_or(|on| on == host)
                && wanted(fault)
        };
        let fault = self.set.iter_mut().find(fits)?;
        if fault.times != u32::MAX {
            fault.times -= 1;
        }
        let fault = fault.clone();
        *self
            .struck
            .entry(format!("{} {}", fault.phase, fault.kind))
            .or_default() += 1;
        Some(fault)
    }
}

impl Fault {
    /// Once, at the first step, for whoever comes.
    pub fn new(phase: Phase, kind: Kind) -> Fault {
        Fault {
            phase,
            host: None,
            guest: None,
            kind,
            step: 0,
            times: 1,
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    /// `PHASE[@HOST]=KIND[:COUNT]`.
    fn from_str(text: &str) -> Result<Wanted, String> {
        let shape = || format!("`{text}` is not PHASE[@HOST]=KIND[:COUNT], for example plug@beta=fail:3");
        let (place, what) = text.split_once('=').ok_or_else(shape)?;
        let (phase, host) = match place.split_once('@') {
            Some((phase, host)) => (phase, Some(host.to_owned())),
            None => (place, None),
        };
        let (kind, count) = what.split_once(':').unwrap_or((what, "1"));
        let phases = Phase::ALL.map(Phase::name).join(", ");
        let phase = Phase::ALL.into_iter().find(|known| known.name() == phase);
        let phase = phase.ok_or_else(|| format!("no such phase; the phases are {phases}"))?;
        let mut fault = Fault::new(phase, kind_of(kind, phase)?);
        fault.step = u8::from(matches!(fault.kind, Kind::Half | Kind::Stop | Kind::Reboot));
        fault.times = match count {
            "ever" => u32::MAX,
            count => count.parse().map_err(|_| shape())?,
        };
        Ok(Wanted { host, fault })
    }
}

fn kind_of(word: &str, phase: Phase) -> Result<Kind, String> {
    let kind = match (word, phase) {
        ("fail", Phase::Transfer) => Kind::Fate(Fate::FailsBefore),
        ("hang", Phase::Transfer) => Kind::Fate(Fate::Hangs),
        ("fail" | "half" | "hang", Phase::Await) => {
            return Err("await only waits for the guest: it cannot fail or hang".into());
        }
        (_, Phase::Hold) => return Err("hold is the coordinator's own work: take its VFs with --vfs".into()),
        ("hang", Phase::Queue) => return Err("queue has no deadline: nothing would end it".into()),
        ("fail", _) => Kind::Fail,
        ("half", _) => Kind::Half,
        ("hang", _) => Kind::Hang,
        ("crash", _) => Kind::Crash(DOWN),
        ("cut", _) => Kind::Cut(CUT),
        ("part", _) => Kind::Part(CUT),
        ("stop", _) => Kind::Stop,
        ("reboot", _) => Kind::Reboot,
        ("cancel", _) => Kind::Cancel,
        ("silent", Phase::Unplug) => Kind::Silent(None),
        ("late", Phase::Unplug) => Kind::Silent(Some(LATE)),
        ("lie", Phase::FailOver) => Kind::Lie,
        ("moved", Phase::Transfer) => Kind::Fate(Fate::MovedButError),
        ("paused", Phase::Transfer) => Kind::Fate(Fate::FailsPaused),
        ("resumed", Phase::Transfer) => Kind::Fate(Fate::FailsResumed),
        ("split", Phase::Transfer) => Kind::Fate(Fate::Split),
        ("slow", Phase::Transfer) => Kind::Fate(Fate::Slow),
        ("torn", Phase::Transfer) => Kind::Fate(Fate::Torn),
        _ => {
            return Err(format!(
                "`{word}` is not a fault of {phase}; see godwit-sim --help"
            ));
        }
    };
    Ok(kind)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Kind::Fail => "fail",
            Kind::Half => "half",
            Kind::Hang => "hang",
            Kind::Crash(_) => "crash",
            Kind::Forget(_) => "forget",
            Kind::Cut(_) => "cut",
            Kind::Part(_) => "part",
            Kind::Stop => "stop",
            Kind::Reboot => "reboot",
            Kind::Cancel => "cancel",
            Kind::Silent(None) => "silent",
            Kind::Silent(Some(_)) => "late",
            Kind::Lie => "lie",
            Kind::Fate(fate) => return write!(f, "{fate:?}"),
        };
        f.write_str(word)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.phase)?;
        if let Some(host) = self.host {
            write!(f, "@{host}")?;
        }
        if let Some(guest) = self.guest {
            write!(f, " of guest {guest}")?;
        }
        write!(
            f,
            " = {:?} at step {}, {} times",
            self.kind, self.step, self.times
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_typed() {
        let wanted: Wanted = "plug@beta=fail:3".parse().unwrap();
        assert_eq!(wanted.host.as_deref(), Some("beta"));
        assert_eq!(
            (wanted.fault.phase, wanted.fault.kind, wanted.fault.times),
            (Phase::Plug, Kind::Fail, 3)
        );
        let wanted: Wanted = "unplug=silent".parse().unwrap();
        assert_eq!(wanted.fault.kind, Kind::Silent(None));
        let wanted: Wanted = "transfer=moved:ever".parse().unwrap();
        assert_eq!(
            (wanted.fault.kind, wanted.fault.times),
            (Kind::Fate(Fate::MovedButError), u32::MAX)
        );
        for wrong in [
            "",
            "plug",
            "plug=silent",
            "plugg=fail",
            "plug=fail:x",
            "await=hang",
            "queue=hang",
            "hold=fail",
            "transfer=late",
            "unplug=lie",
        ] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_knob_strikes_as_often_as_it_says() {
        let mut knobs = Knobs::default();
        knobs.set(Fault {
            times: 2,
            host: Some(1),
            ..Fault::new(Phase::Plug, Kind::Fail)
        });
        assert_eq!(knobs.strike(Phase::Plug, 0, 0), None);
        assert_eq!(knobs.strike(Phase::Unplug, 0, 1), None);
        assert!(knobs.strike(Phase::Plug, 0, 1).is_some());
        assert!(knobs.strike(Phase::Plug, 7, 1).is_some());
        assert_eq!(knobs.strike(Phase::Plug, 0, 1), None);
    }
}
