//! What must be true when the storm is over and everything has settled.

use godwit_api::v1::{self as api, Acceleration, Moved, Role};
use godwit_migration::VfUse;

use super::one::Storm;
use crate::model::{GuestId, HostId, Model};

/// The records as they are at the end.
pub(super) async fn count(storm: &Storm) -> Result<(), String> {
    for host in 0..storm.cluster.hosts() {
        let records = storm.migrations(host, "").await?;
        records.iter().for_each(|record| storm.tally().count(record));
    }
    Ok(())
}

pub(super) async fn check(storm: &Storm) -> Result<(), String> {
    storm.unbroken()?;
    for host in 0..storm.cluster.hosts() {
        check_vfs(storm, host).await?;
        for migration in storm.migrations(host, "").await? {
            if !(waits(&migration) && is_short(storm, host).await) {
                check_record(storm, host, &migration)?;
            }
        }
    }
    for guest in 0..storm.plan.layout.guests {
        let at = storm.cluster.shared.model().running_on(guest);
        let room = match at.first() {
            Some(at) => has_room(storm, guest, *at).await,
            None => true,
        };
        check_guest(storm, guest, room)?;
    }
    Ok(())
}

/// It runs on one host, on its VF; or on its standby, where there is no VF for it.
fn check_guest(storm: &Storm, guest: GuestId, room: bool) -> Result<(), String> {
    let model = storm.cluster.shared.model();
    let name = &model.guests[guest].id.name;
    if let Some(at) = model.guests[guest].stale.first() {
        return Err(format!("all is over and a stale copy of {name} is on host {at}"));
    }
    match model.running_on(guest)[..] {
        [at] => {
            let well = model.accelerated(guest, at);
            if !room && model.lowered(guest, at) {
                return Ok(());
            }
            well.map_err(|why| format!("all is over and {name} is not accelerated: {why}"))
        }
        [] if model.guests[guest].stopped => Ok(()),
        ref hosts => Err(format!("all is over and {name} runs on {hosts:?}")),
    }
}

/// No hold is left, nor anything of a guest in the switch. A VF whose release failed is set aside for a person.
async fn check_vfs(storm: &Storm, host: HostId) -> Result<(), String> {
    let vfs = storm.vfs(host).await?;
    for vf in &vfs {
        if let VfUse::Held(by) = &vf.usage {
            return Err(format!(
                "all is over and VF {} of host {host} is held by {by}",
                vf.address
            ));
        }
    }
    let set_aside = vfs
        .iter()
        .filter(|vf| matches!(vf.usage, VfUse::Quarantined(_)))
        .count();
    storm.tally().set_aside += set_aside as u64;
    if set_aside > 0 {
        return Ok(());
    }
    storm.cluster.shared.model().leftovers(host)
}

/// The records tell the truth.
fn check_record(storm: &Storm, host: HostId, record: &api::Migration) -> Result<(), String> {
    let model = storm.cluster.shared.model();
    let arrived = model.arrivals.contains_key(&record.id);
    // A guest that nobody knows was only ever asked about: its Reserve never came.
    let stopped = model
        .find(&record.guest_uuid)
        .is_some_and(|guest| model.guests[guest].stopped);
    let stays = matches!(record.role(), Role::Accelerate | Role::Decelerate);
    let right = match (record.role(), record.moved()) {
        (_, Moved::No) if stays => true,
        (_, Moved::Gone) if stays => stopped || model.running_on_other(&record.guest_uuid, host),
        (_, Moved::Yes) => arrived,
        (_, Moved::No) => !arrived,
        // It may have gone on from the destination before the source looked.
        (_, Moved::Gone) => stopped || arrived,
        _ => false,
    };
    let accelerated = record.acceleration() == Acceleration::Accelerated;
    let kept = record.role() == Role::Source && record.moved() == Moved::No;
    // One that was on its standby before is put back there.
    let had_vfs = record.pairs.iter().all(|pair| !pair.source_vf.is_empty());
    if !right || (kept && had_vfs && !accelerated) || !record.ended {
        let (id, moved, acceleration) = (&record.id, record.moved(), record.acceleration());
        let (role, guest) = (record.role(), &record.guest);
        return Err(format!(
            "host {host}: the record {id} of {guest} ({role:?}) ends with what is not true: {moved:?}, {acceleration:?}; it arrived: {arrived}"
        ));
    }
    check_frames(&model, host, record)
}

/// What the guest did not get of what was sent to it in its transfer is told, or that this is not known.
fn check_frames(model: &Model, host: HostId, record: &api::Migration) -> Result<(), String> {
    let guest = model.find(&record.guest_uuid);
    let sent = guest.and_then(|guest| model.sent_of(guest, &record.id));
    let Some(sent) = sent.filter(|sent| record.role() == Role::Source && !sent.stopped) else {
        return Ok(());
    };
    let died = model.hosts[host].deaths > sent.deaths;
    let (missing, late) = match (&record.kept, record.moved()) {
        (Some(kept), _) if !kept.not_kept.is_empty() => return Ok(()),
        // It ran nowhere again.
        (Some(_), Moved::Gone) => return Ok(()),
        (Some(kept), Moved::Yes) => (kept.frames - kept.delivered - kept.brought, kept.late),
        (Some(kept), _) => (kept.frames - kept.returned, 0),
        (None, _) if sent.unwatched || sent.torn || died => return Ok(()),
        (None, _) => (0, 0),
    };
    let (lost, behind, id) = (sent.lost(), sent.behind, &record.id);
    if lost > missing || behind > late {
        let told = &record.kept;
        return Err(format!(
            "host {host}: {id} tells of its pause what is not true: {lost} lost, {behind} behind later ones; {told:?}"
        ));
    }
    Ok(())
}

/// It waits for a VF that is not there.
pub(super) fn waits(record: &api::Migration) -> bool {
    record.settled && !record.ended && record.phase() == api::Phase::Hold
}

/// The host has not even VFs enough for one more guest.
pub(super) async fn is_short(storm: &Storm, host: HostId) -> bool {
    let vfs = storm.vfs(host).await.unwrap_or_default();
    let free = vfs.iter().filter(|vf| vf.usage == VfUse::Free).count();
    free < storm.plan.layout.pairs
}

/// The host has a free VF for each pair of the guest.
pub(super) async fn has_room(storm: &Storm, guest: GuestId, host: HostId) -> bool {
    let vfs = storm.vfs(host).await.unwrap_or_default();
    let free = vfs.iter().filter(|vf| vf.usage == VfUse::Free).count();
    free >= storm.cluster.shared.model().guests[guest].pairs.len()
}
