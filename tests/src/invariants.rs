//! What must be so after every story, whatever Godwit says: read from libvirt, the processes, the PF and the wire.

use std::time::Duration;

use crate::command::wait_for;
use crate::guest::{Guest, WEB_1};
use crate::{Host, Place, ssh};
use anyhow::{Context, Result, bail, ensure};

/// A guest that has just moved leaves a VF behind that its host is still to clean.
const CLEANING: Duration = Duration::from_secs(60);

/// `domain NAME STATE`; `has NAME ADDRESS` for each device of a live domain; `vf ADDRESS MAC PROCESS...` with the
/// processes that have it open.
const LOOK: &str = r#"
virsh -q list --all | awk '{print "domain", $2, $3}'
for name in $(virsh -q list --name); do
  virsh -q dumpxml $name | awk -v name=$name -F"'" '
    /<hostdev /{inside=1}
    inside && /<source>/{source=1}
    source && /<address /{print "has", name, substr($2,3) ":" substr($4,3) ":" substr($6,3) "." substr($8,3); inside=source=0}'
done
files=$(find /proc/[0-9]*/fd -lname '/dev/vfio/*' -printf '%p %l\n' 2>/dev/null)
for pf in pf0 pf1; do
  shown=$(ip link show $pf)
  for vf in /sys/class/net/$pf/device/virtfn*; do
    mac=$(echo "$shown" | sed -n "s/^ *vf ${vf##*virtfn} *link\/ether \([0-9a-f:]*\) .*/\1/p")
    group=$(basename $(readlink $vf/iommu_group))
    open=$(echo "$files" | grep " /dev/vfio/$group\$" | cut -d/ -f3 | sort -u)
    echo vf $(basename $(readlink $vf)) $mac $open
  done
done
"#;

/// Of a VF that nothing is steered to.
const NO_MAC: &str = "00:00:00:00:00:00";

/// What one host shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Domains with the first word of their state.
    domains: Vec<(String, String)>,
    /// Domains with the PCI addresses of the devices that they have.
    devices: Vec<(String, String)>,
    vfs: Vec<Vf>,
}

#[derive(Debug, PartialEq, Eq)]
struct Vf {
    address: String,
    mac: String,
    /// Processes that have it open.
    open: Vec<String>,
}

/// Every guest runs on one host, no VF is in two guests, a guest's VFs carry its own addresses, a VF that no domain has
/// carries no guest's, and the guests answer.
pub fn hold(place: &Place) -> Result<()> {
    let seen = look(place)?;
    for guest in Guest::ALL {
        if runs_once(&seen, guest)? {
            ensure!(guest.answers(place), "{guest} does not answer");
        }
    }
    seen.iter().try_for_each(Seen::shares_nothing)?;
    seen.iter().try_for_each(Seen::mixes_nothing_up)?;
    wait_for("VFs that no domain has are clean", CLEANING, || {
        look(place)?.iter().try_for_each(Seen::is_clean).map(Some)
    })
}

/// The guest has a VF on that host for each of its pairs, with that pair's address.
pub fn has_all_vfs(place: &Place, guest: Guest, host: Host) -> Result<()> {
    let seen = Seen::read(&ssh::output(place, host, LOOK)?)?;
    let mut macs = seen.macs_of(guest);
    macs.sort_unstable();
    let wanted: Vec<&str> = guest.vf_macs().collect();
    ensure!(
        macs == wanted,
        "{guest} has VFs with {macs:?} on {host}: {seen:?}"
    );
    Ok(())
}

fn look(place: &Place) -> Result<Vec<Seen>> {
    let each = Host::ALL.into_iter().map(|host| {
        let text = ssh::output(place, host, LOOK)?;
        Seen::read(&text).with_context(|| format!("on {host}"))
    });
    each.collect()
}

/// Whether it runs at all; the first guest must.
fn runs_once(seen: &[Seen], guest: Guest) -> Result<bool> {
    let lives = seen.iter().flat_map(|seen| &seen.domains);
    let lives: Vec<&str> = lives
        .filter(|(name, state)| name == guest.name && state != "shut")
        .map(|(_, state)| state.as_str())
        .collect();
    match lives.as_slice() {
        ["running"] => Ok(true),
        [] if guest != WEB_1 => Ok(false),
        other => bail!("{guest} is {other:?} on the two hosts: {seen:?}"),
    }
}

