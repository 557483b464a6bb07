//! What still comes to this host for a guest that has gone: until the network has learned where it is, frames for it come here, and
//! nobody takes them any more.
//!
//! They are seen at the ports by which the guest's bridge reaches the network. A port sees more than the guest got: what its bridge would have kept from
//! it, by VLAN or by a filter. So a frame is sent after the guest only if it is of a conversation of which a frame did get to the
//! guest's tap, and, where the bridge sorts by VLAN, if it came with a tag, and by a port, with which another did. Those with a group's
//! address are nobody's here: the destination's own network has them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::Path,
    time::{Duration, Instant},
};

use godwit_migration::MacAddress;
use tracing::debug;

use super::{
    ffi::Only,
    frame::{self, Frame, Tag},
    likeness::{self, Likeness},
    socket::{Next, Watcher},
};
use crate::vf::{BridgePorts, Sysfs};

/// So many frames of a port are taken in one look.
const MOST_AT_ONCE: usize = 4096;

/// More conversations are not remembered.
const MOST_FLOWS: usize = 65_536;

/// A frame that came so long before the tap was seen to be gone was offered to it.
const OFFERED: Duration = Duration::from_millis(20);

/// The ports and the tap are looked at one after the other: what comes meanwhile may be seen at the tap first, so long before.
const TURN: Duration = Duration::from_secs(1);

/// The network has moved if the guest was heard from elsewhere, and nothing came for it here for so long.
const QUIET: Duration = Duration::from_millis(200);

/// The ports by which the bridge of a guest's tap reaches the network.
pub(super) struct Uplinks {
    bridge_ports: BridgePorts,
    macs: Vec<MacAddress>,
    /// Opened when the guest stops; `None` until then.
    ports: Option<Vec<Watcher>>,
    known: Known,
    /// While the tap is there: the newest, each until it was seen at the tap.
    recent: VecDeque<Seen>,
    /// Those that were seen at the tap and at no port yet.
    early: VecDeque<(Instant, Likeness)>,
    gone: bool,
    stragglers: Stragglers,
    /// When the guest was heard from elsewhere, and when something came for it last.
    moved: Option<Instant>,
    newest: Option<Instant>,
}

/// What is to follow the guest.
struct Stragglers {
    queue: VecDeque<(Frame, Instant)>,
    /// Bytes.
    held: usize,
    room: usize,
    no_room: u64,
}

struct Seen {
    at: Instant,
    port: usize,
    alike: Likeness,
    frame: Frame,
}

/// What got to the guest's tap.
#[derive(Debug, Default)]
struct Known {
    /// With the tag that they had there.
    flows: HashSet<(u64, Option<Tag>)>,
    /// What becomes of a tag between a port and the tap.
    tags: HashMap<(usize, Option<Tag>), Option<Tag>>,
}

impl Uplinks {
    /// Of the bridge that the tap of that name is a port of.
    pub(super) fn of(root: &Path, tap: &str, macs: &[MacAddress], room: usize) -> Uplinks {
        Uplinks {
            bridge_ports: Sysfs::new(root).bridge_ports(tap),
            macs: macs.to_vec(),
            ports: None,
            known: Known::default(),
            recent: VecDeque::new(),
            early: VecDeque::new(),
            gone: false,
            stragglers: Stragglers {
                queue: VecDeque::new(),
                held: 0,
                room,
                no_room: 0,
            },
            moved: None,
            newest: None,
        }
    }

    /// Begins to look on, if it has not.
    pub(super) fn watch(&mut self) {
        if self.ports.is_some() {
            return;
        }
        let open = |port: &String| {
            let opened = Watcher::of(port, &Only::Arriving(&self.macs));
            opened
                .inspect_err(|error| debug!(port, "what comes when the guest has gone is not seen: {error}"))
                .ok()
        };
        self.ports = Some(self.bridge_ports.ports.iter().filter_map(open).collect());
    }

    /// Whether anything can be seen.
    pub(super) fn is_blind(&self) -> bool {
        self.ports.as_ref().is_none_or(Vec::is_empty)
    }

