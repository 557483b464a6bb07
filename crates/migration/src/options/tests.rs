use proptest::prelude::*;

use super::*;

fn wrong(options: Options) -> String {
    options.check().unwrap_err().to_string()
}

fn on(initial: u32, increment: u32) -> Option<AutoConverge> {
    Some(AutoConverge::On {
        initial: Some(initial),
        increment: Some(increment),
    })
}

fn copied(disks: &[&str]) -> Option<Storage> {
    Some(Storage::Copied {
        incremental: false,
        disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
    })
}

fn named(destination: &str) -> Option<Tls> {
    Some(Tls::On {
        destination: Some(destination.into()),
    })
}

/// All that goes together.
fn whole() -> Options {
    Options {
        bandwidth: Some(100),
        post_copy_bandwidth: Some(200),
        downtime_ms: Some(300),
        parallel: Some(4),
        auto_converge: on(20, 10),
        post_copy: Some(true),
        compression: Some(vec![Compression::Zstd]),
        tls: named("beta.example"),
        storage: copied(&["vda", "sdb"]),
        timeout: Some(Timeout {
            seconds: 600,
            action: TimeoutAction::PostCopy,
        }),
    }
}

#[test]
fn what_goes_together_may_be_asked_for() {
    assert_eq!(whole().check(), Ok(()));
    assert_eq!(Options::default().check(), Ok(()));
}

#[test]
fn each_number_has_its_bounds() {
    let base = Options::default;
    let each = [
        Options {
            bandwidth: Some(0),
            ..base()
        },
        Options {
            post_copy_bandwidth: Some(1 << 21),
            ..whole()
        },
        Options {
            downtime_ms: Some(0),
            ..base()
        },
        Options {
            downtime_ms: Some(2_000_001),
            ..base()
        },
        Options {
            parallel: Some(256),
            ..base()
        },
        Options {
            auto_converge: on(0, 10),
            ..base()
        },
        Options {
            auto_converge: on(20, 100),
            ..base()
        },
        Options {
            timeout: Some(Timeout {
                seconds: 0,
                action: TimeoutAction::Cancel,
            }),
            ..base()
        },
        Options {
            storage: copied(&["vda"; 65]),
            ..base()
        },
    ];
    let told: Vec<String> = each.into_iter().map(wrong).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    the bandwidth is not 1 to 1,048,576 MiB/s
    the bandwidth after the switch to post-copy is not 1 to 1,048,576 MiB/s
    the downtime is not 1 to 2,000,000 ms
    the downtime is not 1 to 2,000,000 ms
    the number of parallel connections is not 0 to 255
    auto-converge's first step is not 1 to 99 per cent
    auto-converge's next step is not 1 to 99 per cent
    the timeout is not 1 to 86,400 s
    the number of disks is not 0 to 64
    ");
}

#[test]
fn what_does_not_go_together_is_said_with_who_says_so() {
    let base = Options::default;
    let methods = |methods: &[Compression]| Some(methods.to_vec());
    let switches = Some(Timeout {
        seconds: 9,
        action: TimeoutAction::PostCopy,
    });
    let each = [
        Options {
            parallel: Some(2),
            compression: methods(&[Compression::Xbzrle]),
            ..base()
        },
        Options {
            compression: methods(&[Compression::Xbzrle, Compression::Xbzrle]),
            ..base()
        },
        Options {
            parallel: Some(2),
            compression: methods(&[Compression::Zlib, Compression::Zstd]),
            ..base()
        },
        Options {
            post_copy: Some(true),
            compression: methods(&[Compression::Mt]),
            ..base()
        },
        Options {
            compression: methods(&[Compression::Zstd]),
            ..base()
        },
        Options {
            parallel: Some(0),
            compression: methods(&[Compression::Zstd]),
            ..base()
        },
        Options {
            post_copy_bandwidth: Some(1),
            ..base()
        },
        Options {
            post_copy: Some(false),
            timeout: switches,
            ..base()
        },
    ];
    let told: Vec<String> = each.into_iter().map(wrong).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    compression by xbzrle or mt does not go with parallel connections: libvirt refuses it
    a way of compression does not go with itself: it is named twice
    one way of compression does not go with another: libvirt takes one alone in parallel connections
    compression by mt does not go with post-copy: QEMU refuses it
    compression by zlib or zstd needs parallel connections
    compression by zlib or zstd needs parallel connections
    the bandwidth after the switch to post-copy needs post-copy
    a timeout that switches to post-copy needs post-copy
    ");
}

