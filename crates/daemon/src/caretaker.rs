//! When this host looks after its guests: whenever libvirt tells of a change, or the kernel of one of its PFs and VFs, and
//! now and then.

use std::{sync::Arc, time::Duration};

use godwit_coordinator::{Coordinator, Had, World};
use tokio::sync::{
    Notify,
    broadcast::{Receiver, error::RecvError},
};
use tracing::warn;

use crate::{
    libvirt::Event,
    vf::{Vfs, Watch},
    world::RealWorld,
};

/// What no event told is found all the same.
const OFTEN: Duration = Duration::from_secs(30);

/// Events come in bursts, and an agent in a guest that has just arrived needs a moment.
const BURST: Duration = Duration::from_secs(1);

/// For as long as the daemon lives.
pub(crate) async fn look_after<W: World>(
    coordinator: Coordinator<W>,
    world: Arc<RealWorld>,
    (mut events, wake): (Receiver<Event>, Arc<Notify>),
    vfs: Vfs,
) {
    tokio::spawn(try_at_resets(coordinator.clone(), events.resubscribe()));
    let mut watch = Watch::begin(vfs).await;
    if let Err(error) = &watch {
        warn!(
            "changes of PFs and VFs are noticed every {} s only: {error}",
            OFTEN.as_secs()
        );
    }
    let (mut had, mut turns) = (Had::default(), coordinator.turns());
    loop {
        let hardware = tokio::select! {
            told = tokio::time::timeout(OFTEN, change(&mut events)) => match told {
                Ok(false) => return,
                _ => false,
            },
            () = hardware(&mut watch) => true,
            // libvirt's hook told of a guest that comes or goes.
            () = wake.notified() => false,
            // An operation came or went: which VFs guests have may be other ones now.
            Ok(()) = turns.changed() => {
                coordinator.clean_left(&mut had).await;
                continue;
            }
        };
        tokio::time::sleep(BURST).await;
        // What the burst told is known by looking.
        events = events.resubscribe();
        world.keep_standbys().await;
        world.remember_owners().await;
        coordinator.clean_left(&mut had).await;
        match hardware {
            true => coordinator.hardware_changed().await,
            false => coordinator.look_after_guests().await,
        }
    }
}

/// For as long as the daemon lives: whatever rests with a VF plugged is tried in the moment in which a guest is reset. The
/// first thing of such a try is the VF's MAC, which may be off (`world/steering.rs`), and which the guest's driver reads once, when
/// it begins.
async fn try_at_resets<W: World>(coordinator: Coordinator<W>, mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::Rebooted { .. }) | Err(RecvError::Lagged(_)) => coordinator.devices_begin_anew(),
            Ok(_) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Until PFs or VFs are not as they were.
async fn hardware(watch: &mut std::io::Result<Watch>) {
    match watch {
        Ok(watch) => watch.changed().await,
        Err(_) => std::future::pending().await,
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
