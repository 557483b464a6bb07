//! The options and the rate of a transfer.

use super::*;

#[test]
fn options_that_the_host_cannot_do_are_found_before_the_vf_is_taken() {
    let both = Options {
        post_copy: Some(true),
        parallel: Some(2),
        ..Options::default()
    };
    let newer = |versions: &mut Fact<Versions>| versions.as_mut().unwrap().qemu = Version(10, 1, 0);
    assert_eq!(
        goes(both.clone(), |_, here| newer(&mut here.versions.1)),
        "Error TRANSFER_OPTION: post-copy and parallel connections together need QEMU 10.1.0, and alpha has 10.0.2"
    );
    let newest = goes(both, |_, here| {
        newer(&mut here.versions.0);
        newer(&mut here.versions.1);
    });
    assert_eq!(newest, "");
    let mt = Options {
        compression: Some(vec![Compression::Mt]),
        ..Options::default()
    };
    assert!(goes(mt, |_, _| {}).contains("compression by mt is gone since QEMU 9.1.0"));
    let zstd = Options {
        parallel: Some(2),
        compression: Some(vec![Compression::Zstd]),
        ..Options::default()
    };
    assert_eq!(goes(zstd.clone(), |_, _| {}), "");
    let old = goes(zstd, |_, here| {
        here.versions.0.as_mut().unwrap().libvirt = Version(9, 0, 0)
    });
    assert!(old.contains("needs libvirt 9.4.0, and alpha has 9.0.0"), "{old}");
    let tls = Options {
        tls: Some(Tls::On { destination: None }),
        ..Options::default()
    };
    let bare = |here: &mut LeavingFacts| here.certificates = Ok(Some("/etc/pki/qemu/ca-cert.pem".into()));
    assert!(goes(tls, |_, here| bare(here)).starts_with("Error TRANSFER_TLS: "));
    assert_eq!(goes(Options::default(), |_, here| bare(here)), "");
    // The other side needs them as well.
    for (tls, told) in [(true, true), (false, false)] {
        let found = comes(|needs, there| {
            needs.tls = tls;
            there.certificates = Ok(Some("/etc/pki/qemu/server-cert.pem".into()));
        });
        assert_eq!(found.starts_with("Error TRANSFER_TLS: "), told, "{found}");
        assert!(!told || found.contains("QEMU on beta has no"), "{found}");
    }
}

#[test]
fn a_transfer_that_would_not_end_is_told_unless_something_is_done_about_it() {
    let limited = |bandwidth| Options {
        bandwidth: Some(bandwidth),
        ..Options::default()
    };
    assert_eq!(
        goes(limited(60), |_, _| {}),
        "Warning SLOW_TO_CONVERGE: guest `web-1` writes 60 MiB/s (its VF receives 10 of them), and 60 MiB/s can be sent"
    );
    assert_eq!(goes(limited(61), |_, _| {}), "");
    let slowed = Options {
        auto_converge: Some(AutoConverge::On {
            initial: None,
            increment: None,
        }),
        ..limited(60)
    };
    assert_eq!(goes(slowed, |_, _| {}), "");
}

/// Without a limit it is judged by what is known of the way, and said so; where nothing is, that is told.
#[test]
fn without_a_limit_it_is_told_by_what_a_transfer_is_judged() {
    let writes = |here: &mut LeavingFacts, written| {
        here.pages = Ok(Pages {
            written,
            received: Some(0),
        });
    };
    let told = |written| goes(Options::default(), |_, here| writes(here, written));
    assert_eq!(told(GIB - 1), "");
    assert_eq!(
        told(GIB),
        "Warning SLOW_TO_CONVERGE: guest `web-1` writes 1024 MiB/s (its VF receives 0 of them), and 1024 MiB/s can be sent (so fast was the newest)"
    );
    let limited = Options {
        bandwidth: Some(2048),
        ..Options::default()
    };
    assert_eq!(goes(limited.clone(), |_, here| writes(here, GIB)), "");
    let unknown = |here: &mut LeavingFacts| here.carried = Err("eth0 does not tell its speed".into());
    assert_eq!(
        goes(Options::default(), |_, here| unknown(here)),
        "not known: how fast memory goes to beta: eth0 does not tell its speed; with --bandwidth it would be known"
    );
    assert_eq!(goes(limited, |_, here| unknown(here)), "");
}

#[test]
fn versions_of_both_hosts_are_judged() {
    let mt = Options {
        compression: Some(vec![Compression::Mt]),
        ..Options::default()
    };
    let new = "compression by mt is gone since QEMU 9.1.0";
    let both = goes(mt.clone(), |_, _| {});
    assert!(
        both.contains(&format!("Error TRANSFER_OPTION: {new}, and alpha has 10.0.2")),
        "{both}"
    );
    assert!(
        both.contains(&format!("Error TRANSFER_OPTION: {new}, and beta has 10.0.2")),
        "{both}"
    );
    let there = goes(mt, |_, here| {
        here.versions.0.as_mut().unwrap().qemu = Version(9, 0, 0)
    });
    assert_eq!(
        there,
        format!("Error TRANSFER_OPTION: {new}, and beta has 10.0.2")
    );
    let faulty = Versions {
        libvirt: Version(12, 1, 0),
        ..VERSIONS
    };
    for (host, versions) in [
        ("alpha", (Ok(faulty), Ok(VERSIONS))),
        ("beta", (Ok(VERSIONS), Ok(faulty))),
    ] {
        let told = goes(Options::default(), |_, here| here.versions = versions);
        assert!(
            told.starts_with(&format!("Warning LIBVIRT_FAULTY: {host}: libvirt is 12.1.0")),
            "{told}"
        );
    }
    let older = goes(Options::default(), |_, here| {
        here.versions.1 = Err("older".into())
    });
    assert_eq!(older, "not known: versions on beta: older");
}
