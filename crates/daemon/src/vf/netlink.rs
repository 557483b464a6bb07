//! The settings that a PF's driver keeps for each VF, read and set by netlink.

use std::io;

use futures_util::TryStreamExt;
use godwit_migration::{
    MacAddress, Profile,
    profile::{LinkState, Rate, Setting, Vlan},
};
use netlink_packet_route::{
    AddressFamily,
    link::{
        LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoLinkState, VfInfoMac,
        VfInfoRate, VfInfoRssQueryEn, VfInfoSpoofCheck, VfInfoTrust, VfInfoVlan, VfLinkState, VfStats,
        VfVlan, VfVlanInfo, VlanProtocol,
    },
    neighbour::NeighbourFlags,
};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::error::{VfError, VfName};

/// What a PF's driver keeps for a VF. A driver without one of the flags reads as off (the kernel's
/// `rtnl_fill_vfinfo` presets them to all ones), one without a link state as auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// MAC set through the PF; `None` is all zeros: the VF's user chooses.
    pub mac: Option<MacAddress>,
    /// Everything else.
    pub profile: Profile,
}

/// What is set with one message, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Mac(Option<MacAddress>),
    Vlan(Vlan),
    Trust(bool),
    Spoofchk(bool),
    Rate(Rate),
    LinkState(LinkState),
    RssQuery(bool),
}

impl Change {
    /// The messages of a profile, in the order in which they are sent. VLAN first: the anti-spoofing of some drivers
    /// follows it. The MAC is not among them: it comes after all of them.
    pub(crate) fn of(profile: &Profile) -> [Change; 6] {
        [
            Change::Vlan(profile.vlan),
            Change::Trust(profile.trust),
            Change::Spoofchk(profile.spoofchk),
            Change::Rate(profile.rate),
            Change::LinkState(profile.link),
            Change::RssQuery(profile.rss_query),
        ]
    }

    /// It is so already.
    pub(crate) fn is_in(self, settings: &Settings) -> bool {
        self.found_in(settings) == self
    }

    /// The value of the same as it is.
    fn found_in(self, settings: &Settings) -> Change {
        let profile = &settings.profile;
        match self {
            Change::Mac(_) => Change::Mac(settings.mac),
            Change::Vlan(_) => Change::Vlan(profile.vlan),
            Change::Trust(_) => Change::Trust(profile.trust),
            Change::Spoofchk(_) => Change::Spoofchk(profile.spoofchk),
            Change::Rate(_) => Change::Rate(profile.rate),
            Change::LinkState(_) => Change::LinkState(profile.link),
            Change::RssQuery(_) => Change::RssQuery(profile.rss_query),
        }
    }

    /// It was made, and is to be in what was read since.
    ///
    /// # Errors
    /// [`VfError::ReadBack`] if it is not.
    pub(crate) fn check(self, vf: &VfName, settings: &Settings) -> Result<(), VfError> {
        match self.is_in(settings) {
            true => Ok(()),
            false => Err(VfError::ReadBack {
                vf: vf.clone(),
                setting: self.to_string(),
                found: self.found_in(settings).to_string(),
            }),
        }
    }

    /// It sets that one.
    pub(crate) fn sets(self, setting: Setting) -> bool {
        match self {
            Change::Mac(_) => false,
            Change::Vlan(_) => matches!(setting, Setting::Vlan | Setting::VlanProtocol),
            Change::Trust(_) => setting == Setting::Trust,
            Change::Spoofchk(_) => setting == Setting::Spoofchk,
            Change::Rate(_) => matches!(setting, Setting::MinTxRate | Setting::MaxTxRate),
            Change::LinkState(_) => setting == Setting::LinkState,
            Change::RssQuery(_) => setting == Setting::RssQuery,
        }
    }

