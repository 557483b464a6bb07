use super::*;

/// As libvirt 11.3 prints a running guest, with a VF in each of the two forms.
pub(in super::super) const LIVE: &str = include_str!("web-1-live.xml");

fn pci(text: &str) -> PciAddress {
    text.parse().unwrap()
}

#[test]
fn a_live_domain_is_read() {
    let domain = DomainDevices::parse(LIVE).unwrap();
    assert_eq!(
        (domain.name.as_str(), domain.machine.as_str()),
        ("web-1", "pc-q35-10.0")
    );
    assert_eq!(domain.uuid.to_string(), "7d2f3c6e-52ab-4a0e-9f6e-0c5a4b1d2e3f");
    assert_eq!(domain.memory_kib, 192 << 10);
    let mac: MacAddress = "52:54:00:aa:00:10".parse().unwrap();
    let standby = Nic {
        alias: Some("ua-net0".into()),
        mac,
        model: Some("virtio".into()),
        driver: None,
        source: Some("br0".into()),
        tap: Some("vnet3".into()),
        teaming: Some(Teaming::Persistent),
        guest_address: Some(pci("0000:00:02.0")),
    };
    assert_eq!(domain.nics, [standby]);
    assert_eq!(
        domain.disks,
        [Disk {
            target: "vda".into(),
            shareable: true,
            readonly: false
        }]
    );
}

#[test]
fn vfs_are_found_in_both_forms() {
    let domain = DomainDevices::parse(LIVE).unwrap();
    let [interface, plain] = &domain.hostdevs[..] else {
        panic!("{:?}", domain.hostdevs)
    };
    assert_eq!(plain, domain.hostdev("ua-godwit-0").unwrap());
    assert_eq!(
        (plain.host_address, plain.guest_address),
        (pci("0000:01:10.0"), Some(pci("0000:03:00.0")))
    );
    assert_eq!((&plain.form, plain.managed), (&HostDevForm::Plain, false));
    assert_eq!(interface, domain.hostdev("hostdev0").unwrap());
    assert_eq!(interface.host_address, pci("0000:02:10.2"));
    assert!(interface.managed);
    assert!(matches!(&interface.form, HostDevForm::Interface { mac } if mac.bytes()[5] == 0x10));
    assert_eq!(
        interface.teaming,
        Some(Teaming::Transient {
            standby: "ua-net0".into()
        })
    );
}

#[test]
fn channels_say_whether_the_guest_listens() {
    let domain = DomainDevices::parse(LIVE).unwrap();
    let [agent, other] = &domain.channels[..] else {
        panic!("{:?}", domain.channels)
    };
    assert_eq!(
        agent.path.as_deref(),
        Some("/run/libvirt/qemu/channel/3-web-1/org.godwit.agent.0")
    );
    assert!(agent.connected);
    assert_eq!(
        (other.name.as_str(), &other.path, other.connected),
        ("org.qemu.guest_agent.0", &None, false)
    );
}

/// Of five ports three are taken and one cannot be plugged into; the VFs' *host* addresses count for nothing.
#[test]
fn free_ports_are_counted() {
    assert_eq!(DomainDevices::parse(LIVE).unwrap().free_root_ports, 1);
}

#[test]
fn what_is_not_a_domain_is_refused() {
    for (text, says) in [
        ("", "cannot be read"),
        ("<network/>", "no domain element"),
        ("<domain><name>x</name></domain>", "no devices"),
        ("<domain><devices/></domain>", "no name"),
        (
            "<domain><name>x</name><uuid>1</uuid><devices/></domain>",
            "no valid uuid",
        ),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>", "cannot be read"),
    ] {
        let found = DomainDevices::parse(text).unwrap_err().to_string();
        assert!(found.contains(says), "{text}: {found}");
    }
}

#[test]
fn memory_comes_in_units() {
    let with = |unit: &str| {
        LIVE.replacen(
            "<memory unit='KiB'>196608",
            &format!("<memory unit='{unit}'>192"),
            1,
        )
    };
    assert_eq!(DomainDevices::parse(&with("MiB")).unwrap().memory_kib, 192 << 10);
    assert_eq!(DomainDevices::parse(&with("G")).unwrap().memory_kib, 192 << 20);
    // One of libvirt's own tests has such a one.
    for unit in ["gib", "GIB", "g"] {
        assert_eq!(
            DomainDevices::parse(&with(unit)).unwrap().memory_kib,
            192 << 20,
            "{unit}"
        );
    }
    assert_eq!(
        DomainDevices::parse(&with("TB")).unwrap().memory_kib,
        187_500_000_000
    );
    assert_eq!(
        DomainDevices::parse(&with("EiB")).unwrap().memory_kib,
        u64::MAX >> 10
    );
    for unit in ["", "kibi", "ib", "x", "ü", "bb"] {
        assert!(DomainDevices::parse(&with(unit)).is_err(), "{unit}");
    }
    assert!(DomainDevices::parse(&with("pages")).is_err());
}

#[test]
fn aliases_of_all_devices_are_known() {
    for alias in ["ua-godwit-0", "hostdev0", "channel0", "ua-net0"] {
        assert!(has_alias(LIVE, alias), "{alias}");
    }
    assert!(!has_alias(LIVE, "ua-godwit-1"));
    assert!(has_alias("<domain>", "x"), "not known not to be there");
}