    /// A frame for the guest got to its tap.
    pub(super) fn at_tap(&mut self, frame: &Frame) {
        if self.known.flows.len() < MOST_FLOWS {
            self.known.flows.insert(likeness::flow(frame));
        }
        if self.ports.is_none() {
            return;
        }
        let alike = Likeness::of(frame);
        let twin = self
            .recent
            .iter()
            .position(|seen| seen.alike.content == alike.content);
        match twin.and_then(|at| self.recent.remove(at)) {
            Some(seen) => {
                self.known.tags.insert((seen.port, seen.alike.tag), alike.tag);
            }
            None => {
                while self.early.len() >= MOST_AT_ONCE
                    || self.early.front().is_some_and(|(at, _)| at.elapsed() > TURN)
                {
                    self.early.pop_front();
                }
                self.early.push_back((Instant::now(), alike));
            }
        }
    }

    /// Takes in what has come. While the tap is there, to be followed by what got to it.
    pub(super) fn look(&mut self) {
        let mut ports = self.ports.take();
        for (port, watcher) in ports.iter_mut().flatten().enumerate() {
            // One that has gone, or cannot be read, says nothing any more. A flood waits for the next look.
            for _ in 0..MOST_AT_ONCE {
                let Ok(Next::Frame(frame)) = watcher.next() else {
                    break;
                };
                self.came(port, frame);
            }
        }
        self.ports = ports;
        if !self.gone {
            while self
                .recent
                .front()
                .is_some_and(|seen| seen.at.elapsed() > OFFERED)
            {
                self.recent.pop_front();
            }
        }
    }

    /// The tap has gone, and all that got to it is known.
    pub(super) fn tap_has_gone(&mut self) {
        self.gone = true;
        for seen in std::mem::take(&mut self.recent) {
            self.follows(seen);
        }
    }

    /// The next frame that nobody takes here any more, and when it came.
    pub(super) fn next(&mut self) -> Option<(Frame, Instant)> {
        self.stragglers.next()
    }

    /// The network has learned where the guest is.
    pub(super) fn has_moved(&self) -> bool {
        let quiet = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= QUIET);
        self.moved.is_some() && quiet(self.moved) && quiet(self.newest)
    }

    /// There was no room for so many.
    pub(super) fn no_room(&self) -> u64 {
        self.stragglers.no_room
    }

    fn came(&mut self, port: usize, frame: Frame) {
        let at = Instant::now();
        if frame::is_for(frame.source(), &self.macs) {
            self.moved.get_or_insert(at);
        }
        if !frame::is_for(frame.destination(), &self.macs) {
            return;
        }
        let alike = Likeness::of(&frame);
        let twin = |(at, early): &(Instant, Likeness)| early.content == alike.content && at.elapsed() <= TURN;
        let early = self.early.iter().position(twin);
        if let Some((_, early)) = early.and_then(|at| self.early.remove(at)) {
            self.known.tags.insert((port, alike.tag), early.tag);
            return;
        }
        let seen = Seen {
            at,
            port,
            alike,
            frame,
        };
        match self.gone {
            true => self.follows(seen),
            false => self.recent.push_back(seen),
        }
    }

    /// Sent after the guest, if it would have got it.
    fn follows(&mut self, seen: Seen) {
        let Seen {
            at,
            port,
            alike,
            frame,
        } = seen;
        let tag = match self.known.tags.get(&(port, alike.tag)) {
            Some(tag) => *tag,
            None if self.bridge_ports.plain => alike.tag,
            None => return,
        };
        if !self.known.flows.contains(&(alike.flow, tag)) {
            return;
        }
        self.newest = Some(at);
        let frame = match tag == alike.tag {
            true => frame,
            false => frame.retagged(tag),
        };
        self.stragglers.add(frame, at);
    }
}

impl Stragglers {
    fn add(&mut self, frame: Frame, at: Instant) {
        if self.held + frame.data.len() > self.room {
            self.no_room += 1;
            return;
        }
        self.held += frame.data.len();
        self.queue.push_back((frame, at));
    }

