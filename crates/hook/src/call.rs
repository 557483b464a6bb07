//! What libvirt calls the hook with.

/// The arguments of one call, as libvirt gives them (libvirt.org, "Hooks for specific system management"): the guest's name, what happens to it, at which point
/// of that, and something more that depends on it, or `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The guest's name.
    pub guest: String,
    /// `migrate`, `prepare`, `start`, `started`, `stopped`, `release`, `reconnect`, `restore`, `attach`.
    pub operation: String,
    /// `begin` or `end`.
    pub point: String,
    /// The reason of `stopped` and `release` (libvirt 10.5 and newer), else `-`.
    pub more: String,
}

/// What may be done in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Change the XML, or refuse: the guest comes here, and nothing of it is here yet.
    Decide,
    /// Tell the daemon, and succeed whatever comes of it.
    Tell,
    /// Nothing at all: a failure would have a running guest killed, or the call is not known.
    Nothing,
}

impl Call {
    /// The call of these arguments, the program's own name not among them; what is missing is empty.
    pub fn of(arguments: impl IntoIterator<Item = String>) -> Call {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().unwrap_or_default();
        Call {
            guest: next(),
            operation: next(),
            point: next(),
            more: next(),
        }
    }

    /// What may be done in it.
    pub fn right(&self) -> Right {
        match (self.operation.as_str(), self.point.as_str()) {
            ("migrate", "begin") => Right::Decide,
            ("prepare" | "start" | "started" | "restore" | "attach", "begin") => Right::Tell,
            ("stopped" | "release", "end") => Right::Tell,
            _ => Right::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(arguments: &str) -> Right {
        Call::of(arguments.split(' ').map(str::to_owned)).right()
    }

    #[test]
    fn one_call_may_decide_and_reconnect_does_nothing() {
        assert_eq!(right("web-1 migrate begin -"), Right::Decide);
        for told in [
            "web-1 prepare begin -",
            "web-1 start begin -",
            "web-1 started begin -",
            "web-1 stopped end migrated",
            "web-1 release end migrated",
            "web-1 restore begin -",
            "web-1 attach begin -",
        ] {
            assert_eq!(right(told), Right::Tell, "{told}");
        }
        for nothing in [
            "web-1 reconnect begin -",
            "web-1 migrate end -",
            "web-1",
            "",
            "web-1 renew begin -",
        ] {
            assert_eq!(right(nothing), Right::Nothing, "{nothing}");
        }
    }
}
