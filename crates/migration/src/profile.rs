//! What is set on a VF through its PF, besides its MAC: read from the VF that a guest has, carried with the guest, and
//! compared with what its next VF has.

mod driver;

use serde::{Deserialize, Serialize};

pub use self::driver::{DRIVERS, Driver, Lever};

/// What is set on a VF through its PF, besides its MAC. The default is neutral: a VF that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// VLAN of its traffic.
    pub vlan: Vlan,
    /// It may only send under its own MAC.
    pub spoofchk: bool,
    /// It may change its MAC and ask for all traffic.
    pub trust: bool,
    /// What it is guaranteed and limited to.
    pub rate: Rate,
    /// How its link follows the PF's.
    pub link: LinkState,
    /// It may read the PF's RSS key and table.
    pub rss_query: bool,
}

/// A VF's VLAN: the NIC puts the tag on and takes it off, unseen by the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vlan {
    /// 0 to 4095, as drivers take it; 0: untagged.
    pub id: u16,
    /// 0 to 7.
    pub priority: u8,
    /// A tag of 802.1ad, and not of 802.1Q. Never of what is untagged.
    pub service_tag: bool,
}

/// A VF's rate of sending, Mbit/s; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// That it is guaranteed.
    pub min: u32,
    /// That it is limited to.
    pub max: u32,
}

/// How a VF's link follows the PF's (`IFLA_VF_LINK_STATE_*` in the kernel's `if_link.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// As the PF's.
    #[default]
    Auto,
    /// Always up.
    Up,
    /// Always down.
    Down,
}

/// One setting of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// VLAN id and priority.
    Vlan,
    /// 802.1Q or 802.1ad.
    VlanProtocol,
    /// Spoof check.
    Spoofchk,
    /// Trust.
    Trust,
    /// Guaranteed rate.
    MinTxRate,
    /// Limit of the rate.
    MaxTxRate,
    /// Link state.
    LinkState,
    /// RSS query.
    RssQuery,
}

/// A value that no VF can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProfile {
    /// Not a VLAN.
    #[error("VLAN {0} is not 0 to 4095")]
    Vlan(u32),
    /// Not a priority.
    #[error("VLAN priority {0} is not 0 to 7")]
    Priority(u32),
}

/// A setting that a VF has not as its guest should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: Setting,
    /// What the guest should have, for people.
    pub wanted: String,
    /// What the VF has.
    pub found: String,
    /// Why, where that is known; empty where it is not.
    pub because: String,
}

/// The settings in which a VF must be as its guest should have it: a difference in them is an error, one in the others a
/// warning. The default is what decides who hears the guest's traffic and whose it may send: VLAN, its protocol, spoof
/// check and trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MustMatch(pub Vec<Setting>);

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            vlan: Vlan::default(),
            spoofchk: true,
            trust: false,
            rate: Rate::default(),
            link: LinkState::Auto,
            rss_query: false,
        }
    }
}

impl Default for MustMatch {
    fn default() -> MustMatch {
        use Setting::{Spoofchk, Trust, Vlan, VlanProtocol};
        MustMatch(vec![Vlan, VlanProtocol, Spoofchk, Trust])
    }
}

impl Vlan {
    /// A VLAN as a wire has it. What is untagged has no protocol.
    ///
    /// # Errors
    /// [`BadProfile`] when one of the numbers is out of its range.
    pub fn new(id: u32, priority: u32, service_tag: bool) -> Result<Vlan, BadProfile> {
        let known = u16::try_from(id).ok().filter(|id| *id <= 4095);
        let low = u8::try_from(priority).ok().filter(|priority| *priority <= 7);
        let id = known.ok_or(BadProfile::Vlan(id))?;
        Ok(Vlan {
            id,
            priority: low.ok_or(BadProfile::Priority(priority))?,
            service_tag: service_tag && id != 0,
        })
    }
}

impl LinkState {
    /// Every state.
    pub const ALL: [LinkState; 3] = [LinkState::Auto, LinkState::Up, LinkState::Down];

    /// The word for people and metadata.
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Auto => "auto",
            LinkState::Up => "up",
            LinkState::Down => "down",
        }
    }
}

impl Setting {
    /// Every setting, in the order in which they are made so.
    pub const ALL: [Setting; 8] = [
        Setting::Vlan,
        Setting::VlanProtocol,
        Setting::Trust,
        Setting::Spoofchk,
        Setting::MinTxRate,
        Setting::MaxTxRate,
        Setting::LinkState,
        Setting::RssQuery,
    ];

