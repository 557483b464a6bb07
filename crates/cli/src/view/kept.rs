//! What became of the frames of the pause, for people and as JSON.

use godwit_api::v1 as api;
use serde::Serialize;

use super::words;

/// One sentence or two, of a guest that did or did not move.
pub(crate) fn line(kept: &api::Kept, moved: api::Moved) -> String {
    let not_kept = &kept.not_kept;
    if kept.frames == 0 {
        return match not_kept.is_empty() {
            true => "No frame came for the guest in its pause.".into(),
            false => format!("Frames of the pause were not kept: {not_kept}."),
        };
    }
    match moved {
        api::Moved::No => return stayed(kept),
        api::Moved::Undecided | api::Moved::Unknown => return open(kept),
        api::Moved::Yes | api::Moved::Gone | api::Moved::Unspecified => {}
    }
    let mut line = format!(
        "{} of {} frames that came for the guest in its pause were delivered after it, the oldest {} late.",
        kept.delivered,
        kept.frames,
        words::length(kept.longest_ms.into()),
    );
    for (count, what) in [
        (kept.late, "came after the guest ran again, or behind newer ones"),
        (kept.stragglers, "came to the source when the guest had gone"),
        (kept.brought, "came by the destination's network as well"),
        (kept.no_room, "found no room"),
        (kept.lost, "were lost on the way"),
    ] {
        if count > 0 {
            line += &format!(" {count} {what}.");
        }
    }
    if !not_kept.is_empty() {
        line += &format!(" Not all were kept: {not_kept}.");
    }
    line
}

/// What the destination was sent ended with the guest's copy there.
fn stayed(kept: &api::Kept) -> String {
    let mut line = format!(
        "{} of {} frames that came for the guest in its pause were in its queue at the source, where it goes on.",
        kept.returned, kept.frames,
    );
    if kept.returned < kept.frames {
        line += &format!(" {} found no room in it.", kept.frames - kept.returned);
    }
    line
}

/// It is not known where the guest runs.
fn open(kept: &api::Kept) -> String {
    format!(
        "Of {} frames that came for the guest in its pause {} are in its way at the destination, and {} at the source.",
        kept.frames, kept.delivered, kept.returned,
    )
}

/// The API's message.
#[derive(Debug, Serialize)]
pub(crate) struct Kept<'a> {
    frames: u64,
    bytes: u64,
    delivered: u64,
    no_room: u64,
    lost: u64,
    late: u64,
    brought: u64,
    stragglers: u64,
    returned: u64,
    longest_ms: u32,
    not_kept: &'a str,
}

impl<'a> From<&'a api::Kept> for Kept<'a> {
    fn from(kept: &'a api::Kept) -> Self {
        Kept {
            frames: kept.frames,
            bytes: kept.bytes,
            delivered: kept.delivered,
            no_room: kept.no_room,
            lost: kept.lost,
            late: kept.late,
            brought: kept.brought,
            stragglers: kept.stragglers,
            returned: kept.returned,
            longest_ms: kept.longest_ms,
            not_kept: &kept.not_kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved_line(kept: &api::Kept) -> String {
        line(kept, api::Moved::Yes)
    }

    #[test]
    fn of_a_guest_that_stayed_it_is_told_what_it_found_there() {
        let kept = api::Kept {
            frames: 61,
            delivered: 40,
            returned: 61,
            ..Default::default()
        };
        insta::assert_snapshot!(line(&kept, api::Moved::No), @"61 of 61 frames that came for the guest in its pause were in its queue at the source, where it goes on.");
        insta::assert_snapshot!(line(&kept, api::Moved::Unknown), @"Of 61 frames that came for the guest in its pause 40 are in its way at the destination, and 61 at the source.");
        let kept = api::Kept { returned: 50, ..kept };
        insta::assert_snapshot!(line(&kept, api::Moved::No), @"50 of 61 frames that came for the guest in its pause were in its queue at the source, where it goes on. 11 found no room in it.");
    }

    #[test]
    fn what_was_kept_is_told_with_what_was_not() {
        let kept = api::Kept {
            frames: 61,
            delivered: 59,
            longest_ms: 548,
            ..Default::default()
        };
        insta::assert_snapshot!(moved_line(&kept), @"59 of 61 frames that came for the guest in its pause were delivered after it, the oldest 548 ms late.");
        let kept = api::Kept {
            late: 1,
            brought: 1,
            stragglers: 1,
            no_room: 1,
            lost: 1,
            not_kept: "52:54:00:aa:00:11: its standby has no tap".into(),
            ..kept
        };
        insta::assert_snapshot!(moved_line(&kept), @"59 of 61 frames that came for the guest in its pause were delivered after it, the oldest 548 ms late. 1 came after the guest ran again, or behind newer ones. 1 came to the source when the guest had gone. 1 came by the destination's network as well. 1 found no room. 1 were lost on the way. Not all were kept: 52:54:00:aa:00:11: its standby has no tap.");
        insta::assert_snapshot!(moved_line(&api::Kept::default()), @"No frame came for the guest in its pause.");
        let none = api::Kept {
            not_kept: "so it was asked for".into(),
            ..Default::default()
        };
        insta::assert_snapshot!(moved_line(&none), @"Frames of the pause were not kept: so it was asked for.");
    }
}