    fn next(&mut self) -> Option<(Frame, Instant)> {
        let (frame, at) = self.queue.pop_front()?;
        self.held -= frame.data.len();
        Some((frame, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0xaa, 0, 0x10];

    fn uplinks(plain: bool) -> Uplinks {
        let bridge_ports = BridgePorts {
            ports: Vec::new(),
            plain,
        };
        Uplinks {
            bridge_ports,
            ports: Some(Vec::new()),
            ..Uplinks::of(
                Path::new("/nowhere"),
                "vnet0",
                &[MacAddress::new(MAC).unwrap()],
                200,
            )
        }
    }

    /// Of a conversation with that host, with that in it.
    fn frame(from: u8, content: u8, vlan: Option<u16>) -> Frame {
        let data = [
            &[0; 10],
            MAC.as_slice(),
            &[2, 2, 2, 2, 2, from, 0x08, 0x06],
            &[content; 46],
        ]
        .concat();
        Frame::read(&data, vlan.map(|vlan| (0x8100, vlan))).unwrap()
    }

    fn all(uplinks: &mut Uplinks) -> Vec<Frame> {
        std::iter::from_fn(|| uplinks.next())
            .map(|(frame, _)| frame)
            .collect()
    }

    #[test]
    fn what_the_tap_got_is_its_own_and_what_it_could_not_get_follows() {
        let mut uplinks = uplinks(true);
        for content in [1, 2] {
            uplinks.came(0, frame(1, content, None));
        }
        uplinks.at_tap(&frame(1, 1, None));
        assert_eq!(all(&mut uplinks), []);
        uplinks.tap_has_gone();
        uplinks.came(0, frame(1, 3, None));
        assert_eq!(all(&mut uplinks), [frame(1, 2, None), frame(1, 3, None)]);
    }

    #[test]
    fn what_was_seen_at_the_tap_before_its_port_was_looked_at_does_not_follow() {
        let mut uplinks = uplinks(false);
        uplinks.at_tap(&frame(1, 1, None));
        uplinks.tap_has_gone();
        uplinks.came(0, frame(1, 1, Some(7)));
        assert_eq!(all(&mut uplinks), []);
        // It has proved its port and tag, and stands for one.
        uplinks.came(0, frame(1, 1, Some(7)));
        assert_eq!(all(&mut uplinks), [frame(1, 1, None)]);
        // Nor does one that came while the tap was there, however soon it went.
        let mut uplinks = super::tests::uplinks(true);
        uplinks.at_tap(&frame(1, 1, None));
        uplinks.came(0, frame(1, 1, None));
        uplinks.tap_has_gone();
        assert_eq!(all(&mut uplinks), []);
    }

    #[test]
    fn what_no_frame_to_the_guest_is_like_does_not_follow() {
        let mut uplinks = uplinks(true);
        uplinks.at_tap(&frame(1, 1, None));
        uplinks.tap_has_gone();
        uplinks.came(0, frame(2, 2, None));
        // In another network than the guest had it from.
        uplinks.came(0, frame(1, 2, Some(9)));
        let mut other = frame(1, 2, None);
        other.data[0] = 0xff;
        uplinks.came(0, other);
        assert_eq!(all(&mut uplinks), []);
    }

    #[test]
    fn where_tags_are_sorted_a_port_and_a_tag_are_proved_by_a_frame_that_got_through() {
        for proved in [false, true] {
            let mut uplinks = uplinks(false);
            if proved {
                uplinks.came(1, frame(1, 1, Some(7)));
            }
            uplinks.at_tap(&frame(1, 1, None));
            uplinks.tap_has_gone();
            for (port, vlan) in [(0, Some(7)), (1, Some(8)), (1, None)] {
                uplinks.came(port, frame(1, 2, vlan));
            }
            assert_eq!(all(&mut uplinks), []);
            uplinks.came(1, frame(1, 3, Some(7)));
            let follows = if proved { vec![frame(1, 3, None)] } else { vec![] };
            assert_eq!(all(&mut uplinks), follows);
        }
    }

    #[test]
    fn it_has_bounds_and_an_end() {
        let mut uplinks = uplinks(true);
        uplinks.at_tap(&frame(1, 9, None));
        uplinks.tap_has_gone();
        for content in 0..5 {
            uplinks.came(0, frame(1, content, None));
        }
        assert_eq!((all(&mut uplinks).len(), uplinks.no_room()), (3, 2));
        assert!(!uplinks.has_moved());
        // The guest is heard from elsewhere, a while ago.
        let mut from_it = frame(1, 1, None);
        from_it.data.splice(..12, [[0xff; 6], MAC].concat());
        uplinks.came(0, from_it);
        assert!(uplinks.moved.is_some() && !uplinks.has_moved());
        uplinks.moved = uplinks.moved.and_then(|at| at.checked_sub(QUIET));
        assert!(!uplinks.has_moved(), "something came just now");
        uplinks.newest = uplinks.newest.and_then(|at| at.checked_sub(QUIET));
        assert!(uplinks.has_moved());
    }
}
