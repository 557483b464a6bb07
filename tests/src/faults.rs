//! Faults on purpose in a host's daemon: written into its configuration, and the daemon started anew so that it may
//! have them. `docs/operations.md` says what they are.

use std::fmt;

use anyhow::Result;

use crate::{Host, Place, say, ssh};

/// Where `rig-service` looks for more options of godwitd.
const OPTIONS: &str = "/etc/godwit/options";
/// Of a host's daemon.
const CONFIGURATION: &str = "/etc/godwit/godwitd.toml";

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The daemon dies once, in this phase.
    Die(Moment, &'static str),
    /// The phase fails that many times.
    Fail(&'static str, u32),
    /// An unplug that the guest does not answer.
    Silent,
    /// An unplug that is refused.
    Refused,
    /// So many questions to agents have no answer.
    NoAgent(u32),
    /// So many looks at the host's VFs find none free.
    NoVf(u32),
    /// The phase's work begins so many seconds later.
    Pause(&'static str, u32),
}

/// When in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before its work.
    Before,
    /// So many milliseconds after its work began.
    During(u32),
    /// After its work, before its outcome is durable.
    After,
}

impl Moment {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::During(_) => "during",
            Moment::After => "after",
        }
    }
}

/// The table of godwitd's configuration.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[fault]]")?;
        match self {
            Fault::Die(moment, phase) => {
                let name = moment.name();
                writeln!(f, "kind = \"die\"\nphase = \"{phase}\"\nmoment = \"{name}\"")?;
                match moment {
                    Moment::During(after) => writeln!(f, "after_ms = {after}"),
                    _ => Ok(()),
                }
            }
            Fault::Fail(phase, times) => {
                writeln!(f, "kind = \"fail\"\nphase = \"{phase}\"\ntimes = {times}")
            }
            Fault::Silent => writeln!(f, "kind = \"silent\""),
            Fault::Refused => writeln!(f, "kind = \"refused\""),
            Fault::NoAgent(times) => writeln!(f, "kind = \"no-agent\"\ntimes = {times}"),
            Fault::NoVf(times) => writeln!(f, "kind = \"no-vf\"\ntimes = {times}"),
            Fault::Pause(phase, seconds) => {
                writeln!(f, "kind = \"pause\"\nphase = \"{phase}\"\nseconds = {seconds}")
            }
        }
    }
}

/// A host's daemon that has faults, until this is dropped.
#[derive(Debug)]
pub struct Faults<'a> {
    place: &'a Place,
    host: Host,
}

impl<'a> Faults<'a> {
    /// Orders them; none has struck yet.
    pub fn order(place: &'a Place, host: Host, faults: &[Fault]) -> Result<Faults<'a>> {
        none(place, host)?;
        let tables: String = faults.iter().map(Fault::to_string).collect();
        let ordered = Faults { place, host };
        let line = format!(
            "cat >>{CONFIGURATION} && echo --allow-faults >{OPTIONS} && sync && rig-service restart godwitd"
        );
        ssh::run_with(place, host, &line, tables.as_bytes())?;
        Ok(ordered)
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        if let Err(error) = none(self.place, self.host) {
            say(format!("the faults of {} are not undone: {error:#}", self.host));
        }
    }
}

/// The host's daemon has no faults; one that had some is started anew, and forgets how often they struck.
pub fn none(place: &Place, host: Host) -> Result<()> {
    let line = format!(
        "[ ! -e {OPTIONS} ] || {{ sed -i '/^\\[\\[fault]]/,$d' {CONFIGURATION} && rm {OPTIONS} && \
         sync && rig-service restart godwitd; }}"
    );
    ssh::run(place, host, &line)
}

#[cfg(test)]
mod tests {
    use super::{Fault, Moment};

    #[test]
    fn a_fault_is_a_table() {
        let text = Fault::Die(Moment::During(1500), "transfer").to_string();
        assert_eq!(
            text,
            "[[fault]]\nkind = \"die\"\nphase = \"transfer\"\nmoment = \"during\"\nafter_ms = 1500\n"
        );
        let text = Fault::Die(Moment::After, "plug").to_string();
        assert!(text.ends_with("moment = \"after\"\n"), "{text}");
        let text = Fault::Fail("plug", 2).to_string();
        assert_eq!(text, "[[fault]]\nkind = \"fail\"\nphase = \"plug\"\ntimes = 2\n");
        let text = Fault::Pause("queue", 5).to_string();
        assert_eq!(
            text,
            "[[fault]]\nkind = \"pause\"\nphase = \"queue\"\nseconds = 5\n"
        );
    }
}
