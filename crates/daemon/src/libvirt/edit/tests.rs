use super::*;
use crate::libvirt::xml::{HostDevForm, Teaming, tests::LIVE};

const WISH: &str = "<godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"1\"/>";

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_hostdev_goes_and_nothing_else_changes() {
    let edited = without_hostdevs(LIVE, |device| device.alias.as_deref() == Some("ua-godwit-0")).unwrap();
    let (before, after) = (lines(LIVE), lines(&edited));
    let start = before
        .iter()
        .position(|line| line.contains("<hostdev mode='subsystem' type='pci'"))
        .unwrap();
    assert_eq!(after.len(), before.len() - 8);
    assert_eq!(after[..start], before[..start]);
    assert_eq!(after[start..], before[start + 8..]);
}

#[test]
fn both_forms_can_be_taken_out() {
    let none = without_hostdevs(LIVE, |_| true).unwrap();
    assert_eq!(DomainDevices::parse(&none).unwrap().hostdevs, []);
    assert!(none.contains("type='usb'"), "not a PCI device");
    let plain = without_hostdevs(LIVE, |device| device.form != HostDevForm::Plain).unwrap();
    assert_eq!(DomainDevices::parse(&plain).unwrap().hostdevs.len(), 1);
    assert_eq!(without_hostdevs(LIVE, |_| false).unwrap(), LIVE);
}

#[test]
fn metadata_stands_beside_that_of_others() {
    let first = with_metadata(LIVE, WISH).unwrap();
    assert!(first.contains("libosinfo:os id"));
    assert_eq!(metadata_in(&first).unwrap().as_deref(), Some(WISH));
    let second = WISH.replace("version", "policy='require' version");
    let replaced = with_metadata(&first, &second).unwrap();
    assert_eq!(metadata_in(&replaced).unwrap().as_deref(), Some(second.as_str()));
    assert_eq!(
        replaced.len() - first.len(),
        second.len() - WISH.len(),
        "replaced, not added"
    );
}

#[test]
fn metadata_finds_a_place_in_any_domain() {
    for (xml, place) in [
        (
            "<domain><name>x</name><uuid>u</uuid></domain>",
            "</uuid>\n  <metadata><godwit",
        ),
        ("<domain><name>x</name></domain>", "</name>\n  <metadata><godwit"),
        (
            "<domain><name>x</name><metadata/></domain>",
            "</name><metadata><godwit",
        ),
        (
            "<domain><name>x</name><metadata></metadata></domain>",
            "</name><metadata><godwit",
        ),
        (
            "<domain><name>x</name><metadata><a/></metadata></domain>",
            "<metadata><godwit",
        ),
        (
            "<domain><name>x</name><metadata><!-- c --></metadata></domain>",
            "/><!-- c --></metadata>",
        ),
    ] {
        let edited = with_metadata(xml, WISH).unwrap();
        assert!(edited.contains(place), "{edited}");
    }
    assert!(with_metadata("<network/>", WISH).is_err());
    assert!(with_metadata("<domain><name>x</name></domain>", "<guest/>").is_err());
    assert!(with_metadata("<domain><name>x</name></domain>", "<guest").is_err());
}

#[test]
fn metadata_is_found_wherever_its_namespace_is_declared() {
    let text = "<domain xmlns:g='urn:godwit:domain:1'><metadata><g:guest version='1'/></metadata></domain>";
    let found = metadata_in(text).unwrap().unwrap();
    assert_eq!(found, "<g:guest xmlns:g=\"urn:godwit:domain:1\" version='1'/>");
    assert_eq!(
        metadata_in("<domain><metadata><guest/></metadata></domain>").unwrap(),
        None
    );
    assert_eq!(metadata_in("<domain/>").unwrap(), None);
}

#[test]
fn a_plug_reads_back_as_written() {
    let (host, guest) = ("0000:3b:1f.7".parse().unwrap(), "0000:05:00.0".parse().unwrap());
    let text = hostdev_xml(host, "ua-a'<&b", Some(guest), None);
    let domain = LIVE.replace("</devices>", &format!("{text}</devices>"));
    let domain = DomainDevices::parse(&domain).unwrap();
    let device = domain.hostdev("ua-a'<&b").unwrap();
    assert_eq!((device.host_address, device.guest_address), (host, Some(guest)));
    assert_eq!((device.managed, &device.form), (false, &HostDevForm::Plain));
    assert_eq!(device.teaming, None);
    assert!(!hostdev_xml(host, "ua-x", None, None).contains("type='pci' domain"));
    // One half of a pair of libvirt's own.
    let text = hostdev_xml(host, "ua-x", None, Some("ua-'net0"));
    let domain = DomainDevices::parse(&LIVE.replace("</devices>", &format!("{text}</devices>"))).unwrap();
    let standby = "ua-'net0".to_owned();
    assert_eq!(
        domain.hostdev("ua-x").unwrap().teaming,
        Some(Teaming::Transient { standby })
    );
}
