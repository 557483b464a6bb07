//! Every edit and every reader, over domain XML that others wrote: what libvirt tests itself with, of every shape that it knows.
//! `cargo xtask test` fetches it (Debian's source package of libvirt) and names the folder; nothing of it is kept here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use roxmltree::NodeType;

use super::{
    teamed::{coming, with_vfs, with_vfs_of},
    *,
};
use crate::libvirt::{
    metadata::GuestWish,
    xml::{Teaming, examine::Examined, has_alias, memory_nodes},
};

/// The folder with the files.
const FOLDER: &str = "GODWIT_DOMAIN_XML";

const WISH: &str = "<godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"1\" policy=\"prefer\">\
<godwit:pair pool=\"fabric\"><godwit:standby mac=\"52:54:00:aa:00:10\" alias=\"ua-net0\"/>\
<godwit:primary mac=\"52:54:00:aa:00:10\" alias=\"ua-godwit-0\"/></godwit:pair></godwit:guest>";

/// How many files had what.
#[derive(Debug, Default)]
struct Seen {
    domains: u32,
    devices_of_the_host: u32,
    teamed: u32,
    with_metadata: u32,
    /// Domains that were refused, by the reason.
    refused: BTreeMap<String, u32>,
}

#[test]
#[ignore = "reads the folder that GODWIT_DOMAIN_XML names; `cargo xtask test` fetches it"]
fn whatever_a_domain_looks_like_nothing_changes_but_what_is_meant() {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| panic!("{FOLDER} names no folder"));
    let mut files = Vec::new();
    collect(Path::new(&folder), &mut files);
    files.sort();
    let mut seen = Seen::default();
    for file in &files {
        // Some are there to be no XML, or no text.
        let Ok(xml) = fs::read_to_string(file) else {
            continue;
        };
        // Whichever assertion fails says in its own output which file it was.
        println!("{}", file.display());
        look(&xml, &mut seen);
    }
    println!("{} files: {seen:#?}", files.len());
    let refused: u32 = seen.refused.values().sum();
    assert!(seen.domains > 500, "is that libvirt's source? {seen:?}");
    assert!(
        seen.devices_of_the_host > 20 && seen.teamed > 0 && seen.with_metadata > 3,
        "{seen:?}"
    );
    assert!(refused * 10 < seen.domains, "{seen:?}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // A link leads to another file of the same folder, or to nothing.
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&entry.path(), files),
            kind if kind.is_file() && entry.path().extension().is_some_and(|ext| ext == "xml") => {
                files.push(entry.path());
            }
            _ => {}
        }
    }
}

fn look(xml: &str, seen: &mut Seen) {
    let is_domain = Document::parse(xml).is_ok_and(|document| document.root_element().has_tag_name("domain"));
    let devices = DomainDevices::parse(xml);
    // Whatever it is, none of these may panic.
    let (nodes, vfs) = (memory_nodes(xml), coming(xml));
    _ = (
        has_alias(xml, "ua-x"),
        Examined::parse(xml),
        metadata_in(xml),
        nodes,
    );
    match devices {
        Ok(devices) => {
            assert!(is_domain, "that is no domain");
            seen.domains += 1;
            seen.devices_of_the_host += u32::from(!devices.hostdevs.is_empty());
            Examined::parse(xml).unwrap();
            unplugged(xml, &devices);
            plugged(xml, &devices);
            marked(xml, seen);
            if let Ok(vfs) = vfs {
                seen.teamed += u32::from(!vfs.teamed.is_empty());
                moved(xml, &vfs.teamed.iter().map(|one| one.vf).collect::<Vec<_>>());
            }
        }
        Err(error) => {
            assert!(without_hostdevs(xml, |_| true).is_err() && with_vfs(xml, &[]).is_err());
            if is_domain {
                *seen.refused.entry(error.to_string()).or_default() += 1;
            }
        }
    }
}

fn unplugged(xml: &str, devices: &DomainDevices) {
    assert_eq!(
        without_hostdevs(xml, |_| false).unwrap(),
        xml,
        "nothing was to go"
    );
    let edited = without_hostdevs(xml, |_| true).unwrap();
    assert!(DomainDevices::parse(&edited).unwrap().hostdevs.is_empty());
    assert_eq!(devices.hostdevs.is_empty(), edited == xml);
    // By another way than the edit's: every node but those, in order, with every word of it.
    assert_eq!(
        told(&edited, &|_| false),
        told(xml, &|node| hostdev(node).is_some())
    );
    // And one at a time.
    for one in &devices.hostdevs {
        if devices.hostdevs.iter().filter(|other| *other == one).count() > 1 {
            continue;
        }
        let edited = without_hostdevs(xml, |device| device == one).unwrap();
        assert!(
            is_made_by_leaving_out(&edited, xml),
            "something else than a device changed"
        );
        assert!(!DomainDevices::parse(&edited).unwrap().hostdevs.contains(one));
    }
}

