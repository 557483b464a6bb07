//! What a guest says of itself on the rig's line.

/// A guest at one moment.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Seconds since it booted.
    pub uptime: f64,
    /// Names this boot.
    pub boot: String,
    /// Names the binaries it started with.
    pub build: String,
    /// Its bonds, one for each pair, in their order.
    pub bonds: Vec<Bond>,
    /// Its NICs.
    pub nics: Vec<Nic>,
    /// Process id and resident kilobytes of the agent.
    pub agent: Option<(u32, u64)>,
}

/// A bond, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Its name.
    pub name: String,
    /// Its active port; "" without any.
    pub active: String,
}

/// A NIC, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its address.
    pub mac: String,
    /// The bond that it is in; "-" outside of any.
    pub bond: String,
    /// Whether it has a link.
    pub has_link: bool,
    /// Packets received since it came.
    pub rx: u64,
    /// Packets sent since it came.
    pub tx: u64,
}

impl Nic {
    /// Whether it is a virtio NIC; whatever else there is, is a VF or stands for one.
    pub fn is_standby(&self) -> bool {
        self.driver == "virtio_net"
    }
}

impl State {
    /// The port of the VF, or what stands for it in a flat guest; of several the first.
    pub fn vf(&self) -> Option<&Nic> {
        self.nics.iter().find(|nic| !nic.is_standby())
    }

    /// How many VFs there are.
    pub fn vfs(&self) -> usize {
        self.nics.iter().filter(|nic| !nic.is_standby()).count()
    }

    /// The active port of the first bond.
    pub fn active(&self) -> &str {
        self.bonds.first().map_or("", |bond| &bond.active)
    }

    /// Whether the traffic of every bond goes through a VF.
    pub fn is_on_vf(&self) -> bool {
        self.every_bond_is_on(|nic| !nic.is_standby())
    }

    /// Whether the traffic of every bond goes through a virtio NIC.
    pub fn is_on_standby(&self) -> bool {
        self.every_bond_is_on(Nic::is_standby)
    }

    fn every_bond_is_on(&self, wanted: impl Fn(&Nic) -> bool) -> bool {
        let on = |bond: &Bond| {
            self.nics
                .iter()
                .any(|nic| nic.name == bond.active && nic.bond == bond.name && nic.has_link && wanted(nic))
        };
        !self.bonds.is_empty() && self.bonds.iter().all(on)
    }

    pub(crate) fn read(text: &str) -> State {
        let mut state = State::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["uptime", seconds] => state.uptime = seconds.parse().unwrap_or_default(),
                ["boot", id] => state.boot = (*id).to_owned(),
                ["build", key] => state.build = (*key).to_owned(),
                ["agent", pid, rss] => state.agent = pid.parse().ok().zip(rss.parse().ok()),
                ["bond", name, active @ ..] => state.bonds.push(Bond {
                    name: (*name).to_owned(),
                    active: active.concat(),
                }),
                ["nic", name, driver, mac, link, bond, rx, tx] => state.nics.push(Nic {
                    name: (*name).to_owned(),
                    driver: (*driver).to_owned(),
                    mac: (*mac).to_owned(),
                    bond: (*bond).to_owned(),
                    has_link: *link == "up",
                    rx: rx.parse().unwrap_or_default(),
                    tx: tx.parse().unwrap_or_default(),
                }),
                _ => {}
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    const ONE: &str = "uptime 12.5\nboot 1-2\nbond bond0 eth1\n\
                       nic eth0 virtio_net 52:54:00:aa:00:10 up bond0 1 2\n\
                       nic eth1 igbvf 52:54:00:aa:00:10 up bond0 3 4\nagent 77 1200\n";
    const TWO: &str = "bond bond1 eth3\n\
                       nic eth2 virtio_net 52:54:00:aa:00:11 up bond1 1 2\n\
                       nic eth3 igbvf 52:54:00:aa:00:11 up bond1 3 4\n";

    #[test]
    fn reads_what_the_guest_says() {
        let state = State::read(ONE);
        assert!(state.is_on_vf() && !state.is_on_standby());
        assert_eq!(state.vf().map(|vf| (vf.rx, vf.tx)), Some((3, 4)));
        assert_eq!((state.active(), state.vfs()), ("eth1", 1));
        assert_eq!(state.agent, Some((77, 1200)));
        let standby = State::read(&ONE.replace("bond0 eth1", "bond0 eth0"));
        assert!(standby.is_on_standby() && !standby.is_on_vf());
        let neither = State::read(&ONE.replace("bond bond0 eth1", "bond bond0"));
        assert!(!neither.is_on_standby() && !neither.is_on_vf());
    }

    #[test]
    fn a_guest_is_on_its_vfs_with_all_its_bonds() {
        let both = format!("{ONE}{TWO}");
        assert!(State::read(&both).is_on_vf());
        for half in [
            both.replace("bond1 eth3", "bond1 eth2"),
            both.replace("00:11 up bond1 3", "00:11 down bond1 3"),
            // In the other pair's bond.
            both.replace("00:11 up bond1 3", "00:11 up bond0 3"),
        ] {
            let state = State::read(&half);
            assert!(!state.is_on_vf() && !state.is_on_standby(), "{half}");
        }
    }

    #[test]
    fn a_guest_that_says_nothing_is_nowhere() {
        let state = State::read("");
        assert!(!state.is_on_vf() && !state.is_on_standby());
    }
}
