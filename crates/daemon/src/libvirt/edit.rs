//! Edits of domain XML, by splicing. Pure.

pub(crate) mod teamed;

use std::ops::Range;

use godwit_migration::PciAddress;
use roxmltree::{Document, Node};

use super::{
    metadata::NAMESPACE,
    xml::{DomainDevices, HostDev, XmlError, child, domain, escape, hostdev},
};

/// The XML without the host devices that `which` chooses, and otherwise unchanged.
///
/// # Errors
/// XML that is not a domain, or an edit that did not come out.
pub(crate) fn without_hostdevs(xml: &str, which: impl Fn(&HostDev) -> bool) -> Result<String, XmlError> {
    let document = Document::parse(xml)?;
    let devices = child(domain(&document)?, "devices").ok_or(XmlError::Missing("devices"))?;
    let chosen = |node: &Node<'_, '_>| hostdev(*node).is_some_and(|device| which(&device));
    let mut edited = xml.to_owned();
    let ranges: Vec<_> = devices
        .children()
        .filter(chosen)
        .map(|node| with_line(xml, node.range()))
        .collect();
    for range in ranges.into_iter().rev() {
        edited.replace_range(range, "");
    }
    let mut expected = DomainDevices::parse(xml)?;
    expected.hostdevs.retain(|device| !which(device));
    let found = DomainDevices::parse(&edited)?;
    // A root port becomes free with its device.
    expected.free_root_ports = found.free_root_ports;
    if found == expected {
        Ok(edited)
    } else {
        Err(XmlError::Edit("other devices changed".into()))
    }
}

/// An element's range with the white space before it, so that no empty line is left.
fn with_line(xml: &str, range: Range<usize>) -> Range<usize> {
    // XML's own: what Unicode calls white space besides is somebody's text.
    let before = xml[..range.start].trim_end_matches([' ', '\t', '\r', '\n']);
    before.len()..range.end
}

/// The XML with `element` (with its namespace, [`GuestWish::to_namespaced`]) as Godwit's metadata, in place of any other.
///
/// [`GuestWish::to_namespaced`]: super::metadata::GuestWish::to_namespaced
///
/// # Errors
/// XML that is not a domain, or an element that is not Godwit's.
pub(crate) fn with_metadata(xml: &str, element: &str) -> Result<String, XmlError> {
    let document = Document::parse(xml)?;
    let domain = domain(&document)?;
    let mut edited = xml.to_owned();
    match child(domain, "metadata") {
        Some(metadata) if metadata.has_children() => {
            let old: Vec<_> = metadata
                .children()
                .filter(is_ours)
                .map(|node| node.range())
                .collect();
            let place = old
                .first()
                .map_or(content_start(xml, metadata), |range| range.start);
            for range in old.into_iter().rev() {
                edited.replace_range(range, "");
            }
            edited.insert_str(place, element);
        }
        Some(empty) => edited.replace_range(empty.range(), &format!("<metadata>{element}</metadata>")),
        None => {
            let place = child(domain, "uuid").or_else(|| child(domain, "name"));
            let place = place.ok_or(XmlError::Missing("name"))?.range().end;
            edited.insert_str(place, &format!("\n  <metadata>{element}</metadata>"));
        }
    }
    let check = Document::parse(&edited)?;
    let found = metadata_of(&check).filter(is_ours).count();
    if found == 1 {
        Ok(edited)
    } else {
        Err(XmlError::Edit(format!("{found} metadata elements")))
    }
}

/// Godwit's metadata element in a domain's XML, as it stands there.
///
/// # Errors
/// Not XML.
pub(crate) fn metadata_in(xml: &str) -> Result<Option<String>, XmlError> {
    let document = Document::parse(xml)?;
    let element = metadata_of(&document).find(is_ours);
    Ok(element.map(|node| {
        let text = xml[node.range()].to_owned();
        // libvirt prints the declaration on the element itself; if another writer put it on a parent, bring it along.
        if Document::parse(&text).is_ok() {
            return text;
        }
        let prefix = node
            .lookup_prefix(NAMESPACE)
            .map(|prefix| format!(":{prefix}"))
            .unwrap_or_default();
        let name_end = text
            .find(|c: char| c.is_whitespace() || c == '>' || c == '/')
            .unwrap_or(text.len());
        format!(
            "{} xmlns{prefix}=\"{NAMESPACE}\"{}",
            &text[..name_end],
            &text[name_end..]
        )
    }))
}

fn metadata_of<'a>(document: &'a Document<'_>) -> impl Iterator<Item = Node<'a, 'a>> {
    let metadata = child(document.root_element(), "metadata");
    metadata.into_iter().flat_map(|metadata| metadata.children())
}

fn is_ours(node: &Node<'_, '_>) -> bool {
    node.is_element() && node.tag_name().namespace() == Some(NAMESPACE)
}

/// Right behind an element's start tag; the element has children.
fn content_start(xml: &str, node: Node<'_, '_>) -> usize {
    node.first_child().map_or(xml.len(), |first| first.range().start)
}

/// A plain host device to plug: libvirt neither binds it nor sets anything on it.
///
/// `alias` begins with `ua-`, or libvirt would choose another. Without `guest_address` libvirt takes a free port. `standby`:
/// the alias of the NIC that libvirt and the emulator tie it to (`<teaming>`, in a `<hostdev>` since libvirt 7.1), if any.
pub(crate) fn hostdev_xml(
    host: PciAddress,
    alias: &str,
    guest_address: Option<PciAddress>,
    standby: Option<&str>,
) -> String {
    let guest_address = guest_address
        .map(|address| pci("address type='pci'", address))
        .unwrap_or_default();
    let teaming = standby
        .map(|standby| format!("<teaming type='transient' persistent='{}'/>", escape(standby)))
        .unwrap_or_default();
    format!(
        "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/><source>{source}</source>\
         {teaming}<alias name='{alias}'/>{guest_address}</hostdev>",
        source = pci("address", host),
        alias = escape(alias),
    )
}

fn pci(element: &str, address: PciAddress) -> String {
    let PciAddress {
        domain,
        bus,
        slot,
        function,
    } = address;
    format!(
        "<{element} domain='{domain:#06x}' bus='{bus:#04x}' slot='{slot:#04x}' function='{function:#x}'/>"
    )
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod corpus;
