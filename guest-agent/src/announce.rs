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
use crate::neighbourhood::{self, Outgoing};
use crate::packet::Sender;
use crate::refusal::Refusal;

/// Pauses before each round: at 0, 0.2, 0.5, 1 and 2 seconds after the switch, and later by what the rounds take.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// So many at once, as a socket's usual buffer takes, and then a pause: a guest with 4,000 addresses tells them all in a third of
/// a second, while both ports still accept.
const BATCH: usize = 256;
const BREATH: Duration = Duration::from_millis(20);

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
    let sender = Sender::open().map_err(|error| guest.broken("announce", &error))?;
    in_batches(&frames, |batch| sender.send(batch)).await;
    Ok(())
}

async fn in_batches(frames: &[Outgoing], send: impl Fn(&[Outgoing])) {
    for (index, batch) in frames.chunks(BATCH).enumerate() {
        if index > 0 {
            sleep(BREATH).await;
        }
        send(batch);
    }
}

/// A router that announces itself as none is dropped by its neighbours.
fn forwards_ipv6(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim_end() != "0")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn four_thousand_are_told_in_batches_within_a_second() {
        let frames: Vec<Outgoing> = (0..4000)
            .map(|interface| Outgoing {
                interface,
                frame: Vec::new(),
            })
            .collect();
        let (start, sent) = (Instant::now(), RefCell::new(Vec::new()));
        in_batches(&frames, |batch| {
            sent.borrow_mut().push((start.elapsed(), batch.to_vec()));
        })
        .await;
        let sent = sent.into_inner();
        assert_eq!(sent.iter().flat_map(|(_, batch)| batch).count(), 4000);
        assert!(sent.iter().all(|(_, batch)| batch.len() <= BATCH));
        let apart = sent.windows(2).all(|two| two[1].0 - two[0].0 >= BREATH);
        assert!(apart && start.elapsed() < Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_told_at_once() {
        let frame = Outgoing {
            interface: 4,
            frame: Vec::new(),
        };
        let start = Instant::now();
        in_batches(&[frame], |_| ()).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
