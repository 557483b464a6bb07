//! Boots of the guests that nobody asked for. An emulation two levels deep resets its guest now and then, in the
//! middle of a line of its console; what a story saw then says nothing of Godwit.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use anyhow::Result;

use crate::guest::Guest;
use crate::{Host, Place, host, ssh};

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
pub struct Unasked(Option<i64>);

impl Unasked {
    /// Until now.
    pub fn until_now(place: &Place) -> Unasked {
        let on = Host::ALL
            .into_iter()
            .filter(|host| host::process(place, *host).is_some());
        let each = on.map(|host| count(&ssh::output(place, host, &look())?));
        let all = each.sum::<Result<i64>>();
        Unasked(all.ok().map(|all| all - ASKED.load(Relaxed)))
    }

    /// Whether one came between the two.
    pub fn is_more_than(self, before: Unasked) -> bool {
        matches!((self.0, before.0), (Some(now), Some(then)) if now > then)
    }
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
    use super::{Unasked, count};

    #[test]
    fn a_boot_without_a_start_is_seen() {
        // One started here, and one that arrived.
        assert_eq!(count("1\n2\n1\n").unwrap(), 0);
        assert_eq!(count("2\n2\n1\n").unwrap(), 1);
        count("1\n2\n").unwrap_err();
    }

    #[test]
    fn what_a_host_did_not_tell_is_no_excuse() {
        let [none, one, two] = [None, Some(1), Some(2)].map(Unasked);
        assert!(two.is_more_than(one));
        assert!(!one.is_more_than(one) && !two.is_more_than(none) && !none.is_more_than(one));
    }
}
