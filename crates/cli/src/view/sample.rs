//! Migrations and guests for the tests of the views.

use godwit_api::v1::{
    Acceleration, DoctorResponse, Failure, Finding, Guest, GuestPair, Hold, Host, Measurement, Migration,
    Moved, NotChecked, PairMeasurement, PairStatus, Phase, PhaseMeasurement, PhaseRecord, Policy, ProbeKind,
    Role, Severity, TransferProgress, Vf, VfCheck, VfLinkState, VfProfile, VfUsage,
};
use jiff::Timestamp;

const MIB: u64 = 1 << 20;

/// `ms` after the migrations began.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_323_045_067 + ms).unwrap()
}

fn wire(ms: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at(ms).as_second(),
        nanos: at(ms).subsec_nanosecond(),
    }
}

pub(crate) fn record(
    host: &str,
    phase: Phase,
    started: i64,
    ended: Option<i64>,
    detail: &str,
) -> PhaseRecord {
    PhaseRecord {
        host: host.into(),
        phase: phase.into(),
        started: Some(wire(started)),
        ended: ended.map(wire),
        failed: false,
        detail: detail.into(),
    }
}

/// In the middle of the transfer.
pub(crate) fn running() -> Migration {
    Migration {
        id: "0198c0de-1111-7222-8333-444455556666".into(),
        guest: "web-1".into(),
        guest_uuid: "11111111-2222-3333-4444-555555555555".into(),
        source: "alpha".into(),
        destination: "beta".into(),
        role: Role::Source.into(),
        phase: Phase::Transfer.into(),
        moved: Moved::Undecided.into(),
        acceleration: Acceleration::Standby.into(),
        standby_since: Some(wire(1_500)),
        because: "web-1 is being moved".into(),
        created: Some(wire(0)),
        timeline: vec![
            record("alpha", Phase::Reserve, 0, Some(412), "beta holds 0000:01:10.2"),
            record("alpha", Phase::FailOver, 412, Some(1_500), ""),
            record("alpha", Phase::Transfer, 1_500, None, ""),
        ],
        progress: Some(TransferProgress {
            memory_total_bytes: 512 * MIB,
            memory_processed_bytes: 300 * MIB,
            memory_remaining_bytes: 200 * MIB,
            bytes_per_second: 103_179_059,
            elapsed_ms: 3_200,
            downtime_ms: None,
            iteration: 2,
        }),
        pairs: vec![PairStatus {
            mac: "52:54:00:00:00:01".into(),
            pool: "blue".into(),
            source_vf: "0000:01:10.0".into(),
            destination_vf: "0000:01:10.2".into(),
        }],
        ..Migration::default()
    }
}

/// Of a move in which the unplug lost something.
pub(crate) fn measurement() -> Measurement {
    let phase = |phase: Phase, sent, lost, gap| PhaseMeasurement {
        phase: phase.into(),
        sent,
        answered: sent - lost,
        lost,
        duplicated: 0,
        longest_gap_ms: gap,
        lost_there: None,
        lost_back: None,
    };
    let open = PhaseMeasurement {
        answered: 46,
        duplicated: 2,
        ..phase(Phase::FailBack, 48, 0, 11)
    };
    Measurement {
        pairs: vec![PairMeasurement {
            mac: "52:54:00:00:00:01".into(),
            target: "10.77.0.1".into(),
            kind: ProbeKind::Arp.into(),
            per_second: 100,
            phases: vec![
                phase(Phase::FailOver, 31, 0, 12),
                phase(Phase::Unplug, 61, 4, 52),
                phase(Phase::Transfer, 1240, 0, 14),
                open,
            ],
        }],
        not_measured: String::new(),
    }
}

/// A guest that stays, on the way to its VF.
pub(crate) fn accelerating() -> Migration {
    let pair = PairStatus {
        mac: "52:54:00:00:00:01".into(),
        pool: "blue".into(),
        source_vf: String::new(),
        destination_vf: "0000:01:10.4".into(),
    };
    Migration {
        destination: "alpha".into(),
        role: Role::Accelerate.into(),
        phase: Phase::Plug.into(),
        moved: Moved::No.into(),
        because: "the VF was pulled".into(),
        timeline: vec![
            record("alpha", Phase::Hold, 0, Some(40), "alpha holds 0000:01:10.4"),
            record("alpha", Phase::Plug, 40, None, ""),
        ],
        progress: None,
        pairs: vec![pair],
        policy: Policy::Prefer.into(),
        ..running()
    }
}

