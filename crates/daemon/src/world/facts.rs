//! What this host knows of its guests and VFs; and writing down what a guest should have.

use std::time::Duration;

use godwit_coordinator::words;
use godwit_migration::{
    Cause, Guest, MacAddress, Pair, PciAddress, Policy, Profile, Vf, VfUse,
    preflight::{GuestFacts, PairFacts},
    profile::Driver,
};
use tracing::warn;
use uuid::Uuid;

use super::{RealWorld, accelerate::place_of, channel_of, hooked::Owners, strays::Open};
use crate::{
    agent::{self, Tie},
    cause::{CauseExt, cause},
    libvirt::{
        DomainState, LibvirtError, MetadataOf, Paused, RunState, VfNetwork, XmlOf,
        metadata::{GuestWish, WishedPair},
        xml::{DomainDevices, HostDev, HostDevForm, Nic, Teaming, memory_nodes},
    },
    vf::{VfError, VfState},
};

/// An agent that is there answers an inspection at once.
const INSPECT: Duration = Duration::from_secs(3);

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl RealWorld {
    pub(super) async fn guest_facts(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        let states = self.libvirt.list().await.map_err(|error| no_libvirt(&error))?;
        let wanted = |state: &DomainState| {
            named.is_none_or(|named| state.name == named || state.uuid.to_string() == named)
        };
        let vfs = self.inventory().await;
        let open = self.open_vfs().await;
        let facts = states
            .iter()
            .filter(|state| wanted(state))
            .map(|state| self.facts(state, &vfs, &open));
        Ok(futures_util::future::join_all(facts).await)
    }

    async fn facts(&self, state: &DomainState, vfs: &[VfState], open: &Open) -> GuestFacts {
        let running = matches!(state.run, RunState::Running(_));
        let mut facts = GuestFacts {
            guest: Guest {
                name: state.name.clone(),
                uuid: state.uuid.to_string(),
            },
            state: state.run.to_string(),
            running,
            managed: false,
            policy: Policy::default(),
            pairs: Vec::new(),
            agent: Err(format!("the guest is {}", state.run)),
            agent_version: None,
            strays: Vec::new(),
            nodes: Vec::new(),
        };
        // The XML of a domain that arrives cannot be read without blocking; it has nothing to tell yet.
        if is_arriving(state.run) {
            return facts;
        }
        let of = if state.run.is_active() {
            XmlOf::Live
        } else {
            XmlOf::Persistent
        };
        let Ok(text) = self.libvirt.xml(state.uuid, of).await else {
            return facts;
        };
        let Ok(devices) = DomainDevices::parse(&text) else {
            return facts;
        };
        facts.nodes = memory_nodes(&text);
        let ties = match running {
            true => self.ask_agent(&devices, &mut facts).await,
            false => Vec::new(),
        };
        let wish = self.wish(state.uuid).await.ok().flatten();
        facts.policy = wish.as_ref().map(|wish| wish.policy).unwrap_or_default();
        if let Some(wish) = &wish {
            let aliases: Vec<String> = wish.pairs.iter().map(|pair| pair.primary_alias.clone()).collect();
            let strays = self.strays(state.uuid, &devices, open, &aliases).await;
            facts.strays = strays.unwrap_or_default();
        }
        facts.managed = wish.is_some();
        facts.pairs = match wish.filter(|wish| !wish.pairs.is_empty()) {
            Some(wish) => wish
                .pairs
                .iter()
                .map(|wished| wished_pair(wished, &devices, vfs))
                .collect(),
            None => {
                let found = found_pairs(&devices, vfs, &ties);
                // It was adopted when it had none: what it is to have now, nobody has said.
                facts.managed &= found.is_empty();
                found
            }
        };
        facts
    }

    /// What the agent of a guest that runs says; the ties of its pairs.
    async fn ask_agent(&self, devices: &DomainDevices, facts: &mut GuestFacts) -> Vec<agent::Tie> {
        let Some(path) = channel_of(devices) else {
            facts.agent = Err(format!("its domain has no channel {}", agent::CHANNEL));
            return Vec::new();
        };
        match self.agents.inspect(&path, INSPECT).await {
            Err(error) => {
                facts.agent = Err(sentence(&error));
                Vec::new()
            }
            Ok(inspection) => {
                facts.agent = Ok(agent::seen(&inspection.pairs));
                facts.agent_version = inspection.version;
                agent::ties(&inspection.pairs)
            }
        }
    }

    /// What the guest's metadata says it should have.
    pub(super) async fn wish(&self, id: Uuid) -> Result<Option<GuestWish>, Boxed> {
        for of in [MetadataOf::Live, MetadataOf::Persistent] {
            match self.libvirt.metadata(id, of).await {
                Ok(Some(element)) => return Ok(Some(element.parse::<GuestWish>()?)),
                Ok(None) | Err(LibvirtError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    pub(super) async fn write_wish(
        &self,
        guest: &Guest,
        pairs: &[Pair],
        policy: Policy,
    ) -> Result<(), Cause> {
        let told = || {
            cause(
                "METADATA",
                format!("the metadata of guest `{}` could not be written", guest.name),
            )
            .hint(format!("virsh metadata {} urn:godwit:domain:1", guest.name))
        };
        let id: Uuid = guest
            .uuid
            .parse()
            .map_err(|error: uuid::Error| told().because(&error))?;
        let text = self
            .libvirt
            .xml(id, XmlOf::Live)
            .await
            .map_err(|error| told().because(&error))?;
        let devices = DomainDevices::parse(&text).map_err(|error| told().because(&error))?;
        // A guest on its standby is adopted again: its VF's place is the one that was written down before.
        let before = self.wish(id).await.ok().flatten();
        let place = |pair: &Pair| before.as_ref().and_then(|wish| place_of(wish, pair));
        let wished = |(index, pair): (usize, &Pair)| WishedPair {
            standby_mac: pair.mac,
            standby_alias: pair.standby.clone(),
            primary_alias: words::plug_alias(&pair.primary, index),
            primary_mac: pair.primary_mac,
            pool: pair.pool.clone(),
            guest_address: devices
                .hostdev(&pair.primary)
                .and_then(|hostdev| hostdev.guest_address)
                .or_else(|| place(pair)),
            profile: pair.profile,
        };
        let wish = GuestWish {
            policy,
            pairs: pairs.iter().enumerate().map(wished).collect(),
        };
        self.libvirt
            .set_metadata(id, Some(wish.to_element()))
            .await
            .map_err(|error| told().because(&error))
    }

    pub(super) async fn vf_facts(&self) -> Result<Vec<Vf>, Cause> {
        let owners = self.owners().await?;
        self.vfs_of(&owners).await
    }

    /// This host's VFs; a PF in trouble is named in the log and does not hide the others.
    pub(super) async fn inventory(&self) -> Vec<VfState> {
        let inventory = self.vfs.list().await;
        for problem in &inventory.problems {
            warn!("VFs: {}", sentence(problem));
        }
        inventory.vfs
    }

    /// Used by the host itself, by a process that libvirt does not know, libvirt's to give away, or free.
    pub(super) async fn unowned(
        &self,
        vf: &VfState,
        open: &Open,
        networks: &[VfNetwork],
    ) -> Result<VfUse, VfError> {
        if let Some(used) = &vf.used {
            return Ok(VfUse::Other(used.clone()));
        }
        if let Some(network) = networks
            .iter()
            .find(|network| network.has(&vf.name.pf, vf.name.address))
        {
            let name = &network.name;
            return Ok(VfUse::Other(format!(
                "libvirt's network `{name}` gives it to guests"
            )));
        }
        let holder = open.iter().find(|(open, _)| *open == vf.name.address);
        Ok(match holder {
            Some((_, holder)) => {
                VfUse::Other(format!("process {} ({}) has it open", holder.pid, holder.command))
            }
            None => match self.vfs.pf_down(vf.name.address).await? {
                Some(pf) => VfUse::Other(format!("its PF is down: ip link set {pf} up")),
                None => VfUse::Free,
            },
        })
    }

    /// Whose VFs are by libvirt's words, which are remembered.
    pub(super) async fn owners(&self) -> Result<Owners, Cause> {
        let guests = self.owning_guests().await?;
        let networks = self.libvirt.vf_networks().await;
        let networks = networks.map_err(|error| no_libvirt(&error))?;
        let owners = Owners { guests, networks };
        self.remembered.set_owners(&owners);
        Ok(owners)
    }

    /// Every host device of every running domain, and whose it is.
    async fn owning_guests(&self) -> Result<Vec<(PciAddress, String)>, Cause> {
        let states = self.libvirt.list().await.map_err(|error| no_libvirt(&error))?;
        let mut owners = Vec::new();
        for state in states
            .iter()
            .filter(|state| state.run.is_active() && !is_arriving(state.run))
        {
            let text = match self.libvirt.xml(state.uuid, XmlOf::Live).await {
                Ok(text) => text,
                Err(LibvirtError::NoDomain { .. }) => continue,
                Err(error) => return Err(no_libvirt(&error)),
            };
            let devices = DomainDevices::parse(&text);
            let devices = devices.map_err(|error| unreadable(&state.name, &error))?;
            owners.extend(
                devices
                    .hostdevs
                    .iter()
                    .map(|hostdev| (hostdev.host_address, state.name.clone())),
            );
        }
        Ok(owners)
    }
}

pub(super) fn is_arriving(run: RunState) -> bool {
    matches!(run, RunState::Paused(Paused::Migration | Paused::StartingUp))
}

fn unreadable(guest: &str, error: &(dyn std::error::Error + 'static)) -> Cause {
    cause(
        "DOMAIN_XML",
        format!("the domain of guest `{guest}` cannot be read"),
    )
    .because(error)
    .hint(format!("virsh dumpxml {guest}"))
}

fn no_libvirt(error: &LibvirtError) -> Cause {
    cause("LIBVIRT", "libvirt on this host does not answer")
        .because(error)
        .hint("systemctl status libvirtd virtqemud")
}

/// An error and its cause in one sentence, for places that have room for one.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A pair of the metadata, as the live domain has it now.
fn wished_pair(wished: &WishedPair, devices: &DomainDevices, vfs: &[VfState]) -> PairFacts {
    let standby = devices
        .nics
        .iter()
        .find(|nic| nic.mac == wished.standby_mac && is_virtio(nic));
    let primary = devices
        .hostdevs
        .iter()
        .find(|hostdev| is_primary_of(wished, hostdev));
    PairFacts {
        mac: Some(wished.standby_mac),
        primary_mac: Some(wished.primary_mac),
        standby: standby.and_then(|nic| nic.alias.clone()),
        primary: primary
            .and_then(|hostdev| hostdev.alias.clone())
            .or_else(|| Some(wished.primary_alias.clone())),
        vf: primary.map(|hostdev| hostdev.host_address),
        pool: Some(wished.pool.clone()),
        profile: primary
            .and_then(|hostdev| seen(hostdev, vfs, wished.profile.as_ref()))
            .or(wished.profile),
        recorded: wished.profile,
        teamed: standby.is_some_and(Nic::is_teamed),
    }
}

/// What the guest of a live VF should have.
fn seen(hostdev: &HostDev, vfs: &[VfState], recorded: Option<&Profile>) -> Option<Profile> {
    let vf = vfs.iter().find(|vf| vf.name.address == hostdev.host_address)?;
    Some(
        vf.settings?
            .profile
            .seen(Driver::named(&vf.site.driver), recorded),
    )
}

fn is_primary_of(wished: &WishedPair, hostdev: &HostDev) -> bool {
    let by_mac = matches!(&hostdev.form, HostDevForm::Interface { mac } if *mac == wished.primary_mac);
    by_mac || hostdev.alias.as_deref() == Some(&wished.primary_alias)
}

fn is_virtio(nic: &Nic) -> bool {
    nic.model
        .as_deref()
        .is_some_and(|model| model.starts_with("virtio"))
}

/// Pairs of a guest without metadata: each VF with the virtio NIC that it is teamed with, or whose MAC it has, or that the guest has
/// in one bond with it.
fn found_pairs(devices: &DomainDevices, vfs: &[VfState], ties: &[Tie]) -> Vec<PairFacts> {
    let vf = |hostdev: &&HostDev| {
        let known = vfs.iter().any(|vf| vf.name.address == hostdev.host_address);
        known || matches!(hostdev.form, HostDevForm::Interface { .. })
    };
    devices
        .hostdevs
        .iter()
        .filter(vf)
        .map(|hostdev| found_pair(hostdev, devices, vfs, ties))
        .collect()
}

fn found_pair(hostdev: &HostDev, devices: &DomainDevices, vfs: &[VfState], ties: &[Tie]) -> PairFacts {
    let vf = vfs.iter().find(|vf| vf.name.address == hostdev.host_address);
    let mac: Option<MacAddress> = match &hostdev.form {
        HostDevForm::Interface { mac } => Some(*mac),
        HostDevForm::Plain => vf
            .and_then(|vf| vf.settings.as_ref())
            .and_then(|settings| settings.mac),
    };
    let teamed = match &hostdev.teaming {
        Some(Teaming::Transient { standby }) => Some(standby.as_str()),
        _ => None,
    };
    let virtio = |fits: &dyn Fn(&Nic) -> bool| devices.nics.iter().find(|nic| is_virtio(nic) && fits(nic));
    let tied = || {
        let tie = ties.iter().find(|tie| Some(tie.primary) == mac)?;
        virtio(&|nic| nic.mac == tie.standby)
    };
    let standby = match teamed {
        Some(alias) => virtio(&|nic| nic.alias.as_deref() == Some(alias)),
        None => virtio(&|nic| Some(nic.mac) == mac).or_else(tied),
    };
    PairFacts {
        mac: standby.map(|nic| nic.mac),
        primary_mac: mac,
        standby: standby.and_then(|nic| nic.alias.clone()),
        primary: hostdev.alias.clone(),
        vf: Some(hostdev.host_address),
        pool: vf.map(|vf| vf.pool.clone()),
        profile: seen(hostdev, vfs, None),
        recorded: None,
        teamed: standby.is_some_and(Nic::is_teamed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "<domain><name>macs-1</name><uuid>60d01700-0000-4000-8000-000000000060</uuid><memory>1</memory><os><type machine='q35'>hvm</type></os><devices>
        <interface type='bridge'><mac address='52:54:00:aa:00:60'/><model type='virtio'/><alias name='ua-a'/></interface>
        <interface type='bridge'><mac address='52:54:00:aa:00:70'/><model type='virtio'/><alias name='ua-b'/></interface>
        <interface type='hostdev'><mac address='52:54:00:aa:00:61'/>
          <source><address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x0'/></source>
          <alias name='hostdev0'/></interface>
        </devices></domain>";

    /// Its XML would be waited for until it has come; its state is told at once.
    #[test]
    fn of_a_guest_that_arrives_only_its_state_is_read() {
        use crate::libvirt::{Running, ShutOff};
        for run in [Paused::Migration, Paused::StartingUp].map(RunState::Paused) {
            assert!(is_arriving(run), "{run}");
        }
        for run in [
            RunState::Paused(Paused::User),
            RunState::Paused(Paused::PostCopy),
            RunState::Running(Running::Migrated),
            RunState::Running(Running::PostCopy),
            RunState::ShutOff(ShutOff::Migrated),
        ] {
            assert!(!is_arriving(run), "{run}");
        }
    }

    fn standby_of(domain: &str, ties: &[(&str, &str)]) -> Option<String> {
        let ties: Vec<Tie> = ties
            .iter()
            .map(|(primary, standby)| Tie {
                primary: primary.parse().unwrap(),
                standby: standby.parse().unwrap(),
            })
            .collect();
        let found = found_pairs(&DomainDevices::parse(domain).unwrap(), &[], &ties);
        assert_eq!(found.len(), 1);
        found[0].standby.clone()
    }

    #[test]
    fn a_vf_with_a_mac_of_its_own_is_tied_to_its_standby_by_the_guest() {
        let (vf, standby) = ("52:54:00:aa:00:61", "52:54:00:aa:00:70");
        assert_eq!(standby_of(DOMAIN, &[]), None);
        assert_eq!(standby_of(DOMAIN, &[(vf, standby)]).as_deref(), Some("ua-b"));
        // What the guest says of a NIC that it does not have.
        assert_eq!(standby_of(DOMAIN, &[(vf, "52:54:00:aa:00:99")]), None);
        assert_eq!(standby_of(DOMAIN, &[("52:54:00:aa:00:99", standby)]), None);
        // By the host's own evidence it is another: the guest is not asked.
        let equal = DOMAIN.replace("00:61", "00:60");
        assert_eq!(
            standby_of(&equal, &[("52:54:00:aa:00:60", standby)]).as_deref(),
            Some("ua-a")
        );
    }
}
