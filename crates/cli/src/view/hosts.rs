//! What `godwit hosts`, `godwit pools`, `godwit vfs` and `godwit holds` print for people.

use std::collections::{BTreeMap, BTreeSet};

use godwit_api::v1::{Hold, Host, Pool, Vf, VfUsage};

use super::table::{Fit, Table};
use super::text::or_dash;
use super::words;

/// `godwit hosts`.
pub(crate) fn hosts(hosts: &[Host], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("HOST", Fit::Cut),
        ("STATE", Fit::Keep),
        ("VERSION", Fit::Keep),
        ("FREE VFS", Fit::Keep),
        ("MIGRATIONS", Fit::Keep),
        ("PROBLEM", Fit::Wrap),
    ]);
    for host in hosts {
        // Of a host that did not answer nothing is known, which is not 0.
        let known = |word: String| if host.reachable { word } else { "-".into() };
        let state = match (host.here, host.reachable) {
            (true, _) => "this host",
            (false, true) => "reachable",
            (false, false) => "unreachable",
        };
        table.row([
            host.name.as_str().into(),
            state.into(),
            or_dash(&host.version),
            known(format!("{} of {}", host.free_vfs, host.vfs)).into(),
            known(host.migrations.to_string()).into(),
            host.problem.as_str().into(),
        ]);
    }
    table.lines(width)
}

/// `godwit pools`.
pub(crate) fn pools(pools: &[Pool], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("POOL", Fit::Cut),
        ("PFS", Fit::Wrap),
        ("VFS", Fit::Keep),
        ("FREE", Fit::Keep),
        ("HELD", Fit::Keep),
        ("IN GUESTS", Fit::Keep),
        ("QUARANTINED", Fit::Keep),
        ("OTHERS", Fit::Keep),
    ]);
    for pool in pools {
        let counted = pool.free_vfs + pool.held_vfs + pool.guest_vfs + pool.quarantined_vfs;
        table.row([
            pool.name.as_str().into(),
            or_dash(&pool.pfs.join(", ")),
            pool.vfs.to_string().into(),
            pool.free_vfs.to_string().into(),
            pool.held_vfs.to_string().into(),
            pool.guest_vfs.to_string().into(),
            pool.quarantined_vfs.to_string().into(),
            pool.vfs.saturating_sub(counted).to_string().into(),
        ]);
    }
    table.lines(width)
}

/// `godwit vfs`.
pub(crate) fn vfs(vfs: &[Vf], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("VF", Fit::Keep),
        ("POOL", Fit::Cut),
        ("PF", Fit::Keep),
        ("USE", Fit::Wrap),
        ("SET TO", Fit::Wrap),
    ]);
    let ids = holders(vfs.iter());
    for vf in vfs {
        table.row([
            vf.address.as_str().into(),
            vf.pool.as_str().into(),
            vf.pf.as_str().into(),
            usage(vf, &ids).into(),
            match &vf.profile {
                None => "-".into(),
                Some(profile) => words::profile(profile).into(),
            },
        ]);
    }
    table.lines(width)
}

/// The migrations that hold VFs of these, as short as they can be told apart.
pub(super) fn holders<'a>(vfs: impl Iterator<Item = &'a Vf>) -> BTreeMap<&'a str, String> {
    let held = vfs.filter(|vf| vf.usage() == VfUsage::Held);
    short_ids(held.map(|vf| vf.by.as_str()))
}

pub(super) fn usage(vf: &Vf, ids: &BTreeMap<&str, String>) -> String {
    match vf.usage() {
        VfUsage::Free => "free".into(),
        VfUsage::Held => format!("held by migration {}", ids[vf.by.as_str()]),
        VfUsage::Guest => format!("guest {}", vf.by),
        VfUsage::Quarantined => format!("quarantined: {}", vf.by),
        VfUsage::Other => format!("unusable: {}", vf.by),
        VfUsage::Unspecified => "-".into(),
    }
}