/// With its VF still, until others have been transferred.
pub(crate) fn queued() -> Migration {
    Migration {
        phase: Phase::Queue.into(),
        acceleration: Acceleration::Accelerated.into(),
        standby_since: None,
        because: String::new(),
        timeline: vec![
            record("alpha", Phase::Reserve, 0, Some(412), "beta holds 0000:01:10.2"),
            record("alpha", Phase::Queue, 412, None, ""),
        ],
        progress: None,
        policy: Policy::Require.into(),
        queue_place: 2,
        ..running()
    }
}

/// There, and on its VF.
pub(crate) fn accelerated() -> Migration {
    let mut migration = Migration {
        phase: Phase::FailBack.into(),
        moved: Moved::Yes.into(),
        acceleration: Acceleration::Accelerated.into(),
        standby_since: None,
        because: String::new(),
        settled: true,
        ended: true,
        ..running()
    };
    migration.timeline[2].ended = Some(wire(6_700));
    migration
        .timeline
        .push(record("beta", Phase::Plug, 7_000, Some(9_100), ""));
    migration.timeline.push(record(
        "beta",
        Phase::FailBack,
        9_100,
        Some(10_000),
        "frames seen on 0000:01:10.2",
    ));
    if let Some(progress) = &mut migration.progress {
        progress.downtime_ms = Some(214);
    }
    migration
}

/// There, without its VF.
pub(crate) fn on_standby() -> Migration {
    Migration {
        acceleration: Acceleration::Standby.into(),
        standby_since: Some(wire(10_000)),
        because: "the driver in the guest did not take the VF.".into(),
        ended: false,
        ..accelerated()
    }
}

/// Back on its VF at the source.
pub(crate) fn rolled_back() -> Migration {
    let mut migration = Migration {
        moved: Moved::No.into(),
        acceleration: Acceleration::Accelerated.into(),
        standby_since: None,
        because: String::new(),
        settled: true,
        ended: true,
        failure: Some(Failure {
            reason: "TRANSFER_FAILED".into(),
            message: "the transfer to beta failed".into(),
            causes: vec!["libvirt: connection reset".into()],
            hint: "ping beta".into(),
        }),
        ..running()
    };
    migration.timeline[2].ended = Some(wire(6_700));
    migration.timeline[2].failed = true;
    migration.timeline[2].detail = "libvirt: connection reset".into();
    migration
}

/// Nobody knows where it is.
pub(crate) fn unknown() -> Migration {
    Migration {
        moved: Moved::Unknown.into(),
        acceleration: Acceleration::Unknown.into(),
        needs_person: true,
        settled: true,
        ..rolled_back()
    }
}

/// A guest with two pairs, the second without a VF.
pub(crate) fn guest() -> Guest {
    let pair = |mac: &str, vf: &str| GuestPair {
        mac: mac.into(),
        pool: "blue".into(),
        standby: "net0".into(),
        primary: if vf.is_empty() {
            String::new()
        } else {
            "ua-godwit-0".into()
        },
        vf: vf.into(),
    };
    Guest {
        name: "web-1".into(),
        uuid: "11111111-2222-3333-4444-555555555555".into(),
        state: "running".into(),
        managed: true,
        acceleration: Acceleration::Accelerated.into(),
        agent: true,
        pairs: vec![
            pair("52:54:00:00:00:01", "0000:01:10.0"),
            pair("52:54:00:00:00:02", ""),
        ],
        migration: String::new(),
        problem: String::new(),
        policy: 0,
    }
}

/// This host, a peer, and one that is away.
pub(crate) fn hosts() -> Vec<Host> {
    let host = |name: &str| Host {
        name: name.into(),
        reachable: true,
        version: "0.1.0".into(),
        vfs: 7,
        free_vfs: 5,
        ..Host::default()
    };
    let alpha = Host {
        here: true,
        migrations: 1,
        ..host("alpha")
    };
    let gamma = Host {
        name: "gamma".into(),
        problem: "host gamma cannot be reached: connection refused".into(),
        ..Host::default()
    };
    vec![alpha, host("beta"), gamma]
}

