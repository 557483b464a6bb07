use proptest::prelude::*;

use super::*;
use crate::libvirt::{edit::with_metadata, xml::tests::LIVE};

fn pci(text: &str) -> PciAddress {
    text.parse().unwrap()
}

/// A domain with a standby of each of the aliases, and these devices.
fn domain_with(standbys: &[&str], devices: &str) -> String {
    let nic = |(index, alias): (usize, &&str)| {
        format!(
            "<interface type='bridge'><mac address='52:54:00:aa:00:{index:02x}'/><source bridge='br0'/>\
             <model type='virtio'/><teaming type='persistent'/><alias name='{alias}'/></interface>"
        )
    };
    let nics: String = standbys.iter().enumerate().map(nic).collect();
    format!(
        "<?xml version='1.0'?>\n<!-- <teaming type='transient'/> -->\n<domain type='kvm'>\n  <name>web-1</name>\n  \
         <uuid>7d2f3c6e-52ab-4a0e-9f6e-0c5a4b1d2e3f</uuid>\n  <memory unit='KiB'>1024</memory>\n  \
         <devices>{nics}\n{devices}\n  </devices>\n</domain>\n"
    )
}

/// The edit of a domain whose devices hold the markers `{d}`, `{b}`, `{s}`, `{f}` for numbers: what comes out is the domain
/// with the new numbers in these places, to the byte.
fn comes_out(shape: &str, standbys: &[&str]) {
    let with = |vf: [&str; 4]| {
        let names = ["{d}", "{b}", "{s}", "{f}"];
        let filled = names
            .iter()
            .zip(vf)
            .fold(shape.to_owned(), |text, (name, value)| text.replace(name, value));
        domain_with(standbys, &filled)
    };
    let before = with(["0x0000", "0x01", "0x10", "0x2"]);
    let vfs = vec![pci("0001:3b:1f.7"); coming(&before).unwrap().teamed.len()];
    assert!(!vfs.is_empty(), "{before}");
    let after = with_vfs(&before, &vfs).unwrap();
    assert_eq!(after, with(["0x0001", "0x3b", "0x1f", "0x7"]));
    let read = coming(&after).unwrap();
    assert!(read.teamed.iter().all(|one| one.vf == vfs[0]), "{read:?}");
    let same: Vec<PciAddress> = coming(&before).unwrap().teamed.iter().map(|one| one.vf).collect();
    assert_eq!(with_vfs(&before, &same).unwrap(), before, "nothing to change");
}

const INTERFACE: &str = "<interface type='hostdev' managed='yes'><mac address='52:54:00:aa:00:00'/><driver name='vfio'/>\
    <source><address type='pci' domain='{d}' bus='{b}' slot='{s}' function='{f}'/></source><vlan><tag id='42'/></vlan>\
    <teaming type='transient' persistent='ua-net0'/><alias name='hostdev0'/>\
    <address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x2'/></interface>";

const PLAIN: &str = "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/>\
    <source><address domain='{d}' bus='{b}' slot='{s}' function='{f}'/></source>\
    <teaming type='transient' persistent='ua-net1'/><alias name='ua-vf'/>\
    <address type='pci' domain='0x0000' bus='0x06' slot='0x00' function='0x0'/></hostdev>";

const OTHERS: &str = "<hostdev mode='subsystem' type='pci' managed='yes'>\
    <source><address domain='0x0000' bus='0x01' slot='0x10' function='0x2'/></source></hostdev>\
    <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>\
    <hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/>\
    </source></hostdev><interface type='network'><mac address='52:54:00:aa:00:77'/><source network='vfs'/>\
    <teaming type='transient' persistent='ua-net9'/></interface>";

#[test]
fn only_the_numbers_change_whatever_stands_around_them() {
    let both = format!("{OTHERS}\n{INTERFACE}{PLAIN}{OTHERS}");
    let shapes = [
        INTERFACE.to_owned(),
        PLAIN.replace("ua-net1", "ua-net0"),
        both.clone(),
        // The other quotes, and room wherever XML allows some.
        INTERFACE.replace('\'', "\""),
        both.replace("='", " = '").replace("/>", "\n\t/>"),
        // The order of attributes and elements, and things between them.
        INTERFACE.replace(
            "domain='{d}' bus='{b}' slot='{s}' function='{f}'",
            "function='{f}' slot='{s}' bus='{b}' domain='{d}'",
        ),
        PLAIN.replace("ua-net1", "ua-net0").replace(
            "<source>",
            "<!-- <source><address bus='9' slot='9'/></source> --><?x y?><![CDATA[<source>]]><source>\n<!--c-->",
        ),
        // Elements of others, with names like ours.
        format!("<x:hostdev xmlns:x='urn:x' x:mode='1'>&lt;teaming&gt;</x:hostdev>{INTERFACE}"),
        INTERFACE.replace("<mac", "<metadata xmlns='urn:y'><a b='&quot;&#10;'/></metadata><mac"),
        // Text of more than one byte before the place.
        format!("<video><model type='грач鳥'/></video>{both}"),
    ];
    for shape in shapes {
        comes_out(&shape, &["ua-net0", "ua-net1"]);
    }
}

