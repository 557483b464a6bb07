//! What only a person does: end copies that nobody else may, and mend a post-copy that broke.

use tracing::info;

use super::one::Storm;
use crate::model::{Domain, GuestId, HostId, Model};

/// After a split, the suspended copy that is left is destroyed. Where post-copy broke it is resumed, or the destination has lost its half;
/// the source's half is of no use to anybody then.
pub(super) fn acts(storm: &Storm) {
    let mut model = storm.cluster.shared.model();
    for guest in 0..model.guests.len() {
        if model.is_torn(guest) {
            match storm.plan.seed % 2 {
                0 => model.resume_post_copy(guest),
                _ => model.lose_half(guest),
            }
        } else {
            let hosts: Vec<HostId> = model.guests[guest].at.keys().copied().collect();
            for at in hosts {
                destroy(&mut model, (guest, at), Domain::Torn, "half");
            }
        }
        for at in model.guests[guest].stale.clone() {
            destroy(&mut model, (guest, at), Domain::Paused, "stale copy");
        }
    }
}

/// What is in that state, and nothing else.
fn destroy(model: &mut Model, (guest, at): (GuestId, HostId), state: Domain, what: &str) {
    if model.body(guest, at).is_some_and(|body| body.domain == state) {
        info!("a person destroys the {what} of guest {guest} on host {at}");
        model.forget(guest, at);
    }
}
