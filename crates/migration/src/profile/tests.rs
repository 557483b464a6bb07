use super::*;

/// Another value than neutral in every setting.
fn whole() -> Profile {
    Profile {
        vlan: Vlan::new(100, 3, true).unwrap(),
        spoofchk: false,
        trust: true,
        rate: Rate { min: 10, max: 500 },
        link: LinkState::Up,
        rss_query: true,
    }
}

fn igb() -> Option<&'static Driver> {
    Driver::named("igb")
}

#[test]
fn every_setting_is_compared_and_told() {
    let differences = Profile::default().differences(&whole(), None);
    let settings: Vec<Setting> = differences.iter().map(|one| one.setting).collect();
    assert_eq!(settings, Setting::ALL);
    assert_eq!(
        told(&differences),
        "VLAN 100 with priority 3 instead of no VLAN, a tag of 802.1ad instead of a tag of 802.1Q, \
         trust on instead of trust off, spoof check off instead of spoof check on, \
         at least 10 Mbit/s instead of no guaranteed rate, at most 500 Mbit/s instead of no limit of the rate, \
         link up instead of link auto, RSS query on instead of RSS query off"
    );
    assert_eq!(whole().differences(&whole(), igb()), []);
    // A priority without a VLAN is a tag too.
    let priority = Profile {
        vlan: Vlan::new(0, 5, false).unwrap(),
        ..Profile::default()
    };
    assert_eq!(priority.tell(Setting::Vlan), "VLAN 0 with priority 5");
}

#[test]
fn igb_is_asked_for_what_it_has_and_told_to_lack_the_rest() {
    let asked = whole().on(igb());
    let known = Profile {
        vlan: Vlan::new(100, 3, false).unwrap(),
        rate: Rate { min: 0, max: 500 },
        link: LinkState::Auto,
        rss_query: false,
        ..whole()
    };
    assert_eq!(asked, known);
    assert_eq!(whole().on(None), whole());
    let differences = whole().differences(&asked, igb());
    let settings: Vec<Setting> = differences.iter().map(|one| one.setting).collect();
    assert_eq!(settings, igb().unwrap().lacks);
    for difference in &differences {
        assert_eq!(difference.because, "the driver igb has no such setting");
    }
}

/// A guest that stays a while on a host with igb comes back with its link state, and with what was changed meanwhile.
#[test]
fn what_a_driver_lacks_is_remembered() {
    let live = Profile {
        trust: false,
        ..whole().on(igb())
    };
    let seen = live.seen(igb(), Some(&whole()));
    assert_eq!(
        seen,
        Profile {
            trust: false,
            ..whole()
        }
    );
    assert_eq!(live.seen(igb(), None), live);
    assert_eq!(live.seen(None, Some(&whole())), live);
}

#[test]
fn what_separates_guests_is_an_error_and_the_rest_a_warning() {
    let all = || whole().differences(&Profile::default(), None);
    let of = |differences: Vec<Difference>| -> Vec<Setting> {
        differences.into_iter().map(|one| one.setting).collect()
    };
    let (wrong, lacking) = MustMatch::default().divide(all());
    use Setting::*;
    assert_eq!(of(wrong), [Vlan, VlanProtocol, Trust, Spoofchk]);
    assert_eq!(of(lacking), [MinTxRate, MaxTxRate, LinkState, RssQuery]);
    let (wrong, lacking) = MustMatch(vec![MaxTxRate]).divide(all());
    assert_eq!((of(wrong), lacking.len()), (vec![MaxTxRate], 7));
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert_eq!(Vlan::new(4096, 0, false), Err(BadProfile::Vlan(4096)));
    assert_eq!(Vlan::new(65_636, 0, false), Err(BadProfile::Vlan(65_636)));
    assert_eq!(Vlan::new(1, 8, false), Err(BadProfile::Priority(8)));
    assert_eq!(Vlan::new(1, 256, false), Err(BadProfile::Priority(256)));
    assert_eq!(
        Vlan::new(0, 0, true),
        Ok(Vlan::default()),
        "untagged has no protocol"
    );
    assert_eq!(Vlan::new(4095, 7, true).map(|vlan| vlan.service_tag), Ok(true));
}

/// What a later Godwit adds is ignored, and what an earlier one did not write is neutral.
#[test]
fn journals_of_other_versions_are_read() {
    let text = serde_json::to_string(&whole()).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), whole());
    let newer = text.replacen('{', "{\"colour\":\"red\",", 1);
    assert_eq!(serde_json::from_str::<Profile>(&newer).unwrap(), whole());
    assert_eq!(serde_json::from_str::<Profile>("{}").unwrap(), Profile::default());
}
