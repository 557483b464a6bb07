//! Where the guest's packets really go: counters of its VF's port, in the guest, and of its tap, on the host.
//! Godwit is not asked.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::WEB_1;
use crate::{Host, Place, ssh};

/// Packets that went through each path while somebody watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Into and out of the guest's VF.
    pub vf: (u64, u64),
    /// Into and out of the guest through the host's tap.
    pub tap: (u64, u64),
}

impl Traffic {
    /// Whether the VF carried at least `expected` packets each way, and the tap next to nothing: bridges flood a
    /// little now and then.
    pub fn is_accelerated(self, expected: u64) -> bool {
        let enough = expected / 2;
        let little = expected / 10;
        self.vf.0 >= enough && self.vf.1 >= enough && self.tap.0 <= little && self.tap.1 <= little
    }
}

/// What passes in `time`.
pub fn watch(place: &Place, host: Host, time: Duration) -> Result<Traffic> {
    let before = read(place, host)?;
    sleep(time);
    let after = read(place, host)?;
    let less = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_sub(b.0), a.1.saturating_sub(b.1));
    Ok(Traffic {
        vf: less(after.vf, before.vf),
        tap: less(after.tap, before.tap),
    })
}

fn read(place: &Place, host: Host) -> Result<Traffic> {
    let vf = WEB_1.state(place, host)?.vf().map_or((0, 0), |vf| (vf.rx, vf.tx));
    // libvirt names the tap; what the tap receives is what the guest sends.
    let line = format!(
        "cd /sys/class/net/$(virsh -q domiflist {} | awk '$2 == \"bridge\" {{print $1}}')/statistics && \
         cat tx_packets rx_packets",
        WEB_1
    );
    let text = ssh::output(place, host, &line).context("the guest's tap")?;
    let mut numbers = text.lines().map(|line| line.trim().parse::<u64>());
    let mut next = || {
        numbers
            .next()
            .context("a counter is missing")?
            .context("a counter")
    };
    Ok(Traffic {
        vf,
        tap: (next()?, next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::Traffic;

    #[test]
    fn accelerated_means_on_the_vf_and_not_on_the_tap() {
        let on_vf = Traffic {
            vf: (300, 300),
            tap: (2, 0),
        };
        assert!(on_vf.is_accelerated(300));
        assert!(
            !Traffic {
                tap: (300, 300),
                ..on_vf
            }
            .is_accelerated(300)
        );
        assert!(
            !Traffic {
                vf: (300, 0),
                ..on_vf
            }
            .is_accelerated(300)
        );
    }
}