#[test]
fn what_is_left_out_is_added_where_zero_would_be_wrong() {
    let short = PLAIN.replace("ua-net1", "ua-net0").replace(
        "domain='{d}' bus='{b}' slot='{s}' function='{f}'",
        "bus='1' slot='16'",
    );
    let before = domain_with(&["ua-net0"], &short);
    let with = |address: &str| before.replace("bus='1' slot='16'", address);
    for (vf, address) in [
        ("0000:01:10.0", "bus='1' slot='16'"),
        ("0000:02:10.0", "bus='0x02' slot='16'"),
        ("0000:02:10.3", "bus='0x02' slot='16' function='0x3'"),
        ("0001:01:10.3", "bus='1' slot='16' domain='0x0001' function='0x3'"),
    ] {
        assert_eq!(with_vfs(&before, &[pci(vf)]).unwrap(), with(address));
    }
}

#[test]
fn a_guest_that_comes_is_read() {
    let read = coming(LIVE).unwrap();
    assert_eq!(read.guest.name, "web-1");
    assert_eq!(read.wish, None);
    let mac: MacAddress = "52:54:00:aa:00:10".parse().unwrap();
    let expected = Teamed {
        standby_mac: mac,
        primary_mac: mac,
        standby: "ua-net0".into(),
        primary: Some("hostdev0".into()),
        vf: pci("0000:02:10.2"),
        set_by_libvirt: true,
    };
    assert_eq!(
        read.teamed,
        [expected],
        "the plain one is in no pair of libvirt's"
    );
    let plain = domain_with(
        &["ua-net1"],
        PLAIN.replace("{b}", "1").replace("{s}", "2").as_str(),
    );
    let plain = coming(&plain.replace("{d}", "0").replace("{f}", "0")).unwrap();
    assert!(!plain.teamed[0].set_by_libvirt);
    assert_eq!(plain.teamed[0].primary_mac, plain.teamed[0].standby_mac);
    assert_eq!(coming(&domain_with(&["ua-net0"], OTHERS)).unwrap().teamed, []);
}

#[test]
fn metadata_of_a_later_godwit_is_there_and_not_understood() {
    let later =
        "<godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"9\"><godwit:herd/></godwit:guest>";
    let read = coming(&with_metadata(LIVE, later).unwrap()).unwrap();
    assert_eq!(read.wish, Some(Err(MetadataError::Version("9".into()))));
}

#[test]
fn pairs_that_are_none_are_told() {
    let filled = |shape: &str| {
        let shape = shape.replace("{d}", "0").replace("{b}", "1");
        shape.replace("{s}", "2").replace("{f}", "0")
    };
    let lonely = domain_with(&[], &filled(INTERFACE));
    assert_eq!(coming(&lonely), Err(XmlError::Missing("standby of a teamed VF")));
    let two = format!("{INTERFACE}{}", PLAIN.replace("ua-net1", "ua-net0"));
    assert!(coming(&domain_with(&["ua-net0"], &filled(&two))).is_err());
    assert!(coming("<domain/>").is_err() && coming("no XML").is_err() && coming("").is_err());
    let one = domain_with(&["ua-net0"], &filled(INTERFACE));
    assert!(with_vfs(&one, &[]).is_err() && with_vfs(LIVE, &[pci("0000:00:00.0"); 2]).is_err());
}

/// Deeper than any domain: an end, and not that of the daemon.
#[test]
fn depth_and_length_are_no_danger() {
    let deep = |n: usize| domain_with(&["ua-net0"], &format!("{}{}", "<a>".repeat(n), "</a>".repeat(n)));
    let _ = coming(&deep(1_000_000));
    let _ = with_vfs(&"<".repeat(1 << 20), &[]);
    let large = LIVE.replace("<devices>", &format!("<!--{}--><devices>", "x".repeat(1 << 20)));
    let edited = with_vfs(&large, &[pci("0000:05:00.1")]).unwrap();
    assert_eq!(edited.len(), large.len());
}

