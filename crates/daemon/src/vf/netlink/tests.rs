use rtnetlink::packet_core::Parseable;

use super::*;

fn vf(index: u32) -> VfName {
    VfName {
        pf: "pf0".into(),
        index,
        address: "0000:01:10.2".parse().unwrap(),
    }
}

/// Another value than neutral in every setting.
fn whole() -> Profile {
    Profile {
        vlan: Vlan::new(100, 5, true).unwrap(),
        spoofchk: false,
        trust: true,
        rate: Rate { min: 10, max: 1000 },
        link: LinkState::Down,
        rss_query: true,
    }
}

/// An attribute of netlink, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute of numbers.
fn numbers(kind: u16, values: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    attribute(kind, &bytes)
}

/// What `rtnl_fill_vfinfo` of Linux 6.12 writes of one VF, as far as it is read: `[VLAN, priority]`, TPID, `[least, most]`
/// and the values of spoof check, link state, RSS query and trust. `u32::MAX`: the driver does not tell.
fn kernel_entry(
    index: u32,
    mac: [u8; 6],
    vlan: ([u32; 2], u16),
    rate: [u32; 2],
    values: [u32; 4],
) -> Vec<u8> {
    let [spoofchk, link, rss_query, trust] = values;
    let ([id, priority], tpid) = vlan;
    let mut padded = index.to_ne_bytes().to_vec();
    padded.extend(mac);
    padded.resize(36, 0);
    let mut tagged: Vec<u8> = [index, id, priority]
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    tagged.extend(tpid.to_be_bytes());
    tagged.extend([0; 2]);
    let all = [
        attribute(1, &padded),
        attribute(13, &[0xff; 32]),
        numbers(2, &[index, id, priority]),
        numbers(6, &[index, rate[0], rate[1]]),
        numbers(3, &[index, rate[1]]),
        numbers(4, &[index, spoofchk]),
        numbers(5, &[index, link]),
        numbers(7, &[index, rss_query]),
        numbers(9, &[index, trust]),
        attribute(12, &attribute(1, &tagged)),
        // Newer than this program.
        numbers(77, &[index, 1]),
    ];
    attribute(1, &all.concat())
}

/// A whole answer about a PF with these VFs.
fn answer(entries: &[Vec<u8>]) -> Vec<u8> {
    // ifinfomsg: no family, an Ethernet device of index 2.
    let mut bytes = vec![0, 0, 1, 0, 2, 0, 0, 0];
    bytes.extend([0; 8]);
    bytes.extend(attribute(3, b"pf0\0"));
    bytes.extend(attribute(22, &entries.concat()));
    bytes
}

fn parsed(bytes: &[u8]) -> Option<Vec<(u32, Settings)>> {
    Some(settings_in(LinkMessage::parse(bytes).ok()?))
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 0xaa, 0, 0x10];

#[test]
fn the_kernels_bytes_are_read() {
    let silent = u32::MAX;
    let bytes = answer(&[
        // igb: says nothing of RSS query, and link state auto.
        kernel_entry(0, [0; 6], ([0, 0], 0x8100), [0, 0], [1, 0, silent, 0]),
        kernel_entry(3, MAC, ([100, 5], 0x88a8), [10, 1000], [0, 2, 1, 1]),
        // A driver that has MACs alone.
        kernel_entry(4, MAC, ([0, 0], 0x8100), [0, 0], [silent, 0, silent, silent]),
    ]);
    let mac = MacAddress::new(MAC).ok();
    let bare = Profile {
        spoofchk: false,
        ..Profile::default()
    };
    let settings = |mac, profile| Settings { mac, profile };
    assert_eq!(
        parsed(&bytes).unwrap(),
        [
            (0, settings(None, Profile::default())),
            (3, settings(mac, whole())),
            (4, settings(mac, bare)),
        ]
    );
    assert_eq!(parsed(&answer(&[])), Some(vec![]));
}

/// What `rtnl_fill_vfinfo` adds where statistics are not left out: received and sent packets, and more.
fn with_stats(index: u32, rx: u64, tx: u64) -> Vec<u8> {
    let stats = [
        attribute(0, &rx.to_ne_bytes()),
        attribute(1, &tx.to_ne_bytes()),
        attribute(2, &(rx * 100).to_ne_bytes()),
        attribute(3, &(tx * 100).to_ne_bytes()),
    ];
    let mut padded = index.to_ne_bytes().to_vec();
    padded.extend(MAC);
    padded.resize(36, 0);
    attribute(
        1,
        &[attribute(1, &padded), attribute(8, &stats.concat())].concat(),
    )
}

#[test]
fn what_a_vf_has_sent_is_read() {
    let bytes = answer(&[
        with_stats(3, 70, 7),
        with_stats(4, 80, 8),
        kernel_entry(5, MAC, ([0, 0], 0x8100), [0, 0], [1, 0, 0, 0]),
    ]);
    let sent = |index| sent_in(LinkMessage::parse(&bytes[..]).unwrap(), index);
    assert_eq!([3, 4, 5, 6].map(sent), [Some(7), Some(8), None, None]);
    for cut in 0..bytes.len() {
        let _ = LinkMessage::parse(&bytes[..cut]).map(|message| sent_in(message, 4));
    }
}

