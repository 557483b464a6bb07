//! What a world wants of whoever runs it.

use std::time::Duration;

use godwit_migration::Brief;

use super::PretendWorld;
use crate::{
    faults::Kind,
    model::{GuestId, HostId},
};

/// Asked of whoever runs the world.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// The host's coordinator dies now and comes back after a while.
    Crash(HostId, Duration),
    /// The same, and its journal is lost.
    Forget(HostId, Duration),
    /// Somebody cancels the migration.
    Cancel(HostId, String),
}

impl PretendWorld {
    /// Something other than a failure of the step itself.
    pub(super) fn happens(&self, kind: Kind, guest: GuestId, brief: &Brief) {
        let order = match kind {
            Kind::Crash(down) => Order::Crash(self.host, down),
            Kind::Forget(down) => Order::Forget(self.host, down),
            Kind::Cancel => match self.host_named(&brief.source) {
                Some(source) => Order::Cancel(source, brief.id.clone()),
                None => return,
            },
            Kind::Cut(time) => {
                let peer = self.host_named(brief.peer());
                let until = tokio::time::Instant::now() + self.shared.pace.exactly(time);
                if let Some(peer) = peer {
                    self.model().hosts[peer].cut_until = Some(until);
                }
                return;
            }
            Kind::Part(time) => {
                let until = tokio::time::Instant::now() + self.shared.pace.exactly(time);
                self.model().hosts[self.host].parted_until = Some(until);
                return;
            }
            Kind::Stop => {
                return self
                    .shared
                    .deed(guest, "shut down", |model| _ = model.stop_guest(guest));
            }
            Kind::Reboot => {
                return self
                    .shared
                    .deed(guest, "reboot", |model| _ = model.reboot_guest(guest));
            }
            Kind::Silent(time) => {
                let far = std::time::Duration::from_secs(100 * 365 * 86_400);
                let time = time.map_or(far, |time| self.shared.pace.exactly(time));
                self.model().guests[guest].silent_until = Some(tokio::time::Instant::now() + time);
                return;
            }
            Kind::Lie => {
                self.model().liars.insert(guest);
                return;
            }
            Kind::Fail | Kind::Half | Kind::Hang | Kind::Fate(_) => return,
        };
        // Nobody listens when the world ends.
        let _ = self.shared.orders.send(order);
    }
}
