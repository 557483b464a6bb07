//! The packet rule is told twice: small enough to be hashed in the sweeps of `godwit-migration`, and for many guests
//! here. This holds the two equal.

// A test ends at the first surprise; the sweep's world can do more than is looked at here.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

#[path = "../../migration/tests/sweep/packets.rs"]
mod packets;
#[path = "../../migration/tests/sweep/world.rs"]
mod world;

use godwit_sim::model::{self, Way};
use world::{Fate, Nic, Port, SOURCE, World};

#[test]
fn both_tell_the_same_of_every_state() {
    let mut told = [0; 2];
    for bits in 0..16_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        for (nic, the_same) in [
            (Nic::None, model::Nic::None),
            (Nic::Plugged, model::Nic::Plugged),
            (Nic::Up, model::Nic::Up),
        ] {
            for (active, port) in [(Port::Standby, model::Port::Standby), (Port::Vf, model::Port::Vf)] {
                let mut world = World::new(Fate::Success);
                world.fabric = usize::from(!bit(0));
                let host = &mut world.hosts[SOURCE];
                (host.vf.mac, host.copy, host.guest.accepts_all) = (bit(1), bit(2), bit(3));
                (host.guest.nic, host.guest.active) = (nic, active);
                let way = Way {
                    fabric: bit(0),
                    steered: bit(1).then_some(true),
                    copy: bit(2),
                    standby: true,
                    ports: model::Ports {
                        active: port,
                        accepts_all: bit(3),
                        nic: the_same,
                        vf: None,
                        unplug_pending: false,
                    },
                };
                assert_eq!(world.path(SOURCE), way.check(), "{way:?}");
                told[usize::from(way.check().is_ok())] += 1;
            }
        }
    }
    assert!(told[0] > 10 && told[1] > 10, "{told:?}");
}