fn any_vf() -> impl Strategy<Value = PciAddress> {
    (any::<u16>(), any::<u8>(), 0u8..32, 0u8..8).prop_map(|(domain, bus, slot, function)| PciAddress {
        domain,
        bus,
        slot,
        function,
    })
}

/// A number as people and tools write it.
fn spelled(number: u32, spelling: u8) -> String {
    match spelling % 3 {
        0 => number.to_string(),
        1 => format!("{number:#x}"),
        _ => format!("{number:#06x}"),
    }
}

proptest! {
    /// An XML that was cut, doubled or overwritten anywhere: an error or an edit, and no panic.
    #[test]
    fn no_text_makes_it_panic(at in 0..LIVE.len(), cut in 0usize..400, noise in "[<>'\"/=&a-z \u{e9}]{0,12}", vf in any_vf()) {
        let clean = |at: usize| (at.min(LIVE.len())..=LIVE.len()).find(|at| LIVE.is_char_boundary(*at)).unwrap();
        let text = format!("{}{noise}{}", &LIVE[..clean(at)], &LIVE[clean(at + cut)..]);
        let _ = coming(&text);
        if let (Ok(edited), Ok(_)) = (with_vfs(&text, &[vf]), coming(&text)) {
            prop_assert_eq!(coming(&edited).map(|read| read.teamed[0].vf), Ok(vf));
        }
    }

    /// Whatever the addresses and however they are written: outside of the two elements every byte stays, and what is read
    /// back is what was to be written.
    #[test]
    fn every_other_byte_stays(from in any_vf(), to in (any_vf(), any_vf()), spelling in any::<[u8; 4]>(), comment in "[a-z<&'\" \u{9ce5}]{0,20}") {
        let numbers = [u32::from(from.domain), u32::from(from.bus), u32::from(from.slot), u32::from(from.function)];
        let shape = ["{d}", "{b}", "{s}", "{f}"].iter().zip(numbers).zip(spelling).fold(
            format!("{PLAIN}<!--{comment}-->{OTHERS}{INTERFACE}"),
            |text, ((name, number), spelling)| text.replace(name, &spelled(number, spelling)),
        );
        let before = domain_with(&["ua-net0", "ua-net1"], &shape);
        let after = with_vfs(&before, &[to.0, to.1]).unwrap();
        let read = coming(&after).unwrap();
        prop_assert_eq!([read.teamed[0].vf, read.teamed[1].vf], [to.0, to.1]);
        // The same with each host address taken out, as text.
        let around = |text: &str| {
            let mut parts = Vec::new();
            let mut left = text;
            while let Some((before, rest)) = left.split_once("<source><address ") {
                parts.push(before.to_owned());
                left = &rest[rest.find("/>").unwrap()..];
            }
            parts.push(left.to_owned());
            parts
        };
        prop_assert_eq!(around(&before), around(&after));
        // And those of devices in no pair as they were.
        prop_assert_eq!(before.matches(OTHERS).count(), after.matches(OTHERS).count());
    }
}

/// By the MAC of the standby, whatever the order is in which they stand there.
#[test]
fn the_stored_domain_gets_the_addresses_of_this_host() {
    let device = |standby: &str, function: u8| {
        format!(
            "<hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0x0000' bus='0x01' slot='0x10' \
             function='{function:#x}'/></source><teaming type='transient' persistent='{standby}'/></hostdev>"
        )
    };
    let two = format!("{}{}", device("ua-b", 0), device("ua-a", 2));
    let stored = domain_with(&["ua-a", "ua-b"], &two);
    let mac = |index: u8| format!("52:54:00:aa:00:{index:02x}").parse().unwrap();
    let here = [(mac(0), pci("0000:01:10.4")), (mac(1), pci("0000:01:10.6"))];
    let right = with_vfs_of(&stored, &here).unwrap();
    let swapped = format!("{}{}", device("ua-b", 6), device("ua-a", 4));
    assert_eq!(right, domain_with(&["ua-a", "ua-b"], &swapped));
    assert_eq!(with_vfs_of(&right, &here).unwrap(), right, "twice is once");
    // One that is not known here keeps what it has.
    let one = format!("{}{}", device("ua-b", 0), device("ua-a", 4));
    assert_eq!(
        with_vfs_of(&stored, &here[..1]).unwrap(),
        domain_with(&["ua-a", "ua-b"], &one)
    );
    assert_eq!(with_vfs_of(&stored, &[]).unwrap(), stored);
    let none = domain_with(&["ua-a"], "");
    assert_eq!(with_vfs_of(&none, &here).unwrap(), none);
}
