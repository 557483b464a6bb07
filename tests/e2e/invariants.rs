//! What must be so after every story, whatever Godwit says: read from libvirt, the processes, the PF and the wire.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::guest::{Guest, WEB_1};
use godwit_rig::{Host, Place, ssh};

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
for vf in /sys/class/net/pf0/device/virtfn*; do
  mac=$(ip link show pf0 | sed -n "s/^ *vf ${vf##*virtfn} *link\/ether \([0-9a-f:]*\) .*/\1/p")
  group=$(basename $(readlink $vf/iommu_group))
  open=$(find /proc/[0-9]*/fd -lname /dev/vfio/$group 2>/dev/null | cut -d/ -f3 | sort -u)
  echo vf $(basename $(readlink $vf)) $mac $open
done
"#;

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

/// Every guest runs on one host, no VF is in two guests, a VF that no domain has carries no guest's address, and
/// the guests answer.
pub(crate) fn hold(place: &Place) -> Result<()> {
    let seen = look(place)?;
    for guest in Guest::ALL {
        runs_once(&seen, guest, place)?;
    }
    seen.iter().try_for_each(Seen::shares_nothing)?;
    wait_for("VFs that no domain has are clean", CLEANING, || {
        look(place)?.iter().try_for_each(Seen::is_clean).map(Some)
    })
}

fn look(place: &Place) -> Result<Vec<Seen>> {
    let each = Host::ALL.into_iter().map(|host| {
        let text = ssh::output(place, host, LOOK)?;
        Seen::read(&text).with_context(|| format!("on {host}"))
    });
    each.collect()
}

/// The second guest may be on neither host.
fn runs_once(seen: &[Seen], guest: Guest, place: &Place) -> Result<()> {
    let lives = seen.iter().flat_map(|seen| &seen.domains);
    let lives: Vec<&str> = lives
        .filter(|(name, state)| name == guest.name && state != "shut")
        .map(|(_, state)| state.as_str())
        .collect();
    match lives.as_slice() {
        ["running"] => ensure!(guest.answers(place), "{guest} does not answer"),
        [] if guest != WEB_1 => {}
        other => bail!("{guest} is {other:?} on the two hosts: {seen:?}"),
    }
    Ok(())
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

    fn is_clean(&self) -> Result<()> {
        let guests_own = |mac: &str| Guest::ALL.iter().any(|guest| guest.mac == mac);
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
