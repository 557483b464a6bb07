//! When this host looks after its guests: whenever libvirt tells of a change, and now and then.

use std::time::Duration;

use godwit_coordinator::{Coordinator, World};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::libvirt::Event;

/// What no event told is found all the same.
const OFTEN: Duration = Duration::from_secs(30);

/// Events come in bursts, and an agent in a guest that has just arrived needs a moment.
const BURST: Duration = Duration::from_secs(1);

/// For as long as the daemon lives.
pub(crate) async fn look_after<W: World>(coordinator: Coordinator<W>, mut events: Receiver<Event>) {
    loop {
        let told = tokio::time::timeout(OFTEN, change(&mut events)).await;
        if told == Ok(false) {
            return;
        }
        tokio::time::sleep(BURST).await;
        // What the burst told is known by looking.
        events = events.resubscribe();
        coordinator.look_after_guests().await;
    }
}

/// Until a guest came, went or lost a device. False: nothing will be told any more.
async fn change(events: &mut Receiver<Event>) -> bool {
    loop {
        match events.recv().await {
            Ok(Event::Lifecycle { .. } | Event::DeviceRemoved { .. } | Event::Connected) => return true,
            Ok(Event::Rebooted { .. } | Event::JobCompleted { .. }) => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}
