//! VFs that a guest's emulator has and its domain has not. libvirtd ended in the middle of a plug: QEMU did what it
//! was asked, and nobody wrote that down.

use std::time::Duration;

use godwit_migration::{PciAddress, preflight::Stray};
use tokio::time::sleep;
use tracing::warn;
use uuid::Uuid;

use super::RealWorld;
use crate::{
    libvirt::{
        XmlOf,
        xml::{DomainDevices, HostDev},
    },
    vf::{Holder, VfError},
};

/// A plug or an unplug that is under way looks the same, for a moment.
const TWICE: Duration = Duration::from_secs(2);

/// Which VFs of pools are open, and where.
pub(super) type Open = Vec<(PciAddress, Holder)>;

impl RealWorld {
    /// All that are open now. None where that cannot be seen, which is told.
    pub(super) async fn open_vfs(&self) -> Open {
        let open = self.vfs.open_vfs().await;
        open.unwrap_or_else(|error| {
            warn!("who has VFs open cannot be seen: {error}");
            Open::new()
        })
    }

    /// The strays of a guest. `aliases` are those that its VFs get.
    pub(super) async fn strays(
        &self,
        id: Uuid,
        devices: &DomainDevices,
        open: &Open,
        aliases: &[String],
    ) -> Result<Vec<Stray>, VfError> {
        let first = strays_in(id, &devices.hostdevs, open, aliases);
        if first.is_empty() {
            return Ok(first);
        }
        sleep(TWICE).await;
        // One that cannot be read now is looked at by whoever needs it next.
        let text = self.libvirt.xml(id, XmlOf::Live).await.ok();
        let Some(devices) = text.and_then(|text| DomainDevices::parse(&text).ok()) else {
            return Ok(Vec::new());
        };
        let again = strays_in(id, &devices.hostdevs, &self.vfs.open_vfs().await?, aliases);
        Ok(again.into_iter().filter(|stray| first.contains(stray)).collect())
    }
}

/// Each under an alias that the domain has not. Which of several strays has which is known to the emulator alone.
fn strays_in(id: Uuid, has: &[HostDev], open: &Open, aliases: &[String]) -> Vec<Stray> {
    let known = |vf: PciAddress| has.iter().any(|hostdev| hostdev.host_address == vf);
    let strays = open
        .iter()
        .filter(|(vf, holder)| holder.guest == Some(id) && !known(*vf));
    let mut missing = aliases
        .iter()
        .filter(|alias| !has.iter().any(|hostdev| hostdev.alias.as_ref() == Some(*alias)));
    let last = aliases.last();
    let named = strays.map(|(vf, holder)| Stray {
        vf: *vf,
        pid: holder.pid,
        alias: missing.next().or(last).cloned().unwrap_or_default(),
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::xml::HostDevForm;

    const WEB: Uuid = Uuid::from_u128(1);

    fn vf(last: u8) -> PciAddress {
        format!("0000:01:10.{last}").parse().unwrap()
    }

    fn in_emulator(function: u8, guest: Option<Uuid>) -> (PciAddress, Holder) {
        let holder = Holder {
            pid: 77,
            command: "qemu-system-x86".into(),
            guest,
        };
        (vf(function), holder)
    }

    fn in_domain(function: u8, alias: &str) -> [HostDev; 1] {
        [HostDev {
            alias: Some(alias.into()),
            host_address: vf(function),
            guest_address: None,
            managed: false,
            form: HostDevForm::Plain,
            teaming: None,
        }]
    }

    fn told(has: &[HostDev], open: &Open) -> Vec<(PciAddress, String)> {
        let aliases = ["ua-a", "ua-b"].map(String::from);
        let strays = strays_in(WEB, has, open, &aliases);
        strays.into_iter().map(|stray| (stray.vf, stray.alias)).collect()
    }

    #[test]
    fn a_vf_in_the_emulator_and_not_in_the_domain() {
        let own = in_emulator(0, Some(WEB));
        assert_eq!(told(&[], &vec![own.clone()]), [(vf(0), "ua-a".to_owned())]);
        assert_eq!(told(&in_domain(0, "ua-a"), &vec![own.clone()]), []);
        // Another pair's VF is where it belongs.
        let both = vec![own, in_emulator(2, Some(WEB))];
        assert_eq!(told(&in_domain(0, "ua-a"), &both), [(vf(2), "ua-b".to_owned())]);
    }

    #[test]
    fn what_others_have_open_is_theirs() {
        let open = vec![in_emulator(0, Some(Uuid::from_u128(2))), in_emulator(2, None)];
        assert_eq!(told(&[], &open), []);
    }
}
