//! What is asked of a guest that stays.

use godwit_api::v1::{AccelerateGuestRequest, StandbyGuestRequest, guest_service_server::GuestService};
use godwit_coordinator::GuestDesk;
use tonic::Request;

use super::one::Storm;
use crate::{model::GuestId, world::PretendWorld};

impl Storm {
    /// Asked where it runs; refused where it is busy.
    pub(super) async fn standby(&self, guest: GuestId) {
        if let Some((desk, guest)) = self.guest_desk(guest) {
            let _ = desk
                .standby_guest(Request::new(StandbyGuestRequest {
                    guest,
                    ..Default::default()
                }))
                .await;
        }
    }

    pub(super) async fn accelerate(&self, guest: GuestId) {
        if let Some((desk, guest)) = self.guest_desk(guest) {
            let _ = desk
                .accelerate_guest(Request::new(AccelerateGuestRequest { guest }))
                .await;
        }
    }

    fn guest_desk(&self, guest: GuestId) -> Option<(GuestDesk<PretendWorld>, String)> {
        let here = self.cluster.shared.model().running_on(guest).first().copied()?;
        let name = self.cluster.shared.model().guests[guest].id.name.clone();
        let seat = self.cluster.shared.seat(here).clone()?;
        Some((GuestDesk(seat.coordinator), name))
    }
}
