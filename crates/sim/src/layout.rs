//! Which hosts, VFs and guests the world begins with.

use std::collections::BTreeSet;

use godwit_migration::{
    MacAddress, PciAddress, Policy, Profile,
    profile::{LinkState, Rate, Vlan},
};

use crate::ills::Ill;
use crate::model::{Domain, Guest, Host, HostId, Model, Pair, Vf};

/// VFs of one PF: function numbers of three buses' worth, as an NIC's routing ids go.
const VFS_OF_PF: usize = 256;
pub(crate) const POOL: &str = "fabric";
/// The PF that every host has, also without VFs.
pub(crate) const FIRST_PF: &str = "enp1s0f0";
/// In which guests tag what they send, where their NIC tags nothing.
pub(crate) const GUEST_VLAN: u16 = 300;
/// A pool that the first host alone has.
const POOL_OF_ONE: &str = "storage";
const GIB: u64 = 1 << 30;

/// What the world begins with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// How many hosts; at least 1.
    pub hosts: usize,
    /// How many whole guests, spread over the hosts.
    pub guests: usize,
    /// VFs of each host.
    pub vfs: usize,
    /// Guests with a lack each, on the first host.
    pub extras: bool,
    /// Pairs of a guest.
    pub pairs: usize,
}

impl Layout {
    /// So many hosts and guests, with VFs enough for every guest of two hosts on one.
    pub fn new(hosts: usize, guests: usize) -> Layout {
        let a_host = guests.div_ceil(hosts.max(1));
        Layout {
            hosts,
            guests,
            vfs: (2 * a_host + 4).max(8),
            extras: true,
            pairs: 1,
        }
    }

    /// The name of a host.
    pub fn host_name(index: HostId) -> String {
        match index {
            0 => "alpha".into(),
            1 => "beta".into(),
            _ => format!("host-{}", index + 1),
        }
    }

    pub(crate) fn build(&self) -> Model {
        let mut model = Model::default();
        for index in 0..self.hosts.max(1) {
            model.hosts.push(Host::new(Layout::host_name(index)));
            self.add_vfs(&mut model, index);
        }
        for index in 0..self.guests {
            let pairs = (0..self.pairs)
                .map(|pair| a_pair(index * self.pairs + pair))
                .collect();
            let host = index % self.hosts.max(1);
            add(&mut model, format!("web-{}", index + 1), pairs, host);
        }
        if self.extras {
            add_extras(&mut model, self.guests * self.pairs);
        }
        model
    }

    fn add_vfs(&self, model: &mut Model, host: HostId) {
        let mut add = |index: usize, pf: String, pool: &str| {
            let vf = Vf {
                pf,
                pool: pool.into(),
                owner: None,
                profile: Profile::default(),
            };
            model.hosts[host].vfs.insert(vf_address(index), vf);
        };
        for index in 0..self.vfs {
            add(index, format!("enp{}s0f0", 1 + index / VFS_OF_PF), POOL);
        }
        if self.extras {
            // The guests with a lack have VFs of their own, so that the others can count on theirs.
            (self.vfs..self.vfs + 4).for_each(|index| add(index, "enp250s0f0".into(), POOL));
        }
        if self.extras && host == 0 {
            add(self.vfs + 4, "enp251s0f0".into(), POOL_OF_ONE);
        }
    }
}

/// Days until the pretend certificate of a host ends.
pub(crate) fn certificate_days(host: &Host) -> i64 {
    match host.ills.contains(&Ill::CertificateEnds) {
        true => 5,
        false => 365,
    }
}

/// The pools that a host's pretend configuration names.
pub(crate) fn pools(host: &Host) -> Vec<String> {
    let pools = host.vfs.values().map(|vf| vf.pool.as_str());
    let pools: BTreeSet<&str> = pools.chain([POOL]).collect();
    pools.into_iter().map(str::to_owned).collect()
}

/// Bus, slot and function follow from the index, two steps apart as the VFs of an igb are.
fn vf_address(index: usize) -> PciAddress {
    let at = 0x80 + index * 2;
    PciAddress {
        domain: (at >> 16) as u16,
        bus: ((at >> 8) & 0xff) as u8,
        slot: ((at >> 3) & 0x1f) as u8,
        function: (at & 7) as u8,
    }
}

fn a_pair(index: usize) -> Pair {
    let bytes = (index as u32 + 0x10).to_be_bytes();
    let mac = [0x52, 0x54, bytes[0], bytes[1], bytes[2], bytes[3]];
    Pair {
        // 52 is no group address: always one station's.
        mac: MacAddress::new(mac).unwrap_or_else(|_| unreachable!("{mac:?}")),
        pool: POOL.into(),
        standby: true,
        fabric: 0,
        profile: a_profile(index),
        // As an older Godwit left it: written down when it is next seen.
        recorded: None,
    }
}

/// Neighbours have other ones.
fn a_profile(index: usize) -> Profile {
    let neutral = Profile::default();
    match index % 3 {
        0 => Profile {
            vlan: vlan(100, 0),
            trust: true,
            rate: Rate { min: 0, max: 1000 },
            ..neutral
        },
        1 => neutral,
        _ => Profile {
            vlan: vlan(200, 3),
            spoofchk: false,
            link: LinkState::Up,
            ..neutral
        },
    }
}

fn vlan(id: u16, priority: u8) -> Vlan {
    Vlan {
        id,
        priority,
        service_tag: false,
    }
}

fn add(model: &mut Model, name: String, mut pairs: Vec<Pair>, host: HostId) -> usize {
    pairs.iter_mut().for_each(|pair| pair.fabric = host);
    let number = model.guests.len() + 1;
    let guest = Guest {
        id: godwit_migration::Guest {
            name,
            uuid: format!("5eed0000-0000-4000-8000-{number:012x}"),
        },
        managed: Some(Policy::Require),
        agent: true,
        memory: 4 * GIB,
        pairs,
        at: Default::default(),
        stale: Default::default(),
        stopped: false,
        silent_until: None,
        transfer: None,
    };
    model.add_guest(guest, host)
}

/// One guest for each reason why a guest cannot move.
fn add_extras(model: &mut Model, first: usize) {
    let pair = |index: usize| vec![a_pair(first + index)];
    let unmanaged = add(model, "db-1".into(), pair(0), 0);
    model.guests[unmanaged].managed = None;
    let silent = add(model, "legacy-1".into(), pair(1), 0);
    model.guests[silent].agent = false;
    let mut bare = pair(2);
    bare[0].standby = false;
    let bare = add(model, "edge-1".into(), bare, 0);
    model.guests[bare].managed = None;
    let plain = add(model, "batch-1".into(), Vec::new(), 0);
    model.guests[plain].managed = None;
    let mut lonely = pair(3);
    lonely[0].pool = POOL_OF_ONE.into();
    add(model, "nas-1".into(), lonely, 0);
    let off = add(model, "off-1".into(), pair(4), 0);
    model.end(off, 0);
    model.set_domain(off, 0, Domain::ShutOff);
    model.guests[off].stopped = true;
}