impl Seen {
    fn read(text: &str) -> Result<Seen> {
        let mut seen = Seen::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let owned = |word: &str| word.to_owned();
            match words.as_slice() {
                ["domain", name, state] => seen.domains.push((owned(name), owned(state))),
                ["has", name, address] => seen.devices.push((owned(name), owned(address))),
                ["vf", address, mac, open @ ..] if mac.contains(':') => seen.vfs.push(Vf {
                    address: owned(address),
                    mac: owned(mac),
                    open: open.iter().map(|word| owned(word)).collect(),
                }),
                _ => bail!("{line:?} is not understood"),
            }
        }
        ensure!(!seen.vfs.is_empty(), "it has no VFs");
        Ok(seen)
    }

    /// By libvirt's word and by who has the VF open.
    fn shares_nothing(&self) -> Result<()> {
        for vf in &self.vfs {
            let owners = self.owners(vf);
            ensure!(
                owners <= 1 && vf.open.len() <= 1,
                "more than one has a VF: {self:?}"
            );
            ensure!(
                owners == vf.open.len(),
                "libvirt and the processes differ: {self:?}"
            );
        }
        Ok(())
    }

    /// One that has none is in a guest that waits on its standby.
    fn mixes_nothing_up(&self) -> Result<()> {
        for guest in Guest::ALL {
            let mut macs = self.macs_of(guest);
            macs.retain(|mac| *mac != NO_MAC);
            let own = |mac: &&str| guest.vf_macs().any(|own| own == *mac);
            ensure!(
                macs.iter().all(own),
                "{guest} has another's address: {macs:?}, {self:?}"
            );
            let all = macs.len();
            macs.sort_unstable();
            macs.dedup();
            ensure!(macs.len() == all, "two VFs of {guest} have one address: {self:?}");
        }
        Ok(())
    }

    /// What the PF says of the VFs that a guest has.
    fn macs_of(&self, guest: Guest) -> Vec<&str> {
        let has = |vf: &&Vf| {
            let mut devices = self.devices.iter();
            devices.any(|(name, address)| name == guest.name && *address == vf.address)
        };
        self.vfs.iter().filter(has).map(|vf| vf.mac.as_str()).collect()
    }

    fn is_clean(&self) -> Result<()> {
        let guests_own = |mac: &str| {
            let mut all = Guest::ALL.into_iter().flat_map(Guest::vf_macs);
            all.any(|own| own == mac)
        };
        let dirty = |vf: &&Vf| self.owners(vf) == 0 && guests_own(&vf.mac);
        match self.vfs.iter().find(dirty) {
            Some(vf) => bail!("a guest's address is left behind on {vf:?}"),
            None => Ok(()),
        }
    }

    fn owners(&self, vf: &Vf) -> usize {
        let has = |(_, address): &&(String, String)| *address == vf.address;
        self.devices.iter().filter(has).count()
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, runs_once};
    use crate::guest::{PAIRS_1, WEB_1, WEB_2};

    const WELL: &str = "domain web-1 running\ndomain asleep shut\nhas web-1 0000:01:10.0\n\
                        vf 0000:01:10.0 52:54:00:aa:00:10 77\nvf 0000:01:10.2 00:00:00:00:00:00\n";

    fn seen(from: &str, to: &str) -> Seen {
        assert!(WELL.contains(from));
        Seen::read(&WELL.replace(from, to)).unwrap()
    }

    #[test]
    fn what_is_well_passes() {
        let seen = seen("", "");
        seen.shares_nothing().unwrap();
        seen.is_clean().unwrap();
        assert!(runs_once(&[seen], WEB_1).unwrap());
    }

    #[test]
    fn a_guest_on_two_hosts_or_none_is_seen() {
        for (here, there) in [("running", "running"), ("running", "paused"), ("shut", "shut")] {
            let both = [here, there].map(|state| seen("web-1 running", &format!("web-1 {state}")));
            runs_once(&both, WEB_1).unwrap_err();
        }
        assert!(!runs_once(&[seen("", "")], WEB_2).unwrap());
    }

    #[test]
    fn a_vf_with_two_owners_or_a_hidden_one_is_seen() {
        for (from, to) in [
            ("has web-1", "has web-2 0000:01:10.0\nhas web-1"),
            ("00:10 77", "00:10 77 78"),
            ("00:10 77", "00:10"),
        ] {
            seen(from, to).shares_nothing().unwrap_err();
        }
    }

    #[test]
    fn an_address_left_behind_is_seen() {
        for pair in [WEB_1, PAIRS_1].into_iter().flat_map(crate::guest::Guest::pairs) {
            seen("00:00:00:00:00:00", pair.mac).is_clean().unwrap_err();
        }
    }

    /// A guest of two pairs whose second VF has the address `second`.
    fn two_pairs(second: &str) -> Seen {
        let [first, _] = PAIRS_1.pairs().map(|pair| pair.mac).collect::<Vec<_>>()[..] else {
            panic!("it has two pairs")
        };
        let text = format!(
            "domain pairs-1 running\nhas pairs-1 0000:01:10.0\nhas pairs-1 0000:01:10.2\n\
             vf 0000:01:10.0 {first} 77\nvf 0000:01:10.2 {second} 77\n"
        );
        Seen::read(&text).unwrap()
    }

    #[test]
    fn another_pairs_or_guests_address_is_seen() {
        two_pairs("52:54:00:aa:00:31").mixes_nothing_up().unwrap();
        two_pairs("00:00:00:00:00:00").mixes_nothing_up().unwrap();
        for wrong in [PAIRS_1.mac, WEB_1.mac] {
            two_pairs(wrong).mixes_nothing_up().unwrap_err();
        }
    }

    #[test]
    fn a_host_that_shows_nothing_is_not_well() {
        Seen::read("").unwrap_err();
        Seen::read("vf 0000:01:10.0\n").unwrap_err();
    }
}
