//! Asks, through an interface of this host, for those whom a guest knows: ARP and neighbour discovery, in the VLANs that the guest's own
//! frames would be in.
//!
//! Asked is with the interface's own address and by nobody in particular (ARP without a sender, a solicitation without one): whoever
//! answers remembers nothing of it, and no switch learns anything of the guest. Three small questions at most for each, and two long ones,
//! to that one alone, once the small ones have all been answered.

use std::{net::IpAddr, time::Duration};

use godwit_migration::{
    MacAddress,
    doctor::Fact,
    plan::{Heard, VlanTag},
};
use godwit_wire::{
    Mac,
    ethernet::{self, Tag},
};
use nix::ifaddrs::getifaddrs;
use tokio::time::{Instant, timeout_at};

use crate::keep::{Frame, Next, Only, Watcher};

/// So often it is asked, and so long each time an answer is waited for: about a second.
const TRIES: u32 = 3;
const EVERY: Duration = Duration::from_millis(330);
/// The same, with long frames.
const LONG_TRIES: u32 = 2;
const LONG_EVERY: Duration = Duration::from_millis(250);
/// No network's frames are longer.
const LONGEST: u32 = 9600;

/// So many bytes of a frame are looked at: an advertisement with its address, and tags.
const BEGINNING: usize = 128;

/// Whom to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) ip: IpAddr,
    /// As the guest knows it.
    pub(crate) mac: Option<MacAddress>,
    /// Of the question here, the outermost first.
    pub(crate) tags: Vec<VlanTag>,
}

/// A question, and what came of it so far.
struct Asked<'a> {
    question: &'a Question,
    sent: u32,
    /// Answers as the guest knows it.
    same: u32,
    /// The first other answer.
    other: Option<MacAddress>,
    /// Bytes of a long question, and whether that was answered.
    long: Option<(u32, bool)>,
}

/// When a question is over, and what an answer means to it.
type Round = (fn(&Asked<'_>) -> bool, fn(&mut Asked<'_>, MacAddress));

const SMALL: Round = (|asked| asked.is_over(), |asked, mac| asked.take(mac));
const LONG: Round = (|asked| asked.is_long_over(), |asked, mac| asked.take_long(mac));

/// What comes of each question, in their order. Never asked is with one of the addresses `never`: those of guests.
///
/// # Errors
/// Nobody can be asked through that interface.
pub(crate) async fn ask(
    interface: &str,
    mtu: u32,
    never: &[MacAddress],
    questions: &[Question],
) -> Fact<Vec<Heard>> {
    let cannot = |error: std::io::Error| format!("nobody can be asked through {interface}: {error}");
    let mut watcher = Watcher::of(interface, &Only::Answers).map_err(cannot)?;
    let own = watcher
        .mac()
        .ok_or_else(|| format!("{interface} has no address"))?;
    if never.iter().any(|mac| mac.bytes() == own) {
        return Err(format!("{interface} has the guest's own address"));
    }
    let mut asked: Vec<Asked<'_>> = questions.iter().map(Asked::of).collect();
    of_this_host(&mut asked, own);
    for _ in 0..TRIES {
        for asked in asked.iter_mut().filter(|asked| !asked.is_over()) {
            asked.ask(&watcher, own).map_err(cannot)?;
        }
        listen((&mut watcher, own), EVERY, &mut asked, SMALL)
            .await
            .map_err(cannot)?;
    }
    asked.iter_mut().for_each(|asked| asked.begin_long(mtu));
    for _ in 0..LONG_TRIES {
        for asked in asked.iter().filter(|asked| !asked.is_long_over()) {
            // One that is longer than may be sent is as one without an answer.
            let _ = asked.ask_long(&watcher, own);
        }
        listen((&mut watcher, own), LONG_EVERY, &mut asked, LONG)
            .await
            .map_err(cannot)?;
    }
    Ok(asked.iter().map(Asked::heard).collect())
}

