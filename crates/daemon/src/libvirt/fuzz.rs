//! XML that nobody meant: edits leave every byte that is not theirs, or fail; metadata is read as it was written.

use std::ops::Range;

use godwit_fuzz::Target;
use godwit_migration::PciAddress;
use roxmltree::{Document, Node};

use super::{
    edit::{
        metadata_in,
        teamed::{coming, with_vfs},
        with_metadata, without_hostdevs,
    },
    metadata::{GuestWish, NAMESPACE},
    xml::{DomainDevices, HostDev, child, hostdev, tests::LIVE},
};

const WISH: &str = "<godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"1\" policy=\"prefer\"><godwit:pair pool=\"fabric\">\
    <godwit:standby mac=\"52:54:00:aa:00:10\" alias=\"ua-net0\"/>\
    <godwit:primary mac=\"52:54:00:aa:00:10\" alias=\"ua-godwit-0\" address=\"0000:05:00.0\"/>\
    <godwit:profile vlan=\"100\" vlan-protocol=\"802.1ad\" spoofchk=\"off\" max-tx-rate=\"500\" link-state=\"up\"/>\
    </godwit:pair></godwit:guest>";

const WORDS: &[&str] = &[
    "<domain>",
    "</domain>",
    "<devices>",
    "</devices>",
    "<metadata>",
    "</metadata>",
    "<metadata/>",
    "<hostdev mode='subsystem' type='pci'>",
    "</hostdev>",
    "<interface type='hostdev'>",
    "</interface>",
    "<source>",
    "</source>",
    "<address ",
    "domain='0x0000'",
    "bus='0x02'",
    "slot='0x10'",
    "function='0x2'",
    "type='pci'",
    "<alias name='ua-godwit-0'/>",
    "<teaming type='transient' persistent='ua-net0'/>",
    "<teaming type='persistent'/>",
    "<mac address='52:54:00:aa:00:10'/>",
    "<name>",
    "</name>",
    "<uuid>",
    "</uuid>",
    "<memory>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x y?>",
    "<!DOCTYPE d [<!ENTITY e \"&lt;a/>\">]>",
    "&e;",
    "xmlns='urn:godwit:domain:1'",
    "xmlns:godwit=\"urn:godwit:domain:1\"",
    "godwit:",
    "guest",
    "pair",
    "pool=\"fabric\"",
    "policy=\"require\"",
    "version=\"1\"",
    "vlan=\"100\"",
    "ua-",
    "\"",
    "'",
    "\u{a0}",
    "\u{2003}",
];

fn small() -> Vec<u8> {
    let text = "<?xml version='1.0'?>\n<!-- of somebody -->\n<domain type='kvm'>\n  <name>web-1</name>\n  <uuid>7d2f3c6e-52ab-4a0e-9f6e-0c5a4b1d2e3f</uuid>\n  \
        <memory unit='KiB'>1024</memory>\n  <metadata><a xmlns='urn:a'/></metadata>\n  <devices>\n    <interface type='bridge'><mac address='52:54:00:aa:00:10'/>\
        <source bridge='br0'/><teaming type='persistent'/><alias name='ua-net0'/></interface>\n    <interface type='hostdev'><mac address='52:54:00:aa:00:10'/>\
        <source><address type='pci' domain='0x0000' bus='0x02' slot='0x10' function='0x2'/></source><teaming type='transient' persistent='ua-net0'/></interface>\n    \
        <hostdev mode='subsystem' type='pci' managed='no'><source><address bus='0x03' slot='0x10'/></source><alias name='ua-godwit-0'/></hostdev>\n  </devices>\n</domain>\n";
    text.into()
}

/// The text without these ranges.
fn without(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.sort_by_key(|range| range.start);
    let mut left = text.to_owned();
    for range in ranges.into_iter().rev() {
        left.replace_range(range, "");
    }
    left
}

/// The text without the elements that are chosen below a child of the domain.
fn rest(text: &str, below: &str, chosen: impl Fn(Node<'_, '_>) -> bool) -> String {
    let document = Document::parse(text).expect("it was read before");
    let parent = child(document.root_element(), below);
    let children = parent.into_iter().flat_map(|parent| parent.children());
    let ours = children.filter(|node| chosen(*node)).map(|node| node.range());
    without(text, ours.collect())
}

fn is_godwits(device: &HostDev) -> bool {
    device
        .alias
        .as_deref()
        .is_some_and(|alias| alias.starts_with("ua-godwit"))
}

