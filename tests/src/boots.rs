//! Boots that nobody asked for. An emulation two levels deep resets its guest now and then, in the middle of a line of its
//! console; a host's kernel finds its stack broken and panics, in the thread of a guest's processor; and a host is reset
//! without a word. What a story saw then says nothing of Godwit.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use anyhow::Result;

use crate::guest::Guest;
use crate::{Host, Place, host, ssh};

/// What a host's init says once.
const STARTED: &str = "] network and VFs are up";

/// How often this process has made a guest boot again.
static ASKED: AtomicI64 = AtomicI64::new(0);

/// Boots that came to their end; starts of an emulator; those of them that waited for a guest to arrive.
fn look() -> String {
    let files = |before: &str, after: &str| {
        Guest::ALL
            .map(|guest| format!("{before}/{guest}.{after}"))
            .join(" ")
    };
    let (consoles, logs) = (
        files("/var/log", "console"),
        files("/var/log/libvirt/qemu", "log"),
    );
    format!(
        "cat {consoles} 2>/dev/null | grep -c '] READY'; cat {logs} 2>/dev/null | grep -c 'starting up libvirt'; \
         cat {logs} 2>/dev/null | grep -c -e ' -incoming '; true"
    )
}

/// A guest is about to be made to boot again.
pub(crate) fn ask() {
    ASKED.fetch_add(1, Relaxed);
}

/// How often, since the hosts' disks are new, a guest booted that was neither started nor asked to; unknown if a host
/// did not tell. Only a difference means something: who is switched off while it boots counts as one too few.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unasked {
    guests: Option<i64>,
    hosts: usize,
}

impl Unasked {
    /// Until now.
    pub fn until_now(place: &Place) -> Unasked {
        let on = Host::ALL
            .into_iter()
            .filter(|host| host::process(place, *host).is_some());
        let each = on.map(|host| count(&ssh::output(place, host, &look())?));
        let all = each.sum::<Result<i64>>();
        Unasked {
            guests: all.ok().map(|all| all - ASKED.load(Relaxed)),
            hosts: Host::ALL.into_iter().map(|host| starts(place, host)).sum(),
        }
    }

    /// What came between the two, in words.
    pub fn since(self, before: Unasked) -> Option<&'static str> {
        if self.hosts > before.hosts {
            return Some("a host started again unasked");
        }
        let booted = matches!((self.guests, before.guests), (Some(now), Some(then)) if now > then);
        booted.then_some("a guest booted unasked")
    }
}

/// Of the host's system, since the host was switched on: one, unless it was reset. Its init says so before it lets anybody in.
fn starts(place: &Place, host: Host) -> usize {
    let console = std::fs::read(host::console(place, host)).unwrap_or_default();
    String::from_utf8_lossy(&console).matches(STARTED).count()
}

fn count(text: &str) -> Result<i64> {
    let numbers: Vec<i64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [booted, started, arrived] = numbers[..] else {
        anyhow::bail!("{text:?} is not understood")
    };
    Ok(booted - (started - arrived))
}

#[cfg(test)]
mod tests {
    use super::{STARTED, Unasked, count};

    #[test]
    fn a_boot_without_a_start_is_seen() {
        // One started here, and one that arrived.
        assert_eq!(count("1\n2\n1\n").unwrap(), 0);
        assert_eq!(count("2\n2\n1\n").unwrap(), 1);
        count("1\n2\n").unwrap_err();
    }

    #[test]
    fn what_a_host_did_not_tell_is_no_excuse() {
        let [none, one, two] = [None, Some(1), Some(2)].map(|guests| Unasked { guests, hosts: 2 });
        assert_eq!(two.since(one), Some("a guest booted unasked"));
        for (now, before) in [(one, one), (two, none), (none, one)] {
            assert_eq!(now.since(before), None);
        }
        let reset = Unasked { hosts: 3, ..none };
        assert_eq!(reset.since(one), Some("a host started again unasked"));
        // It was switched off and on since.
        assert_eq!(none.since(reset), None);
    }

    #[test]
    fn a_start_of_a_host_is_told_by_its_init() {
        let init = include_str!("../rig/host/init");
        assert_eq!(
            init.matches(&format!("say \"{}\"", STARTED.trim_start_matches("] ")))
                .count(),
            1
        );
    }
}
