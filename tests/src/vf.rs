//! The VFs of a host as its kernel tells of them, and setting one through its PF as a person would: `ip link`, never
//! Godwit.

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::{Host, Place, ssh};

/// On a host: how many VFs its PF has.
pub const NUMVFS: &str = "/sys/class/net/pf0/device/sriov_numvfs";

/// Domain, bus, slot and function of a PCI address.
pub fn parts(address: &str) -> Result<[&str; 4]> {
    let parts: Vec<&str> = address.split([':', '.']).collect();
    let parts = parts.try_into().ok();
    parts.with_context(|| format!("{address} is no PCI address"))
}

/// The number of the VF that a guest has on a host.
pub fn of(place: &Place, host: Host, guest: Guest) -> Result<u32> {
    let line = format!("rig-vf list | awk '$4 == \"{guest}\" {{print $1}}'");
    let number = ssh::output(place, host, &line)?;
    let number = number.trim();
    number
        .parse()
        .with_context(|| format!("{guest} has no VF on {host}, or several: {number:?}"))
}

/// Sets a VF through its PF, in the words of `ip link set pf0 vf N`.
pub fn set(place: &Place, host: Host, number: u32, words: &str) -> Result<()> {
    ssh::run(place, host, &format!("ip link set pf0 vf {number} {words}"))
}

/// All that `ip -d link show pf0` tells of a VF but its number: `link/ether 52:... brd ff:..., spoof checking on, ...`
pub fn shown(place: &Place, host: Host, number: u32) -> Result<String> {
    let all = ssh::output(place, host, "ip -d link show pf0")?;
    told(&all, number).with_context(|| format!("ip tells of no VF {number} on {host}: {all}"))
}

/// Nothing of a guest is on a VF of which this is told.
pub fn is_neutral(shown: &str) -> bool {
    let set = ["vlan ", "rate ", "spoof checking off", "trust on"];
    shown.contains("link/ether 00:00:00:00:00:00 ") && !set.iter().any(|set| shown.contains(set))
}

fn told(all: &str, number: u32) -> Option<String> {
    let vf = |line: &str| {
        let rest = line.trim_start().strip_prefix("vf ")?;
        let (found, rest) = rest.split_once(char::is_whitespace)?;
        (found.parse() == Ok(number)).then(|| rest.trim().to_owned())
    };
    all.lines().find_map(vf)
}

#[cfg(test)]
mod tests {
    use super::{is_neutral, told};

    const ALL: &str = "3: pf0: <BROADCAST,UP> mtu 1500 qdisc mq state UP mode DEFAULT\n    \
        link/ether 52:54:00:01:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    \
        vf 0     link/ether 52:54:00:aa:00:10 brd ff:ff:ff:ff:ff:ff, tx rate 900 (Mbps), max_tx_rate 900Mbps, \
        spoof checking off, link-state auto, trust on\n    \
        vf 1     link/ether 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff, spoof checking on, link-state auto, trust off\n    \
        vf 11     link/ether 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff, vlan 100, spoof checking on, link-state auto, trust off\n";

    #[test]
    fn what_ip_tells_is_read() {
        assert_eq!(
            told(ALL, 1).unwrap(),
            "link/ether 00:00:00:00:00:00 brd ff:ff:ff:ff:ff:ff, spoof checking on, link-state auto, trust off"
        );
        assert!(
            told(ALL, 0)
                .unwrap()
                .ends_with("spoof checking off, link-state auto, trust on")
        );
        assert_eq!(told(ALL, 2), None);
        assert_eq!(told("", 0), None);
    }

    #[test]
    fn every_trace_of_a_guest_is_seen() {
        let neutral = told(ALL, 1).unwrap();
        assert!(is_neutral(&neutral));
        assert!(!is_neutral(&told(ALL, 0).unwrap()) && !is_neutral(&told(ALL, 11).unwrap()));
        for (from, to) in [
            ("00:00:00:00:00:00", "52:54:00:aa:00:10"),
            ("checking on", "checking off"),
            ("trust off", "trust on"),
            (", spoof", ", max_tx_rate 900Mbps, spoof"),
        ] {
            assert!(!is_neutral(&neutral.replace(from, to)), "{to}");
        }
    }
}
