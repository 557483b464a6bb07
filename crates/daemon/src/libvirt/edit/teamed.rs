//! A guest that is coming, and the VFs of libvirt's own pairs (`<teaming>`) in its XML: read, and put to other addresses. Pure.

use std::ops::Range;

use godwit_migration::{Guest, MacAddress, PciAddress};
use roxmltree::{Document, Node};

use super::metadata_in;
use crate::libvirt::{
    metadata::{GuestWish, MetadataError},
    xml::{
        DomainDevices, HostDev, HostDevForm, Nic, Teaming, XmlError, child, domain, hostdev, memory_nodes,
        number,
    },
};

/// What this host has to know of a guest before it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coming {
    /// Who.
    pub(crate) guest: Guest,
    /// NUMA nodes that its memory is bound to; none where it may be anywhere.
    pub(crate) nodes: Vec<u32>,
    /// Its VFs in libvirt's own pairs, in the XML's order.
    pub(crate) teamed: Vec<Teamed>,
    /// Godwit's metadata, if it has any; of a later Godwit it cannot be read.
    pub(crate) wish: Option<Result<GuestWish, MetadataError>>,
}

/// A VF in a pair of libvirt's own: in the guest, `net_failover` uses it by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Teamed {
    /// MAC of its standby.
    pub(crate) standby_mac: MacAddress,
    /// MAC that it has in the guest; `net_failover` finds it by that, so it is the standby's unless the XML says otherwise.
    pub(crate) primary_mac: MacAddress,
    /// libvirt's alias of the standby.
    pub(crate) standby: String,
    /// libvirt's alias of the VF, where the XML has one.
    pub(crate) primary: Option<String>,
    /// Its address on the host that the XML is of.
    pub(crate) vf: PciAddress,
    /// libvirt gives it its MAC and VLAN.
    pub(crate) set_by_libvirt: bool,
}

/// What the XML of a guest that is coming says.
///
/// # Errors
/// XML that is not a domain; a transient half without a standby, or two of one standby.
pub(crate) fn coming(xml: &str) -> Result<Coming, XmlError> {
    let devices = DomainDevices::parse(xml)?;
    let transient = devices
        .hostdevs
        .iter()
        .filter_map(|device| teamed(device, &devices.nics));
    let teamed = transient.collect::<Result<Vec<_>, _>>()?;
    for (index, one) in teamed.iter().enumerate() {
        if teamed[..index]
            .iter()
            .any(|other| other.standby_mac == one.standby_mac)
        {
            return Err(XmlError::Missing("standby of its own for each teamed VF"));
        }
    }
    let wish = metadata_in(xml)?.map(|element| element.parse());
    Ok(Coming {
        guest: Guest {
            name: devices.name,
            uuid: devices.uuid.to_string(),
        },
        nodes: memory_nodes(xml),
        teamed,
        wish,
    })
}

fn teamed(device: &HostDev, nics: &[Nic]) -> Option<Result<Teamed, XmlError>> {
    let Some(Teaming::Transient { standby }) = &device.teaming else {
        return None;
    };
    let nic = nics.iter().find(|nic| nic.alias.as_deref() == Some(standby));
    let Some(nic) = nic else {
        return Some(Err(XmlError::Missing("standby of a teamed VF")));
    };
    let (primary_mac, set_by_libvirt) = match &device.form {
        HostDevForm::Interface { mac } => (*mac, true),
        HostDevForm::Plain => (nic.mac, false),
    };
    Some(Ok(Teamed {
        standby_mac: nic.mac,
        primary_mac,
        standby: standby.clone(),
        primary: device.alias.clone(),
        vf: device.host_address,
        set_by_libvirt,
    }))
}

/// The XML with these addresses for its teamed VFs, in the order of [`Coming::teamed`], and otherwise unchanged: nothing but
/// the numbers that differ. Only the host's side: libvirt takes no other change of a guest that is coming
/// (`virDomainDefCheckABIStability`).
///
/// # Errors
/// XML that is not a domain, another number of VFs, or an edit that did not come out.
pub(crate) fn with_vfs(xml: &str, vfs: &[PciAddress]) -> Result<String, XmlError> {
    let document = Document::parse(xml)?;
    let devices = child(domain(&document)?, "devices").ok_or(XmlError::Missing("devices"))?;
    let places: Vec<Node<'_, '_>> = devices
        .children()
        .filter(|node| hostdev(*node).is_some_and(|device| is_transient(&device)))
        .filter_map(|node| child(child(node, "source")?, "address"))
        .collect();
    if places.len() != vfs.len() {
        return Err(XmlError::Edit(format!(
            "{} teamed VFs, not {}",
            places.len(),
            vfs.len()
        )));
    }
    let splices = places
        .iter()
        .zip(vfs)
        .flat_map(|(place, vf)| splices(*place, *vf));
    let mut splices: Vec<(Range<usize>, String)> = splices.collect();
    splices.sort_by_key(|(range, _)| range.start);
    let mut edited = xml.to_owned();
    for (range, text) in splices.into_iter().rev() {
        edited.replace_range(range, &text);
    }
    let mut expected = DomainDevices::parse(xml)?;
    let transient = expected.hostdevs.iter_mut().filter(|device| is_transient(device));
    transient
        .zip(vfs)
        .for_each(|(device, vf)| device.host_address = *vf);
    match DomainDevices::parse(&edited)? == expected {
        true => Ok(edited),
        false => Err(XmlError::Edit("other devices changed".into())),
    }
}

/// The XML, of a guest that is here, with these addresses for its teamed VFs, by the MAC of their standby. One whose standby is not
/// named keeps the address that it has.
///
/// # Errors
/// As [`coming`] and [`with_vfs`].
pub(crate) fn with_vfs_of(xml: &str, vfs: &[(MacAddress, PciAddress)]) -> Result<String, XmlError> {
    let here = |teamed: &Teamed| {
        let found = vfs.iter().find(|(mac, _)| *mac == teamed.standby_mac);
        found.map_or(teamed.vf, |(_, vf)| *vf)
    };
    let all: Vec<PciAddress> = coming(xml)?.teamed.iter().map(here).collect();
    with_vfs(xml, &all)
}

fn is_transient(device: &HostDev) -> bool {
    matches!(device.teaming, Some(Teaming::Transient { .. }))
}

/// What makes an `<address>` that of the VF. What it lacks is zero for libvirt, and is added where that would be wrong.
fn splices(place: Node<'_, '_>, vf: PciAddress) -> Vec<(Range<usize>, String)> {
    let PciAddress {
        domain,
        bus,
        slot,
        function,
    } = vf;
    let end = place.attributes().map(|attribute| attribute.range().end).max();
    let parts = [
        ("domain", u32::from(domain), format!("{domain:#06x}")),
        ("bus", u32::from(bus), format!("{bus:#04x}")),
        ("slot", u32::from(slot), format!("{slot:#04x}")),
        ("function", u32::from(function), format!("{function:#x}")),
    ];
    let splice = |(name, wanted, text): (&str, u32, String)| match place.attribute_node(name) {
        Some(attribute) if number(attribute.value()) == Some(wanted) => None,
        Some(attribute) => Some((attribute.range_value(), text)),
        None if wanted == 0 => None,
        None => end.map(|end| (end..end, format!(" {name}='{text}'"))),
    };
    parts.into_iter().filter_map(splice).collect()
}

#[cfg(test)]
mod tests;