/// One of each usage.
pub(crate) fn vfs() -> Vec<Vf> {
    let vf = |address: &str, usage: VfUsage, by: &str| Vf {
        address: address.into(),
        pool: "blue".into(),
        pf: "enp1s0f0".into(),
        usage: usage.into(),
        by: by.into(),
        profile: Some(neutral()),
    };
    let everything = VfProfile {
        vlan: 100,
        vlan_priority: 3,
        vlan_service_tag: true,
        spoofchk: false,
        trust: true,
        min_tx_rate: 10,
        max_tx_rate: 1000,
        link_state: VfLinkState::Up.into(),
        rss_query: true,
    };
    vec![
        Vf {
            profile: Some(everything),
            ..vf("0000:01:10.0", VfUsage::Guest, "web-1")
        },
        vf(
            "0000:01:10.2",
            VfUsage::Held,
            "0198c0de-1111-7222-8333-444455556666",
        ),
        vf("0000:01:10.4", VfUsage::Free, ""),
        Vf {
            profile: None,
            ..vf("0000:01:10.6", VfUsage::Other, "its driver is igbvf")
        },
    ]
}

/// The same: in the guest's is a difference, the free one was not cleaned.
pub(crate) fn checks() -> Vec<VfCheck> {
    let well = |vf: Vf| VfCheck {
        vf: Some(vf),
        ..VfCheck::default()
    };
    let mut checks: Vec<VfCheck> = vfs().into_iter().map(well).collect();
    checks[0].wrong = vec!["MAC 52:54:00:00:00:99 instead of 52:54:00:00:00:01".into()];
    checks[0].fix = "godwit standby web-1 --wait; godwit accelerate web-1 --wait".into();
    checks[2].mac = "52:54:00:00:00:01".into();
    checks[2].wrong = vec!["MAC 52:54:00:00:00:01".into(), "trust on".into()];
    checks[2].fix = "`godwit vfs check 0000:01:10.4 --clean`".into();
    checks[3].not_checked = "enp1s0f0 does not tell what it is set to".into();
    let clean = well(vfs().swap_remove(2));
    checks.push(clean);
    checks
}

/// Of a VF that nobody uses.
fn neutral() -> VfProfile {
    VfProfile {
        spoofchk: true,
        link_state: VfLinkState::Auto.into(),
        ..VfProfile::default()
    }
}

/// Of each severity one, and a check that was not made.
pub(crate) fn doctor() -> DoctorResponse {
    let finding = |severity: Severity, reason: &str, [what, why, fix]: [&str; 3]| Finding {
        severity: severity.into(),
        reason: reason.into(),
        about: String::new(),
        what: what.into(),
        why: why.into(),
        fix: fix.into(),
    };
    let no_vfs = [
        "pf0 has no VFs (0 of 7)",
        "there is no VF of it that a guest could be given",
        "echo 7 >/sys/class/net/pf0/device/sriov_numvfs; for each boot: `vfs = 7` in its [[pool]]",
    ];
    let clock = [
        "the clock of beta is 90.0 s behind that of alpha",
        "a migration's timeline is of both hosts' clocks, and certificates are judged by them",
        "on both: chronyc tracking; timedatectl set-ntp true",
    ];
    let listener = [
        "the configuration has no `listen`",
        "this host sends guests and receives none",
        "add `listen` with address and port to godwitd.toml",
    ];
    DoctorResponse {
        host: "alpha".into(),
        guest: String::new(),
        findings: vec![
            finding(Severity::Error, "PF_WITHOUT_VFS", no_vfs),
            finding(Severity::Warning, "PEER_CLOCK", clock),
            finding(Severity::Hint, "NO_LISTENER", listener),
        ],
        not_checked: vec![NotChecked {
            check: "pools, clock and certificate of gamma".into(),
            why: "it does not answer".into(),
        }],
    }
}

/// Two of one migration, and one in quarantine whose migration cannot be read.
pub(crate) fn holds() -> Vec<Hold> {
    let hold = |vf: &str| Hold {
        vf: vf.into(),
        migration: "0198c0de-1111-7222-8333-444455556666".into(),
        guest: "web-1".into(),
        source: "alpha".into(),
        quarantined: String::new(),
        since: Some(wire(0)),
    };
    let stray = Hold {
        vf: "0000:01:10.6".into(),
        migration: "0197aaaa-1111".into(),
        quarantined: "the MAC of 0000:01:10.6 could not be set".into(),
        ..Hold::default()
    };
    vec![hold("0000:01:10.2"), hold("0000:01:10.4"), stray]
}
