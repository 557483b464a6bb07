//! The settings that a PF's driver keeps for each VF, read and set by netlink.

use std::io;

use futures_util::TryStreamExt;
use godwit_migration::MacAddress;
use netlink_packet_route::{
    AddressFamily,
    link::{
        LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoMac, VfInfoRate,
        VfInfoSpoofCheck, VfInfoTrust, VfInfoVlan, VfLinkState, VfVlan, VfVlanInfo, VlanProtocol,
    },
};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec};
use tokio::task::JoinHandle;

use super::error::{VfError, VfName};

/// What a PF's driver keeps for a VF. A driver without one of the flags reads as `false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// MAC set through the PF; `None` is all zeros: the VF's user chooses.
    pub mac: Option<MacAddress>,
    /// Everything else.
    pub profile: Profile,
    /// How the VF's link follows the PF's.
    pub link: LinkState,
    /// The VF may read the PF's RSS key and table.
    pub rss_query: bool,
}

/// What a VF should be set to besides its MAC. The default is a VF that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profile {
    /// VLAN of its traffic; 0 is untagged.
    pub vlan: Vlan,
    /// It may only send under its own MAC.
    pub spoofchk: bool,
    /// It may change its MAC and ask for all traffic.
    pub trust: bool,
    /// Rate it is guaranteed, Mbit/s; 0 is none.
    pub min_tx_rate: u32,
    /// Rate it is limited to, Mbit/s; 0 is none.
    pub max_tx_rate: u32,
}

/// A VF's VLAN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Vlan {
    /// 0 to 4094; 0 is untagged.
    pub id: u32,
    /// Priority, 0 to 7.
    pub qos: u32,
    /// 802.1ad instead of 802.1Q.
    pub service_tag: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            vlan: Vlan::default(),
            spoofchk: true,
            trust: false,
            min_tx_rate: 0,
            max_tx_rate: 0,
        }
    }
}

/// How a VF's link follows the PF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// As the PF's.
    Auto,
    /// Always up.
    Up,
    /// Always down.
    Down,
    /// Newer than this program.
    Other(u32),
}

/// One setting of a VF, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Mac(Option<MacAddress>),
    Vlan(Vlan),
    SpoofCheck(bool),
    Trust(bool),
    /// Least and most, Mbit/s.
    Rate(u32, u32),
}

impl Setting {
    /// The settings of a profile.
    pub(crate) fn of(profile: &Profile) -> [Setting; 4] {
        [
            Setting::Vlan(profile.vlan),
            Setting::SpoofCheck(profile.spoofchk),
            Setting::Trust(profile.trust),
            Setting::Rate(profile.min_tx_rate, profile.max_tx_rate),
        ]
    }

    /// The value of the same setting as it is.
    pub(crate) fn found_in(self, settings: &Settings) -> Setting {
        let profile = &settings.profile;
        match self {
            Setting::Mac(_) => Setting::Mac(settings.mac),
            Setting::Vlan(_) => Setting::Vlan(profile.vlan),
            Setting::SpoofCheck(_) => Setting::SpoofCheck(profile.spoofchk),
            Setting::Trust(_) => Setting::Trust(profile.trust),
            Setting::Rate(..) => Setting::Rate(profile.min_tx_rate, profile.max_tx_rate),
        }
    }