    fn message(self, vf: u32) -> VfInfo {
        match self {
            Change::Mac(mac) => VfInfo::Mac(VfInfoMac::new(vf, &mac.map_or([0; 6], MacAddress::bytes))),
            // The attribute of the list is newer (Linux 4.9) and needed for 802.1ad alone.
            Change::Vlan(vlan) => match vlan.service_tag {
                false => VfInfo::Vlan(VfInfoVlan::new(vf, vlan.id.into(), vlan.priority.into())),
                true => VfInfo::VlanList(vec![VfVlan::Info(VfVlanInfo::new(
                    vf,
                    vlan.id.into(),
                    vlan.priority.into(),
                    VlanProtocol::Ieee8021Ad,
                ))]),
            },
            Change::Trust(on) => VfInfo::Trust(VfInfoTrust::new(vf, on)),
            Change::Spoofchk(on) => VfInfo::SpoofCheck(VfInfoSpoofCheck::new(vf, on)),
            Change::Rate(Rate { min, max }) => VfInfo::Rate(VfInfoRate::new(vf, min, max)),
            Change::LinkState(state) => VfInfo::LinkState(VfInfoLinkState::new(
                vf,
                match state {
                    LinkState::Auto => VfLinkState::Auto,
                    LinkState::Up => VfLinkState::Enable,
                    LinkState::Down => VfLinkState::Disable,
                },
            )),
            Change::RssQuery(on) => VfInfo::RssQueryEn(VfInfoRssQueryEn::new(vf, on)),
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let neutral = Profile::default();
        let told = |profile: Profile, setting| profile.tell(setting);
        match *self {
            Change::Mac(Some(mac)) => write!(f, "MAC {mac}"),
            Change::Mac(None) => write!(f, "no MAC"),
            Change::Vlan(vlan) => {
                let profile = Profile { vlan, ..neutral };
                write!(f, "{}", profile.tell(Setting::Vlan))?;
                match vlan.service_tag {
                    true => write!(f, " and {}", profile.tell(Setting::VlanProtocol)),
                    false => Ok(()),
                }
            }
            Change::Trust(trust) => f.write_str(&told(Profile { trust, ..neutral }, Setting::Trust)),
            Change::Spoofchk(spoofchk) => {
                f.write_str(&told(Profile { spoofchk, ..neutral }, Setting::Spoofchk))
            }
            Change::Rate(rate) => {
                let profile = Profile { rate, ..neutral };
                let (min, max) = (profile.tell(Setting::MinTxRate), profile.tell(Setting::MaxTxRate));
                write!(f, "{min} and {max}")
            }
            Change::LinkState(link) => f.write_str(&told(Profile { link, ..neutral }, Setting::LinkState)),
            Change::RssQuery(rss_query) => {
                f.write_str(&told(Profile { rss_query, ..neutral }, Setting::RssQuery))
            }
        }
    }
}

/// A netlink socket, for a few requests.
pub(crate) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    pub(crate) fn open(pf: &str) -> Result<Self, VfError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| netlink(pf, &error))?;
        Ok(Netlink {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The settings of all VFs of a PF, by index.
    pub(crate) async fn settings(&self, pf: &str) -> Result<Vec<(u32, Settings)>, VfError> {
        Ok(settings_in(self.pf(pf).await?))
    }

    /// Frames that the VF has sent, as its PF's driver counts them; none if that is not told.
    pub(crate) async fn sent(&self, vf: &VfName) -> Result<Option<u64>, VfError> {
        let message = self.link(&vf.pf, vec![LinkExtentMask::Vf]).await?;
        Ok(sent_in(message, vf.index))
    }

    /// Bytes that the VF has received, as its PF's driver counts them; none if that is not told, or is zero: so answers a driver that
    /// does not count.
    pub(crate) async fn received(&self, vf: &VfName) -> Result<Option<u64>, VfError> {
        let message = self.link(&vf.pf, vec![LinkExtentMask::Vf]).await?;
        Ok(received_in(message, vf.index))
    }

    async fn pf(&self, pf: &str) -> Result<LinkMessage, VfError> {
        // Without statistics: with them the list of more than 200 VFs does not fit one attribute.
        let masks = vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats];
        self.link(pf, masks).await
    }

    async fn link(&self, pf: &str, masks: Vec<LinkExtentMask>) -> Result<LinkMessage, VfError> {
        let request = self.handle.link().get().match_name(pf);
        let request = request.set_filter_mask(AddressFamily::Unspec, masks);
        let answer = request.execute().try_next().await;
        let gone = || VfError::NoPf {
            pf: pf.to_owned(),
            why: "no such interface".into(),
        };
        match answer {
            Ok(message) => message.ok_or_else(gone),
            Err(error) if errno(&error).kind() == io::ErrorKind::NotFound => Err(gone()),
            // The kernel's word for no such device.
            Err(error) if errno(&error).raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Err(gone()),
            Err(error) => Err(netlink(pf, &error)),
        }
    }

    /// Asks the PF's driver for one change. What it then has must be read.
    pub(crate) async fn send(&self, vf: &VfName, change: Change) -> Result<(), VfError> {
        let index = self.pf(&vf.pf).await?.header.index;
        let infos = LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![change.message(vf.index)])]);
        let message = LinkMessageBuilder::<LinkUnspec>::default()
            .index(index)
            .append_extra_attribute(infos)
            .build();
        let sent = self.handle.link().change(message).execute().await;
        sent.map_err(|error| VfError::Refused {
            vf: vf.clone(),
            setting: change.to_string(),
            source: errno(&error),
        })
    }

    /// Makes, or ends, the entry of a PF's address list that gives the PF a copy of the frames for a MAC: what `bridge fdb
    /// add|del MAC dev PF self` does. `EEXIST` if it is there, `ENOENT` if it is not.
    pub(crate) async fn copy(&self, pf: &str, mac: MacAddress, on: bool) -> io::Result<()> {
        let link = self.pf(pf).await.map_err(|error| match error {
            VfError::NoPf { .. } => Errno::NODEV.into(),
            error => io::Error::other(error),
        })?;
        let neighbours = self.handle.neighbours();
        let mut add = neighbours
            .add_bridge(link.header.index, &mac.bytes())
            .flags(NeighbourFlags::Own);
        let done = match on {
            true => add.execute().await,
            false => neighbours.del(add.message_mut().clone()).execute().await,
        };
        done.map_err(|error| errno(&error))
    }
}