/// Takes what arrives, until nothing more is waited for, or for so long.
async fn listen(
    (watcher, own): (&mut Watcher, [u8; 6]),
    within: Duration,
    asked: &mut [Asked<'_>],
    (is_over, take): Round,
) -> std::io::Result<()> {
    let end = Instant::now() + within;
    while !asked.iter().all(is_over) {
        match watcher.next()? {
            Next::Frame(frame) => {
                if let Some((ip, mac, tags)) = answer(&frame, own) {
                    let same =
                        |asked: &&mut Asked<'_>| asked.question.ip == ip && asked.question.tags == tags;
                    asked.iter_mut().filter(same).for_each(|asked| take(asked, mac));
                }
            }
            Next::Nothing => match timeout_at(end, watcher.ready()).await {
                Ok(ready) => ready?,
                Err(_) => break,
            },
            Next::Gone => return Err(std::io::Error::other("it is down")),
        }
        // Whoever answers without an end is not listened to without one, and keeps nobody else waiting.
        if Instant::now() >= end {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Who answers with this frame, and in which VLANs: to us, or to everybody.
fn answer(frame: &Frame, own: [u8; 6]) -> Option<(IpAddr, MacAddress, Vec<VlanTag>)> {
    let to = frame.data.first_chunk::<6>()?;
    if *to != own && to[0] & 1 == 0 {
        return None;
    }
    // An answer with tags, and no more of a frame that may be anything.
    let mut data: Vec<u8> = frame.data.iter().take(BEGINNING).copied().collect();
    let mut tags = Vec::new();
    while let Some((kind, vlan)) = crate::keep::tag(&data) {
        // A frame of VLAN 0 has a priority alone.
        if vlan != 0 {
            tags.push(VlanTag { kind, vlan });
        }
        data.drain(12..16);
    }
    let (ip, mac) = ethernet::answers(&data)?;
    Some((ip, MacAddress::new(mac.0).ok()?, tags))
}

/// This host does not answer itself.
fn of_this_host(asked: &mut [Asked<'_>], own: [u8; 6]) {
    let Ok(addresses) = getifaddrs() else { return };
    let ips = addresses.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    let ips: Vec<IpAddr> = ips.collect();
    let Ok(mac) = MacAddress::new(own) else { return };
    for asked in asked.iter_mut().filter(|asked| ips.contains(&asked.question.ip)) {
        asked.take(mac);
    }
}

impl<'a> Asked<'a> {
    fn of(question: &'a Question) -> Asked<'a> {
        Asked {
            question,
            sent: 0,
            same: 0,
            other: None,
            long: None,
        }
    }

    /// Of one whose address the guest does not know any answer will do.
    fn is_over(&self) -> bool {
        self.same > 0 || (self.question.mac.is_none() && self.other.is_some())
    }

    fn take(&mut self, mac: MacAddress) {
        match self.question.mac == Some(mac) {
            true => self.same += 1,
            false => self.other = self.other.or(Some(mac)),
        }
    }

    fn ask(&mut self, watcher: &Watcher, own: [u8; 6]) -> std::io::Result<()> {
        self.sent += 1;
        send(watcher, self.frame(own))
    }

    fn frame(&self, own: [u8; 6]) -> Vec<u8> {
        let tag = |tag: &VlanTag| Tag {
            protocol: tag.kind,
            id: tag.vlan,
        };
        let tags: Vec<Tag> = self.question.tags.iter().map(tag).collect();
        ethernet::probe(Mac(own), self.question.ip, &tags)
    }

    /// An answer that is late would be taken for one to a long question.
    fn begin_long(&mut self, mtu: u32) {
        let settled = self.sent > 0 && self.same == self.sent;
        self.long = settled.then_some((mtu.min(LONGEST), false));
    }

    fn is_long_over(&self) -> bool {
        self.long.is_none_or(|(_, answered)| answered)
    }

    fn take_long(&mut self, mac: MacAddress) {
        if let Some((_, answered)) = &mut self.long {
            *answered |= self.question.mac == Some(mac);
        }
    }

    fn ask_long(&self, watcher: &Watcher, own: [u8; 6]) -> std::io::Result<()> {
        let (Some((mtu, _)), Some(mac)) = (self.long, self.question.mac) else {
            return Ok(());
        };
        let mut frame = ethernet::full_size(self.frame(own), self.question.tags.len(), mtu);
        // A solicitation without a sender has to go to its group (RFC 4861 7.1.1).
        if self.question.ip.is_ipv4() {
            frame.splice(0..6, mac.bytes());
        }
        send(watcher, frame)
    }

    fn heard(&self) -> Heard {
        match (self.same, self.other, self.question.mac) {
            (1.., _, _) => Heard::Same { long: self.long },
            (0, Some(mac), Some(_)) => Heard::Other(mac),
            (0, Some(mac), None) => Heard::Somebody(mac),
            (0, None, _) => Heard::Nobody,
        }
    }
}

fn send(watcher: &Watcher, data: Vec<u8>) -> std::io::Result<()> {
    let offload = Default::default();
    watcher.send(&Frame { data, offload })
}

#[cfg(test)]
pub(crate) mod tests;