fn hostdevs_go(xml: &str) -> &'static str {
    let Ok(edited) = without_hostdevs(xml, is_godwits) else {
        return "no";
    };
    let ours = |node: Node<'_, '_>| hostdev(node).is_some_and(|device| is_godwits(&device));
    assert_eq!(rest(&edited, "devices", ours), edited, "some are left");
    // Each takes along the white space that stood before it.
    let white = |text: &str| text.replace([' ', '\t', '\r', '\n'], "");
    assert_eq!(white(&edited), white(&rest(xml, "devices", ours)));
    match edited == xml {
        true => "nothing to do",
        false => "gone",
    }
}

fn metadata_comes(xml: &str) -> &'static str {
    let Ok(edited) = with_metadata(xml, WISH) else {
        return "no";
    };
    assert_eq!(metadata_in(&edited).unwrap().as_deref(), Some(WISH));
    let ours = |node: Node<'_, '_>| node.is_element() && node.tag_name().namespace() == Some(NAMESPACE);
    let (before, after) = (rest(xml, "metadata", ours), rest(&edited, "metadata", ours));
    let bare = |text: &str| {
        text.replace("\n  <metadata></metadata>", "")
            .replace("<metadata></metadata>", "")
    };
    if before == after {
        return "beside others";
    }
    // There was none, or an empty one in any of its forms.
    let document = Document::parse(&before).unwrap();
    let empty = child(document.root_element(), "metadata").map(|node| node.range());
    assert_eq!(bare(&without(&before, empty.into_iter().collect())), bare(&after));
    "a place was made"
}

fn vfs_change(xml: &str) -> &'static str {
    let Ok(read) = coming(xml) else { return "no" };
    let vf: PciAddress = "0001:3b:1f.7".parse().unwrap();
    let Ok(edited) = with_vfs(xml, &vec![vf; read.teamed.len()]) else {
        return "none";
    };
    let again = coming(&edited).unwrap();
    assert!(again.teamed.iter().all(|teamed| teamed.vf == vf));
    let around = |text: &str| {
        let document = Document::parse(text).unwrap();
        let teamed = document
            .descendants()
            .filter(|node| node.has_tag_name("teaming"))
            .filter_map(|node| node.parent());
        let address = teamed.filter_map(|device| child(child(device, "source")?, "address"));
        without(text, address.map(|node| node.range()).collect())
    };
    assert_eq!(around(xml), around(&edited));
    match read.teamed.len() {
        0 => "none",
        _ => "changed",
    }
}

#[test]
fn fuzz_domain_edits() {
    let target = Target {
        name: "domain-xml",
        words: WORDS,
        most: 16 * 1024,
    };
    let with_ours = with_metadata(LIVE, WISH).unwrap();
    target.run([LIVE.into(), with_ours.into(), small()], |input| {
        let xml = String::from_utf8_lossy(input);
        let read = DomainDevices::parse(&xml).map(|devices| devices.hostdevs.len().min(3));
        let wish =
            metadata_in(&xml).map(|element| element.map(|element| element.parse::<GuestWish>().is_ok()));
        let kinds = (hostdevs_go(&xml), metadata_comes(&xml), vfs_change(&xml));
        let kind = |error: super::xml::XmlError| error.to_string().replace(|c: char| c.is_ascii_digit(), "");
        (read.map_err(kind), wish.ok(), kinds)
    });
}

#[test]
fn fuzz_metadata() {
    let target = Target {
        name: "metadata",
        words: WORDS,
        most: 4096,
    };
    let bare = WISH.parse::<GuestWish>().unwrap().to_element();
    target.run([WISH.into(), bare.into()], |input| {
        let text = String::from_utf8_lossy(input);
        match text.parse::<GuestWish>() {
            Ok(wish) => {
                assert_eq!(wish.to_element().parse::<GuestWish>().as_ref(), Ok(&wish));
                let element = wish.to_namespaced();
                assert_eq!(element.parse::<GuestWish>().as_ref(), Ok(&wish));
                // And from the domain that carries it.
                let carried = with_metadata(LIVE, &element).unwrap();
                assert_eq!(
                    metadata_in(&carried).unwrap().unwrap().parse::<GuestWish>(),
                    Ok(wish)
                );
                String::new()
            }
            Err(error) => {
                let kind = format!("{error:?}");
                kind.split(['(', '{', '"']).next().unwrap_or_default().to_owned()
            }
        }
    });
}