fn netlink(pf: &str, why: &impl ToString) -> VfError {
    VfError::Netlink {
        pf: pf.to_owned(),
        why: why.to_string(),
    }
}

/// The kernel's error number, where there is one.
fn errno(error: &Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// The VFs that the kernel's answer about a PF tells of.
fn settings_in(message: LinkMessage) -> Vec<(u32, Settings)> {
    vfs_in(message).filter_map(|infos| read(&infos)).collect()
}

fn vfs_in(message: LinkMessage) -> impl Iterator<Item = Vec<VfInfo>> {
    let lists = message
        .attributes
        .into_iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::VfInfoList(list) => Some(list),
            _ => None,
        });
    lists.flatten().map(|LinkVfInfo(infos)| infos)
}

fn sent_in(message: LinkMessage, index: u32) -> Option<u64> {
    count_in(message, index, |count| match count {
        VfStats::TxPackets(sent) => Some(*sent),
        _ => None,
    })
}

fn received_in(message: LinkMessage, index: u32) -> Option<u64> {
    let bytes = count_in(message, index, |count| match count {
        VfStats::RxBytes(bytes) => Some(*bytes),
        _ => None,
    });
    bytes.filter(|bytes| *bytes > 0)
}

/// The VF's count of that kind.
fn count_in(message: LinkMessage, index: u32, of: impl Fn(&VfStats) -> Option<u64>) -> Option<u64> {
    let is = |info: &VfInfo| matches!(info, VfInfo::Mac(found) if found.vf_id == index);
    let infos = vfs_in(message).find(|infos| infos.iter().any(is))?;
    infos.iter().find_map(|info| match info {
        VfInfo::Stats(counts) => counts.iter().find_map(&of),
        _ => None,
    })
}

fn read(infos: &[VfInfo]) -> Option<(u32, Settings)> {
    let mut index = None;
    let profile = Profile {
        spoofchk: false,
        ..Profile::default()
    };
    let mut settings = Settings { mac: None, profile };
    let Settings { mac, profile } = &mut settings;
    let (mut vlan, mut service_tag) = ((0, 0), false);
    for info in infos {
        match info {
            VfInfo::Mac(found) => {
                index = Some(found.vf_id);
                let bytes = found.mac.first_chunk::<6>().copied();
                *mac = bytes.and_then(|bytes| MacAddress::new(bytes).ok());
            }
            VfInfo::Vlan(found) => vlan = (found.vlan_id, found.qos),
            // Says the same, and the protocol. The kernel has one entry, and takes no more.
            VfInfo::VlanList(list) => {
                if let Some(VfVlan::Info(found)) = list.first() {
                    vlan = (found.vlan_id, found.qos);
                    service_tag = found.protocol == VlanProtocol::Ieee8021Ad;
                }
            }
            VfInfo::SpoofCheck(found) => profile.spoofchk = found.enabled,
            VfInfo::Trust(found) => profile.trust = found.enabled,
            VfInfo::Rate(found) => {
                profile.rate = Rate {
                    min: found.min_tx_rate,
                    max: found.max_tx_rate,
                }
            }
            VfInfo::LinkState(found) => profile.link = link_state(found.state),
            VfInfo::RssQueryEn(found) => profile.rss_query = found.enabled,
            _ => {}
        }
    }
    // What no VF can have is not told as something else: then this VF's settings are not known.
    profile.vlan = Vlan::new(vlan.0, vlan.1, service_tag).ok()?;
    Some((index?, settings))
}

/// A state that is newer than this program counts as auto.
fn link_state(state: VfLinkState) -> LinkState {
    match state {
        VfLinkState::Enable => LinkState::Up,
        VfLinkState::Disable => LinkState::Down,
        _ => LinkState::Auto,
    }
}

#[cfg(test)]
mod tests;
