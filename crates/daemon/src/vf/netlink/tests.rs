use netlink_packet_route::link::{VfInfoLinkState, VfInfoRssQueryEn};

use super::*;

fn vf(index: u32) -> VfName {
    VfName {
        pf: "pf0".into(),
        index,
        address: "0000:01:10.2".parse().unwrap(),
    }
}

#[test]
fn the_kernels_list_is_read() {
    let infos = [
        VfInfo::Mac(VfInfoMac::new(3, &[0x52, 0x54, 0, 0xaa, 0, 0x10])),
        VfInfo::Vlan(VfInfoVlan::new(3, 100, 5)),
        VfInfo::VlanList(vec![VfVlan::Info(VfVlanInfo::new(
            3,
            100,
            5,
            VlanProtocol::Ieee8021Ad,
        ))]),
        VfInfo::SpoofCheck(VfInfoSpoofCheck::new(3, true)),
        VfInfo::Trust(VfInfoTrust::new(3, true)),
        VfInfo::Rate(VfInfoRate::new(3, 10, 1000)),
        VfInfo::LinkState(VfInfoLinkState::new(3, VfLinkState::Disable)),
        VfInfo::RssQueryEn(VfInfoRssQueryEn::new(3, true)),
    ];
    let (index, found) = read(&infos).unwrap();
    let vlan = Vlan {
        id: 100,
        qos: 5,
        service_tag: true,
    };
    let profile = Profile {
        vlan,
        spoofchk: true,
        trust: true,
        min_tx_rate: 10,
        max_tx_rate: 1000,
    };
    let mac = "52:54:00:aa:00:10".parse().ok();
    assert_eq!(
        (index, found),
        (
            3,
            Settings {
                mac,
                profile,
                link: LinkState::Down,
                rss_query: true
            }
        )
    );
}

#[test]
fn all_zeros_is_no_mac() {
    let (_, found) = read(&[VfInfo::Mac(VfInfoMac::new(0, &[0; 6]))]).unwrap();
    assert_eq!(found.mac, None);
    assert_eq!(
        Setting::Mac(None).message(0),
        VfInfo::Mac(VfInfoMac::new(0, &[0; 6]))
    );
    assert_eq!(read(&[]), None, "an entry without index");
}

#[test]
fn every_setting_is_found_again_in_what_the_kernel_would_say() {
    let profile = Profile {
        vlan: Vlan {
            id: 7,
            qos: 1,
            service_tag: false,
        },
        spoofchk: false,
        trust: true,
        min_tx_rate: 0,
        max_tx_rate: 500,
    };
    let mac = Setting::Mac("52:54:00:aa:00:10".parse().ok());
    for setting in Setting::of(&profile).into_iter().chain([mac]) {
        let (_, found) = read(&[VfInfo::Mac(VfInfoMac::new(2, &[0; 6])), setting.message(2)]).unwrap();
        assert_eq!(setting.found_in(&found), setting, "{setting}");
    }
}

#[test]
fn errors_name_the_vf_and_the_setting() {
    let refused = |errno: i32| VfError::Refused {
        vf: vf(1),
        setting: Setting::Trust(true).to_string(),
        source: io::Error::from_raw_os_error(errno),
    };
    assert!(refused(95).is_unsupported());
    assert!(!refused(22).is_unsupported());
    assert_eq!(
        refused(22).to_string(),
        "VF 1 of pf0 (0000:01:10.2): the driver of pf0 refused trust on: Invalid argument (os error 22)"
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