/// `godwit holds`.
pub(crate) fn holds(holds: &[Hold], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("VF", Fit::Keep),
        ("GUEST", Fit::Cut),
        ("FROM", Fit::Cut),
        ("MIGRATION", Fit::Keep),
        ("SINCE", Fit::Keep),
        ("QUARANTINED", Fit::Wrap),
    ]);
    let ids = short_ids(holds.iter().map(|hold| hold.migration.as_str()));
    for hold in holds {
        table.row([
            hold.vf.as_str().into(),
            or_dash(&hold.guest),
            or_dash(&hold.source),
            ids[hold.migration.as_str()].as_str().into(),
            words::to_second(words::time(hold.since.as_ref())).into(),
            hold.quarantined.as_str().into(),
        ]);
    }
    table.lines(width)
}

/// Migrations as short as they can be told apart; several VFs may be of one.
fn short_ids<'a>(ids: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let ids: Vec<&str> = BTreeSet::from_iter(ids).into_iter().collect();
    let short = words::short_ids(&ids);
    ids.into_iter().zip(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn all_hosts() {
        insta::assert_snapshot!(hosts(&sample::hosts(), None).join("\n"), @"
        HOST   STATE        VERSION  FREE VFS  MIGRATIONS  PROBLEM
        alpha  this host    0.1.0    5 of 7    1
        beta   reachable    0.1.0    5 of 7    0
        gamma  unreachable  -        -         -           host gamma cannot be reached: connection refused
        ");
        insta::assert_snapshot!(hosts(&sample::hosts(), Some(80)).join("\n"), @"
        HOST   STATE        VERSION  FREE VFS  MIGRATIONS  PROBLEM
        alpha  this host    0.1.0    5 of 7    1
        beta   reachable    0.1.0    5 of 7    0
        gamma  unreachable  -        -         -           host gamma cannot be reached:
                                                           connection refused
        ");
    }

    #[test]
    fn all_vfs() {
        insta::assert_snapshot!(vfs(&sample::vfs(), None).join("\n"), @"
        VF            POOL  PF        USE                            SET TO
        0000:01:10.0  blue  enp1s0f0  guest web-1                    VLAN 100, 802.1ad, priority 3, spoof check off, trust on, at least 10 Mbit/s, at most 1000 Mbit/s, link up, RSS query on
        0000:01:10.2  blue  enp1s0f0  held by migration 0198c0de
        0000:01:10.4  blue  enp1s0f0  free
        0000:01:10.6  blue  enp1s0f0  unusable: its driver is igbvf  -
        ");
        insta::assert_snapshot!(vfs(&sample::vfs(), Some(80)).join("\n"), @"
        VF            POOL  PF        USE                       SET TO
        0000:01:10.0  blue  enp1s0f0  guest web-1               VLAN 100, 802.1ad,
                                                                priority 3, spoof check
                                                                off, trust on, at least
                                                                10 Mbit/s, at most 1000
                                                                Mbit/s, link up, RSS
                                                                query on
        0000:01:10.2  blue  enp1s0f0  held by migration
                                      0198c0de
        0000:01:10.4  blue  enp1s0f0  free
        0000:01:10.6  blue  enp1s0f0  unusable: its driver is   -
                                      igbvf
        ");
    }

    #[test]
    fn all_holds() {
        insta::assert_snapshot!(holds(&sample::holds(), None).join("\n"), @"
        VF            GUEST  FROM   MIGRATION  SINCE                 QUARANTINED
        0000:01:10.2  web-1  alpha  0198c0de   2026-01-02 03:04:05Z
        0000:01:10.4  web-1  alpha  0198c0de   2026-01-02 03:04:05Z
        0000:01:10.6  -      -      0197aaaa   -                     the MAC of 0000:01:10.6 could not be set
        ");
        insta::assert_snapshot!(holds(&sample::holds(), Some(80)).join("\n"), @"
        VF            GUEST  FROM   MIGRATION  SINCE                 QUARANTINED
        0000:01:10.2  web-1  alpha  0198c0de   2026-01-02 03:04:05Z
        0000:01:10.4  web-1  alpha  0198c0de   2026-01-02 03:04:05Z
        0000:01:10.6  -      -      0197aaaa   -                     the MAC of
                                                                     0000:01:10.6 could
                                                                     not be set
        ");
    }
}