#[test]
fn words_that_go_to_libvirt_are_plain() {
    for disk in ["", "../vda", "vda\n", "vd a", &"v".repeat(33)] {
        let told = wrong(Options {
            storage: copied(&["vda", disk]),
            ..Options::default()
        });
        assert!(
            told.ends_with("is not a disk's name in a domain, as `vda`") && !told.contains('\n'),
            "{told}"
        );
    }
    for name in ["", "beta\u{7}", "beta/../x", &"b".repeat(254)] {
        let told = wrong(Options {
            tls: named(name),
            ..Options::default()
        });
        assert!(
            told.ends_with("is not a name in a certificate") && !told.contains('\u{7}'),
            "{told}"
        );
    }
}

#[test]
fn a_request_wins_over_the_defaults_one_by_one() {
    let asked = Options {
        bandwidth: Some(7),
        post_copy: Some(false),
        timeout: Some(Timeout {
            seconds: 5,
            action: TimeoutAction::Cancel,
        }),
        tls: Some(Tls::Off),
        ..Options::default()
    };
    let made = asked.or(&whole());
    assert_eq!(
        (made.bandwidth, made.downtime_ms, made.post_copy),
        (Some(7), Some(300), Some(false))
    );
    assert_eq!((made.tls, made.parallel), (Some(Tls::Off), Some(4)));
    assert_eq!(Options::default().or(&whole()), whole());
}

#[test]
fn post_copy_switches_after_the_first_pass_unless_a_timeout_says_when() {
    let plain = Options {
        post_copy: Some(true),
        ..Options::default()
    };
    assert!(plain.switches_after_first_pass());
    assert!(!whole().switches_after_first_pass());
    assert!(!Options::default().switches_after_first_pass());
}

fn some<T: Clone + std::fmt::Debug + 'static>(
    of: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    proptest::option::of(of).boxed()
}

fn any_options() -> impl Strategy<Value = Options> {
    let percent = || proptest::option::of(0_u32..=101);
    let converge = prop_oneof![
        Just(AutoConverge::Off),
        (percent(), percent()).prop_map(|(initial, increment)| AutoConverge::On { initial, increment }),
    ];
    let methods = proptest::collection::vec(proptest::sample::select(&Compression::ALL[..]), 0..4);
    let tls = prop_oneof![
        Just(Tls::Off),
        proptest::option::of("[a-z.]{1,6}").prop_map(|destination| Tls::On { destination })
    ];
    let disks = proptest::collection::vec("[a-z]{1,4}", 0..4);
    let storage = prop_oneof![
        Just(Storage::Shared),
        (any::<bool>(), disks).prop_map(|(incremental, disks)| Storage::Copied { incremental, disks }),
    ];
    let action = proptest::sample::select(vec![
        TimeoutAction::Cancel,
        TimeoutAction::Suspend,
        TimeoutAction::PostCopy,
    ]);
    let timeout = (0_u64..=86_401, action).prop_map(|(seconds, action)| Timeout { seconds, action });
    let numbers = (
        some(0_u64..=1 << 21),
        some(0_u64..=1 << 21),
        some(0_u64..=2_000_001),
        some(0_u32..=256),
    );
    let rest = (
        some(converge),
        some(any::<bool>()),
        some(methods),
        some(tls),
        some(storage),
        some(timeout),
    );
    (numbers, rest).prop_map(|(numbers, rest)| Options {
        bandwidth: numbers.0,
        post_copy_bandwidth: numbers.1,
        downtime_ms: numbers.2,
        parallel: numbers.3,
        auto_converge: rest.0,
        post_copy: rest.1,
        compression: rest.2,
        tls: rest.3,
        storage: rest.4,
        timeout: rest.5,
    })
}

proptest! {
    /// What passes keeps every bound that libvirt and QEMU have, whatever else was asked for.
    #[test]
    fn what_passes_is_within_the_bounds(options in any_options()) {
        if options.check().is_err() {
            return Ok(());
        }
        prop_assert!(options.bandwidth.is_none_or(|rate| rate > 0 && rate <= 1 << 20));
        prop_assert!(options.downtime_ms.is_none_or(|ms| ms > 0 && ms <= 2_000_000));
        prop_assert!(options.parallel.is_none_or(|connections| connections < 256));
        if let Some(AutoConverge::On { initial, increment }) = options.auto_converge {
            prop_assert!([initial, increment].into_iter().flatten().all(|step| (1..100).contains(&step)));
        }
        prop_assert!(options.post_copies() || options.post_copy_bandwidth.is_none());
        let methods = options.compression.clone().unwrap_or_default();
        match options.connections() {
            Some(_) => prop_assert!(methods.len() < 2 && !methods.contains(&Compression::Xbzrle)),
            None => prop_assert!(!methods.contains(&Compression::Zlib) && !methods.contains(&Compression::Zstd)),
        }
    }

    /// The record keeps them as they were asked for, so that a daemon that starts again does the same.
    #[test]
    fn the_record_has_all_of_them(options in any_options()) {
        let text = serde_json::to_string(&options).unwrap();
        prop_assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
    }
}