/// Whatever bytes come, nothing panics, and what no VF can have is not told.
#[test]
fn garbage_is_refused_or_left_out() {
    let entry = || kernel_entry(3, MAC, ([100, 5], 0x88a8), [10, 1000], [0, 2, 1, 1]);
    let bytes = answer(&[entry(), entry()]);
    for cut in 0..bytes.len() {
        let _ = parsed(&bytes[..cut]);
        for value in [0, 1, 0x7f, 0xff, bytes[cut].wrapping_add(1)] {
            let mut changed = bytes.clone();
            changed[cut] = value;
            for (_, found) in parsed(&changed).into_iter().flatten() {
                let vlan = found.profile.vlan;
                assert!(vlan.id <= 4095 && vlan.priority <= 7, "{vlan:?}");
            }
        }
    }
    let vlan = |id, priority| {
        parsed(&answer(&[kernel_entry(
            1,
            MAC,
            ([id, priority], 0x8100),
            [0, 0],
            [0; 4],
        )]))
        .unwrap()
    };
    assert_eq!(vlan(4095, 7).len(), 1);
    assert_eq!(vlan(4096, 0), []);
    assert_eq!(vlan(65_636, 0), []);
    assert_eq!(vlan(100, 8), []);
}

#[test]
fn all_zeros_is_no_mac() {
    let (_, found) = read(&[VfInfo::Mac(VfInfoMac::new(0, &[0; 6]))]).unwrap();
    assert_eq!(found.mac, None);
    assert_eq!(
        Change::Mac(None).message(0),
        VfInfo::Mac(VfInfoMac::new(0, &[0; 6]))
    );
    assert_eq!(read(&[]), None, "an entry without index");
    assert_eq!(read(&[VfInfo::Trust(VfInfoTrust::new(0, true))]), None);
}

#[test]
fn every_change_is_found_again_in_what_the_kernel_would_say() {
    let tagged = Profile {
        vlan: Vlan::new(7, 1, false).unwrap(),
        link: LinkState::Up,
        ..whole()
    };
    let mac = Change::Mac(MacAddress::new(MAC).ok());
    for profile in [whole(), tagged, Profile::default()] {
        for change in Change::of(&profile).into_iter().chain([mac]) {
            let (_, found) = read(&[VfInfo::Mac(VfInfoMac::new(2, &[0; 6])), change.message(2)]).unwrap();
            assert!(change.is_in(&found), "{change}");
            change.check(&vf(2), &found).unwrap();
        }
    }
}

/// Each setting of a profile is set by one message, and none by the MAC's.
#[test]
fn every_setting_has_its_message_and_the_mac_is_not_among_them() {
    for setting in Setting::ALL {
        let sets = |change: &&Change| change.sets(setting);
        assert_eq!(Change::of(&whole()).iter().filter(sets).count(), 1, "{setting:?}");
        assert!(!Change::Mac(None).sets(setting));
    }
}

#[test]
fn errors_name_the_vf_and_the_setting() {
    let refused = |errno: i32| VfError::Refused {
        vf: vf(1),
        setting: Change::Trust(true).to_string(),
        source: io::Error::from_raw_os_error(errno),
    };
    assert!(refused(95).is_unsupported() && !refused(95).is_passing());
    assert!(!refused(22).is_unsupported() && !refused(22).is_passing());
    assert!(refused(11).is_passing() && refused(16).is_passing());
    assert_eq!(
        refused(22).to_string(),
        "VF 1 of pf0 (0000:01:10.2): the driver of pf0 refused trust on: Invalid argument (os error 22)"
    );
    assert_eq!(
        refused(22).refusal(),
        "the driver of pf0 refused it: Invalid argument (os error 22)"
    );
    let settings = Settings {
        mac: MacAddress::new(MAC).ok(),
        profile: Profile::default(),
    };
    assert_eq!(
        Change::Mac(None)
            .check(&vf(1), &settings)
            .unwrap_err()
            .to_string(),
        "VF 1 of pf0 (0000:01:10.2): no MAC was set and reads back as MAC 52:54:00:aa:00:10"
    );
    let told: Vec<String> = Change::of(&whole()).iter().map(Change::to_string).collect();
    assert_eq!(
        told,
        [
            "VLAN 100 with priority 5 and a tag of 802.1ad",
            "trust on",
            "spoof check off",
            "at least 10 Mbit/s and at most 1000 Mbit/s",
            "link down",
            "RSS query on"
        ]
    );
}

#[tokio::test]
async fn an_interface_without_vfs_has_no_settings_and_a_missing_one_is_named() {
    let netlink = Netlink::open("lo").unwrap();
    assert_eq!(netlink.settings("lo").await.unwrap(), []);
    let missing = netlink.settings("no-such-pf").await.unwrap_err();
    assert!(
        matches!(&missing, VfError::NoPf { pf, .. } if pf == "no-such-pf"),
        "{missing}"
    );
}

#[test]
fn bytes_are_those_of_the_vf_and_zeros_are_no_count() {
    let vf = |index: u32, bytes| {
        LinkVfInfo(vec![
            VfInfo::Mac(VfInfoMac::new(index, &[0; 6])),
            VfInfo::Stats(vec![VfStats::TxBytes(9), VfStats::RxBytes(bytes)]),
        ])
    };
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::VfInfoList(vec![vf(0, 7), vf(1, 0)]));
    assert_eq!(received_in(message.clone(), 0), Some(7));
    assert_eq!(received_in(message.clone(), 1), None);
    assert_eq!(received_in(message, 2), None);
}
