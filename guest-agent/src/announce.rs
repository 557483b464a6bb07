//! Telling the network where the guest's addresses are now.
//!
//! Once is not enough: the bond's own announcements, back to back, can all fall into a VF's first
//! milliseconds and be lost, and then the guest is unreachable until its neighbours' entries die.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::guest::Guest;
use crate::log::say;
use crate::neighbourhood;
use crate::packet::Sender;
use crate::refusal::Refusal;

/// Pauses before each round: at 0, 0.2, 0.5, 1 and 2 seconds after the switch.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The announcements that are going on, of the last switch only.
#[derive(Default)]
pub(crate) struct Announcer {
    current: Mutex<Option<AbortHandle>>,
}

impl Announcer {
    /// Announces everything above a bond, now and a few times more, in the background.
    pub(crate) fn announce(&self, guest: &Arc<Guest>, bond: u32) {
        let guest = Arc::clone(guest);
        let rounds = tokio::spawn(async move {
            for pause in PAUSES {
                sleep(pause).await;
                // Read again each time: with fail_over_mac=active the address depends on the port.
                if let Err(refusal) = round(&guest, bond).await {
                    say!("not announced: {}", refusal.detail);
                }
            }
        });
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = current.replace(rounds.abort_handle()) {
            before.abort();
        }
    }
}

async fn round(guest: &Guest, bond: u32) -> Result<(), Refusal> {
    let links = guest.kernel.links().await?;
    let addresses = guest.kernel.addresses().await?;
    let frames = neighbourhood::announcements(&links, bond, &addresses, forwards_ipv6);
    Sender::open()
        .map_err(|error| guest.broken("announce", &error))?
        .send(&frames);
    Ok(())
}

/// A router that announces itself as none is dropped by its neighbours.
fn forwards_ipv6(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim_end() != "0")
}