    fn message(self, vf: u32) -> VfInfo {
        match self {
            Setting::Mac(mac) => VfInfo::Mac(VfInfoMac::new(vf, &mac.map_or([0; 6], MacAddress::bytes))),
            Setting::Vlan(Vlan {
                id,
                qos,
                service_tag: false,
            }) => VfInfo::Vlan(VfInfoVlan::new(vf, id, qos)),
            Setting::Vlan(Vlan {
                id,
                qos,
                service_tag: true,
            }) => VfInfo::VlanList(vec![VfVlan::Info(VfVlanInfo::new(
                vf,
                id,
                qos,
                VlanProtocol::Ieee8021Ad,
            ))]),
            Setting::SpoofCheck(on) => VfInfo::SpoofCheck(VfInfoSpoofCheck::new(vf, on)),
            Setting::Trust(on) => VfInfo::Trust(VfInfoTrust::new(vf, on)),
            Setting::Rate(least, most) => VfInfo::Rate(VfInfoRate::new(vf, least, most)),
        }
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = |on: bool| if on { "on" } else { "off" };
        match self {
            Setting::Mac(Some(mac)) => write!(f, "MAC {mac}"),
            Setting::Mac(None) => write!(f, "no MAC"),
            Setting::Vlan(Vlan { id, qos, service_tag }) => {
                let protocol = if *service_tag { "802.1ad" } else { "802.1Q" };
                write!(f, "VLAN {id} (priority {qos}, {protocol})")
            }
            Setting::SpoofCheck(value) => write!(f, "spoof check {}", on(*value)),
            Setting::Trust(value) => write!(f, "trust {}", on(*value)),
            Setting::Rate(least, most) => write!(f, "rate {least} to {most} Mbit/s (0: no limit)"),
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
        let message = self.pf(pf).await?;
        let lists = message
            .attributes
            .into_iter()
            .filter_map(|attribute| match attribute {
                LinkAttribute::VfInfoList(list) => Some(list),
                _ => None,
            });
        Ok(lists
            .flatten()
            .filter_map(|LinkVfInfo(infos)| read(&infos))
            .collect())
    }

    async fn pf(&self, pf: &str) -> Result<LinkMessage, VfError> {
        let request = self.handle.link().get().match_name(pf);
        // Without statistics: with them the list of more than 200 VFs does not fit one attribute.
        let request = request.set_filter_mask(
            AddressFamily::Unspec,
            vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats],
        );
        let answer = request.execute().try_next().await;
        let gone = || VfError::NoPf {
            pf: pf.to_owned(),
            why: "no such interface".into(),
        };
        match answer {
            Ok(message) => message.ok_or_else(gone),
            Err(error) if errno(&error).kind() == io::ErrorKind::NotFound => Err(gone()),
            // The kernel's word for no such device.
            Err(error) if errno(&error).raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                Err(gone())
            }
            Err(error) => Err(netlink(pf, &error)),
        }
    }

    /// Sets one value of a VF and reads it back.
    pub(crate) async fn set(&self, vf: &VfName, setting: Setting) -> Result<(), VfError> {
        let index = self.pf(&vf.pf).await?.header.index;
        let infos = LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![setting.message(vf.index)])]);
        let message = LinkMessageBuilder::<LinkUnspec>::default()
            .index(index)
            .append_extra_attribute(infos)
            .build();
        let sent = self.handle.link().change(message).execute().await;
        sent.map_err(|error| VfError::Refused {
            vf: vf.clone(),
            setting: setting.to_string(),
            source: errno(&error),
        })?;
        let settings = self.settings(&vf.pf).await?;
        let now = settings
            .iter()
            .find(|(index, _)| *index == vf.index)
            .map(|(_, now)| setting.found_in(now));
        if now == Some(setting) {
            return Ok(());
        }
        let found = now.map_or_else(|| "nothing".to_owned(), |now| now.to_string());
        Err(VfError::ReadBack {
            vf: vf.clone(),
            setting: setting.to_string(),
            found,
        })
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

fn read(infos: &[VfInfo]) -> Option<(u32, Settings)> {
    let mut index = None;
    let profile = Profile {
        spoofchk: false,
        ..Profile::default()
    };
    let mut settings = Settings {
        mac: None,
        profile,
        link: LinkState::Auto,
        rss_query: false,
    };
    for info in infos {
        match info {
            VfInfo::Mac(found) => {
                index = Some(found.vf_id);
                let mac = found.mac.first_chunk::<6>().copied();
                settings.mac = mac.and_then(|mac| MacAddress::new(mac).ok());
            }
            VfInfo::Vlan(found) => {
                settings.profile.vlan.id = found.vlan_id;
                settings.profile.vlan.qos = found.qos;
            }
            VfInfo::VlanList(list) => {
                let tagged = |vlan: &VfVlan| matches!(vlan, VfVlan::Info(info) if info.vlan_id != 0 && info.protocol == VlanProtocol::Ieee8021Ad);
                settings.profile.vlan.service_tag = list.iter().any(tagged);
            }
            VfInfo::SpoofCheck(found) => settings.profile.spoofchk = found.enabled,
            VfInfo::Trust(found) => settings.profile.trust = found.enabled,
            VfInfo::Rate(found) => {
                settings.profile.min_tx_rate = found.min_tx_rate;
                settings.profile.max_tx_rate = found.max_tx_rate;
            }
            VfInfo::LinkState(found) => settings.link = link_state(found.state),
            VfInfo::RssQueryEn(found) => settings.rss_query = found.enabled,
            _ => {}
        }
    }
    Some((index?, settings))
}

fn link_state(state: VfLinkState) -> LinkState {
    match state {
        VfLinkState::Auto => LinkState::Auto,
        VfLinkState::Enable => LinkState::Up,
        VfLinkState::Disable => LinkState::Down,
        other => LinkState::Other(other.into()),
    }
}

#[cfg(test)]
mod tests;
