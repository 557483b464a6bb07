//! Small words: names of enum values, times, lengths of time, sizes.

use godwit_api::v1::{
    Acceleration, Keep, Moved, Phase, PhaseRecord, Policy, ProbeKind, Role, Severity, TransferProgress,
    VfLinkState, VfProfile, VfUsage,
};
use jiff::Timestamp;

const MIB: u64 = 1 << 20;

/// An enum's value as people type it: `PHASE_FAIL_OVER` is "fail-over"; unspecified is none.
fn short(name: &str, prefix: &str) -> Option<String> {
    let word = name.strip_prefix(prefix).unwrap_or(name);
    (word != "UNSPECIFIED").then(|| word.to_ascii_lowercase().replace('_', "-"))
}

pub(crate) fn phase(phase: Phase) -> Option<String> {
    short(phase.as_str_name(), "PHASE_")
}

pub(crate) fn moved(moved: Moved) -> Option<String> {
    short(moved.as_str_name(), "MOVED_")
}

pub(crate) fn role(role: Role) -> Option<String> {
    short(role.as_str_name(), "ROLE_")
}

pub(crate) fn acceleration(acceleration: Acceleration) -> Option<String> {
    short(acceleration.as_str_name(), "ACCELERATION_")
}

pub(crate) fn policy(policy: Policy) -> Option<String> {
    short(policy.as_str_name(), "POLICY_")
}

pub(crate) fn keep(keep: Keep) -> Option<String> {
    short(keep.as_str_name(), "KEEP_")
}

pub(crate) fn probe_kind(kind: ProbeKind) -> Option<String> {
    short(kind.as_str_name(), "PROBE_KIND_")
}

pub(crate) fn usage(usage: VfUsage) -> Option<String> {
    short(usage.as_str_name(), "VF_USAGE_")
}

pub(crate) fn vlan_protocol(profile: &VfProfile) -> &'static str {
    match profile.vlan_service_tag {
        true => "802.1ad",
        false => "802.1Q",
    }
}

pub(crate) fn link_state(state: VfLinkState) -> &'static str {
    match state {
        VfLinkState::Up => "up",
        VfLinkState::Down => "down",
        VfLinkState::Auto | VfLinkState::Unspecified => "auto",
    }
}

/// What is set on a VF that is not so on one that nobody uses; empty: nothing.
pub(crate) fn profile(profile: &VfProfile) -> String {
    let VfProfile {
        vlan,
        vlan_priority,
        min_tx_rate,
        max_tx_rate,
        ..
    } = profile;
    let link = link_state(profile.link_state());
    let said = [
        (*vlan != 0, format!("VLAN {vlan}")),
        (profile.vlan_service_tag, vlan_protocol(profile).into()),
        (*vlan_priority != 0, format!("priority {vlan_priority}")),
        (!profile.spoofchk, "spoof check off".into()),
        (profile.trust, "trust on".into()),
        (*min_tx_rate != 0, format!("at least {min_tx_rate} Mbit/s")),
        (*max_tx_rate != 0, format!("at most {max_tx_rate} Mbit/s")),
        (link != "auto", format!("link {link}")),
        (profile.rss_query, "RSS query on".into()),
    ];
    let said = said.into_iter().filter_map(|(so, words)| so.then_some(words));
    said.collect::<Vec<String>>().join(", ")
}

pub(crate) fn severity(severity: Severity) -> Option<String> {
    short(severity.as_str_name(), "SEVERITY_")
}

/// A phase in text, where there is always a word.
pub(crate) fn phase_or_dash(value: Phase) -> String {
    phase(value).unwrap_or_else(|| "-".into())
}

/// A wire timestamp; none if missing or outside the calendar.
pub(crate) fn time(wire: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    wire.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok())
}

/// RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// To the second, for people; the Z says that it is UTC, as in the logs.
pub(crate) fn to_second(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".into(), |t| t.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// The time of the day alone, with milliseconds.
pub(crate) fn of_day(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".into(), |t| t.strftime("%H:%M:%S%.3fZ").to_string())
}

/// Milliseconds between two times; hosts' clocks differ, so never less than 0.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

/// How long a phase took; none while it runs.
pub(crate) fn took(record: &PhaseRecord) -> Option<u64> {
    Some(between(
        time(record.started.as_ref())?,
        time(record.ended.as_ref())?,
    ))
}

/// A length of time, as exact as it is of interest.
pub(crate) fn length(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{seconds}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A length of time that goes on: full seconds, so that it does not flicker.
pub(crate) fn elapsed(ms: u64) -> String {
    if ms < 60_000 {
        format!("{} s", ms / 1000)
    } else {
        length(ms)
    }
}

/// "312 of 512 MiB, 61 %, 98.4 MiB/s". Copied is what need not be sent any more, so it can fall when the guest
/// writes; before QEMU has counted (nothing sent, nothing left) it is 0.
pub(crate) fn memory(progress: &TransferProgress) -> Option<String> {
    let total = progress.memory_total_bytes;
    let copied = match progress.memory_processed_bytes {
        0 => 0,
        _ => total.saturating_sub(progress.memory_remaining_bytes),
    };
    let percent = percent(progress)?;
    let rate = u128::from(progress.bytes_per_second) * 10 / u128::from(MIB);
    Some(format!(
        "{} of {} MiB, {percent} %, {}.{} MiB/s",
        copied / MIB,
        total / MIB,
        rate / 10,
        rate % 10
    ))
}

/// "~3 s left": of this pass over the memory, at the rate of now. The first pass is all of it if the guest writes little; how
/// many follow, nobody knows.
pub(crate) fn left(progress: &TransferProgress) -> Option<String> {
    let sent = progress.memory_processed_bytes > 0;
    let bytes = u128::from(progress.memory_remaining_bytes);
    let ms = (bytes * 1000).checked_div(u128::from(progress.bytes_per_second))?;
    let ms = u64::try_from(ms).ok().filter(|_| sent && bytes > 0)?;
    // Rounded up: "0 s left" is never so.
    Some(format!(
        "~{} left",
        elapsed(ms.div_ceil(1000).saturating_mul(1000))
    ))
}

/// Memory copied, 0 to 100; none before the total is known.
pub(crate) fn percent(progress: &TransferProgress) -> Option<u64> {
    let total = u128::from(progress.memory_total_bytes);
    let left = match progress.memory_processed_bytes {
        0 => total,
        _ => u128::from(progress.memory_remaining_bytes).min(total),
    };
    u64::try_from(((total - left) * 100).checked_div(total)?).ok()
}

/// The shortest beginnings of ids that tell them apart, at least 8 characters. (Ids begin with the time, so those of
/// one minute begin alike.)
pub(crate) fn short_ids(ids: &[&str]) -> Vec<String> {
    let longest = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0);
    let cut = |id: &str, length: usize| id.chars().take(length).collect::<String>();
    let apart = |length: &usize| {
        let mut seen = std::collections::HashSet::new();
        ids.iter().all(|id| seen.insert(cut(id, *length)))
    };
    let length = (8..longest).find(apart).unwrap_or(longest.max(8));
    ids.iter().map(|id| cut(id, length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_word() {
        let phases: Vec<_> = (0..=15).map(|n| phase(Phase::try_from(n).unwrap())).collect();
        insta::assert_snapshot!(phases.iter().map(|p| p.as_deref().unwrap_or("null")).collect::<Vec<_>>().join("|"),
            @"null|reserve|fail-over|unplug|transfer|locate|resume|release|follow|await|plug|fail-back|unreserve|suspend|queue|hold");
        let moves: Vec<_> = (0..=5)
            .filter_map(|n| moved(Moved::try_from(n).unwrap()))
            .collect();
        insta::assert_snapshot!(moves.join("|"), @"undecided|yes|no|unknown|gone");
        let accelerations: Vec<_> = (0..=3)
            .filter_map(|n| acceleration(Acceleration::try_from(n).unwrap()))
            .collect();
        insta::assert_snapshot!(accelerations.join("|"), @"accelerated|standby|unknown");
        let roles: Vec<_> = (0..=4).filter_map(|n| role(Role::try_from(n).unwrap())).collect();
        insta::assert_snapshot!(roles.join("|"), @"source|destination|accelerate|decelerate");
        let policies: Vec<_> = (0..=3)
            .filter_map(|n| policy(Policy::try_from(n).unwrap()))
            .collect();
        insta::assert_snapshot!(policies.join("|"), @"require|prefer|standby-only");
        let usages: Vec<_> = (0..=4)
            .filter_map(|n| usage(VfUsage::try_from(n).unwrap()))
            .collect();
        insta::assert_snapshot!(usages.join("|"), @"free|held|guest|other");
    }

    #[test]
    fn lengths() {
        let shown = [
            0, 999, 1000, 12_345, 59_999, 60_000, 123_456, 3_600_000, 90_061_000,
        ]
        .map(length);
        insta::assert_snapshot!(shown.join(", "),
            @"0 ms, 999 ms, 1.0 s, 12.3 s, 59.9 s, 1 min 00 s, 2 min 03 s, 1 h 00 min, 25 h 01 min");
    }

    #[test]
    fn clocks_that_differ_give_no_negative_time() {
        let (a, b) = (
            Timestamp::from_second(10).unwrap(),
            Timestamp::from_second(9).unwrap(),
        );
        assert_eq!(between(a, b), 0);
        assert_eq!(between(b, a), 1000);
    }

    #[test]
    fn times() {
        let time = Timestamp::new(1_767_323_045, 67_000_000).unwrap();
        assert_eq!(rfc3339(time), "2026-01-02T03:04:05.067Z");
        let exact = |nanos| rfc3339(Timestamp::new(1_767_323_045, nanos).unwrap());
        assert_eq!(
            [exact(0), exact(67_999_999)],
            ["2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.067Z"]
        );
        assert_eq!(to_second(Some(time)), "2026-01-02 03:04:05Z");
        assert_eq!(of_day(Some(time)), "03:04:05.067Z");
        let nonsense = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(super::time(Some(&nonsense)), None);
    }

    #[test]
    fn memory_figures() {
        let at = |total, processed, remaining| TransferProgress {
            memory_total_bytes: total * MIB,
            memory_processed_bytes: processed * MIB,
            memory_remaining_bytes: remaining * MIB,
            bytes_per_second: 103_179_059,
            ..TransferProgress::default()
        };
        assert_eq!(
            memory(&at(512, 300, 200)).unwrap(),
            "312 of 512 MiB, 60 %, 98.3 MiB/s"
        );
        assert_eq!(
            memory(&at(512, 900, 0)).unwrap(),
            "512 of 512 MiB, 100 %, 98.3 MiB/s"
        );
        assert_eq!(memory(&at(512, 0, 0)).unwrap(), "0 of 512 MiB, 0 %, 98.3 MiB/s");
        assert_eq!(memory(&at(512, 1, 600)).unwrap(), "0 of 512 MiB, 0 %, 98.3 MiB/s");
        assert_eq!(memory(&at(0, 0, 0)), None);
    }

    #[test]
    fn ids_are_as_short_as_they_may_be() {
        assert_eq!(
            short_ids(&["0198c0de-1111", "0198ffff-2222"]),
            ["0198c0de", "0198ffff"]
        );
        assert_eq!(
            short_ids(&["0198c0de-1111", "0198c0de-1222"]),
            ["0198c0de-11", "0198c0de-12"]
        );
        assert_eq!(
            short_ids(&["0198c0de-1111", "0198c0de-1111"]),
            ["0198c0de-1111", "0198c0de-1111"]
        );
        assert_eq!(short_ids(&["ü", ""]), ["ü", ""]);
    }
}