    /// The word for configuration, metadata and documents.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Vlan => "vlan",
            Setting::VlanProtocol => "vlan-protocol",
            Setting::Spoofchk => "spoofchk",
            Setting::Trust => "trust",
            Setting::MinTxRate => "min-tx-rate",
            Setting::MaxTxRate => "max-tx-rate",
            Setting::LinkState => "link-state",
            Setting::RssQuery => "rss-query",
        }
    }
}

impl Profile {
    /// This profile with that setting as the other has it.
    #[must_use]
    pub fn with(mut self, setting: Setting, other: &Profile) -> Profile {
        match setting {
            Setting::Vlan => (self.vlan.id, self.vlan.priority) = (other.vlan.id, other.vlan.priority),
            Setting::VlanProtocol => self.vlan.service_tag = other.vlan.service_tag,
            Setting::Spoofchk => self.spoofchk = other.spoofchk,
            Setting::Trust => self.trust = other.trust,
            Setting::MinTxRate => self.rate.min = other.rate.min,
            Setting::MaxTxRate => self.rate.max = other.rate.max,
            Setting::LinkState => self.link = other.link,
            Setting::RssQuery => self.rss_query = other.rss_query,
        }
        self
    }

    /// That setting is the same in both.
    pub fn agrees(&self, setting: Setting, other: &Profile) -> bool {
        self.with(setting, other) == *self
    }

    /// What a driver can be asked for: neutral in all that it lacks.
    #[must_use]
    pub fn on(self, driver: Option<&Driver>) -> Profile {
        let neutral = Profile::default();
        let lacks = driver.map_or(&[][..], |driver| driver.lacks);
        lacks
            .iter()
            .fold(self, |profile, lacked| profile.with(*lacked, &neutral))
    }

    /// What the guest of a live VF should have: what the VF has, and of what its driver lacks, what was written down
    /// before. So a link state outlasts a stay on a host whose NICs have none.
    #[must_use]
    pub fn seen(self, driver: Option<&Driver>, recorded: Option<&Profile>) -> Profile {
        let lacks = driver.map_or(&[][..], |driver| driver.lacks);
        recorded.map_or(self, |recorded| {
            lacks
                .iter()
                .fold(self, |profile, lacked| profile.with(*lacked, recorded))
        })
    }

    /// In what a VF that has `found` is not as it should be, and why as far as its driver tells.
    pub fn differences(&self, found: &Profile, driver: Option<&Driver>) -> Vec<Difference> {
        let difference = |setting: Setting| Difference {
            setting,
            wanted: self.tell(setting),
            found: found.tell(setting),
            because: match driver.filter(|driver| driver.lacks.contains(&setting)) {
                Some(driver) => format!("the driver {} has no such setting", driver.name),
                None => String::new(),
            },
        };
        let differ = |setting: &Setting| !self.agrees(*setting, found);
        Setting::ALL.into_iter().filter(differ).map(difference).collect()
    }

    /// One setting, for people.
    pub fn tell(&self, setting: Setting) -> String {
        let on = |on: bool| if on { "on" } else { "off" };
        let Profile { vlan, rate, .. } = self;
        match setting {
            Setting::Vlan if *vlan == Vlan::default() => "no VLAN".into(),
            Setting::Vlan => format!("VLAN {} with priority {}", vlan.id, vlan.priority),
            Setting::VlanProtocol if vlan.service_tag => "a tag of 802.1ad".into(),
            Setting::VlanProtocol => "a tag of 802.1Q".into(),
            Setting::Spoofchk => format!("spoof check {}", on(self.spoofchk)),
            Setting::Trust => format!("trust {}", on(self.trust)),
            Setting::MinTxRate if rate.min == 0 => "no guaranteed rate".into(),
            Setting::MinTxRate => format!("at least {} Mbit/s", rate.min),
            Setting::MaxTxRate if rate.max == 0 => "no limit of the rate".into(),
            Setting::MaxTxRate => format!("at most {} Mbit/s", rate.max),
            Setting::LinkState => format!("link {}", self.link.name()),
            Setting::RssQuery => format!("RSS query {}", on(self.rss_query)),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} instead of {}", self.found, self.wanted)?;
        match self.because.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.because),
        }
    }
}

/// All of them in one sentence; none: empty.
pub fn told(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(Difference::to_string).collect();
    all.join(", ")
}

impl MustMatch {
    /// The differences that are errors, and those that are warnings.
    pub fn divide(&self, differences: Vec<Difference>) -> (Vec<Difference>, Vec<Difference>) {
        let wrong = |difference: &Difference| self.0.contains(&difference.setting);
        differences.into_iter().partition(wrong)
    }
}

#[cfg(test)]
mod tests;