fn plugged(xml: &str, devices: &DomainDevices) {
    let vf: PciAddress = "0000:3b:10.2".parse().unwrap();
    let place = "0000:05:00.0".parse().unwrap();
    let Some(end) = xml.rfind("</devices>") else {
        return;
    };
    for standby in [None, Some("ua-<'net0'>")] {
        let plug = hostdev_xml(vf, "ua-corpus", Some(place), standby);
        let with = format!("{}{plug}{}", &xml[..end], &xml[end..]);
        let found = DomainDevices::parse(&with).unwrap();
        let device = found.hostdev("ua-corpus").expect("it is not in the domain");
        assert_eq!((device.host_address, device.guest_address), (vf, Some(place)));
        let teaming = standby.map(|standby| Teaming::Transient {
            standby: standby.to_owned(),
        });
        assert_eq!(device.teaming, teaming);
        let back = without_hostdevs(&with, |device| device.alias.as_deref() == Some("ua-corpus")).unwrap();
        assert_eq!(told(&back, &|_| false), told(xml, &|_| false));
        assert_eq!(DomainDevices::parse(&back).unwrap(), *devices);
    }
}

fn marked(xml: &str, seen: &mut Seen) {
    assert_eq!(metadata_in(xml).unwrap(), None, "nobody has ours");
    let edited = with_metadata(xml, WISH).unwrap();
    seen.with_metadata += u32::from(xml.contains("<metadata>"));
    assert_eq!(metadata_in(&edited).unwrap().as_deref(), Some(WISH));
    let bare = edited.replacen(&format!("\n  <metadata>{WISH}</metadata>"), "", 1);
    let kept = edited.replacen(WISH, "", 1);
    let empty = edited.replacen(&format!("<metadata>{WISH}</metadata>"), "<metadata/>", 1);
    assert!(
        [bare, kept, empty].iter().any(|back| back == xml),
        "more changed than the metadata:\n{edited}"
    );
    assert_eq!(with_metadata(&edited, WISH).unwrap(), edited, "twice is once");
    let wish: GuestWish = WISH.parse().unwrap();
    let edited = with_metadata(&edited, &wish.to_namespaced()).unwrap();
    let read = metadata_in(&edited).unwrap().unwrap();
    assert_eq!(read.parse::<GuestWish>().unwrap(), wish);
}

fn moved(xml: &str, vfs: &[PciAddress]) {
    assert_eq!(with_vfs(xml, vfs).unwrap(), xml, "each has its address already");
    assert_eq!(with_vfs_of(xml, &[]).unwrap(), xml, "none was to have another");
    let others: Vec<PciAddress> = (0..vfs.len())
        .map(|index| format!("0001:af:1f.{}", index % 8).parse().unwrap())
        .collect();
    let edited = with_vfs(xml, &others).unwrap();
    let now: Vec<PciAddress> = coming(&edited).unwrap().teamed.iter().map(|one| one.vf).collect();
    assert_eq!(now, others);
    let address = |node: Node<'_, '_>| {
        let device = node.parent().and_then(|source| source.parent());
        node.has_tag_name("address") && device.is_some_and(|device| child(device, "teaming").is_some())
    };
    assert_eq!(told(&edited, &address), told(xml, &address));
}

/// Everything that the XML says but white space, without what `which` leaves out.
fn told(xml: &str, which: &dyn Fn(Node<'_, '_>) -> bool) -> Vec<String> {
    let document = Document::parse(xml).unwrap();
    let left_out = |node: Node<'_, '_>| node.ancestors().any(|above| above.is_element() && which(above));
    let say = |node: Node<'_, '_>| match node.node_type() {
        NodeType::Text => node
            .text()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
        NodeType::Element => {
            let attributes = node
                .attributes()
                .map(|one| format!("{:?} {}={:?}", one.namespace(), one.name(), one.value()));
            let attributes: Vec<String> = attributes.collect();
            Some(format!("{:?} {}", node.tag_name(), attributes.join(" ")))
        }
        _ => Some(xml[node.range()].to_owned()).filter(|_| !node.is_root()),
    };
    document
        .descendants()
        .filter(|node| !left_out(*node))
        .filter_map(say)
        .collect()
}

/// There is one place at which a piece of `xml` was taken out, and no other byte differs.
fn is_made_by_leaving_out(edited: &str, xml: &str) -> bool {
    let same = edited
        .bytes()
        .zip(xml.bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let mut rest = edited.len() - same;
    // A piece that begins as what follows it can be cut at more than one place.
    loop {
        if edited.as_bytes()[edited.len() - rest..] == xml.as_bytes()[xml.len() - rest..] {
            return xml.len() > edited.len();
        }
        match rest < edited.len() {
            true => rest += 1,
            false => return false,
        }
    }
}
