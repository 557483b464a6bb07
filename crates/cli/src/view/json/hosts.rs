//! The JSON of `godwit hosts`, `godwit pools`, `godwit vfs` and `godwit holds`.

use godwit_api::v1 as api;
use serde::Serialize;

use super::time;
use crate::view::words;

/// `godwit hosts`.
#[derive(Debug, Serialize)]
pub(crate) struct Hosts<'a> {
    hosts: Vec<Host<'a>>,
}

#[derive(Debug, Serialize)]
struct Host<'a> {
    name: &'a str,
    here: bool,
    reachable: bool,
    version: &'a str,
    vfs: u32,
    free_vfs: u32,
    migrations: u32,
    problem: &'a str,
    pools: &'a [String],
    clock: Option<String>,
    certificate_ends: Option<String>,
}

/// `godwit pools`.
#[derive(Debug, Serialize)]
pub(crate) struct Pools<'a> {
    pools: Vec<Pool<'a>>,
}

#[derive(Debug, Serialize)]
struct Pool<'a> {
    name: &'a str,
    pfs: &'a [String],
    vfs: u32,
    free: u32,
    held: u32,
    guests: u32,
    quarantined: u32,
}

/// `godwit vfs`.
#[derive(Debug, Serialize)]
pub(crate) struct Vfs<'a> {
    vfs: Vec<Vf<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Vf<'a> {
    address: &'a str,
    pool: &'a str,
    pf: &'a str,
    usage: Option<String>,
    by: &'a str,
    profile: Option<Profile>,
}

/// Numbers are Mbit/s; 0 is none.
#[derive(Debug, Serialize)]
struct Profile {
    vlan: u32,
    vlan_priority: u32,
    vlan_protocol: &'static str,
    spoofchk: bool,
    trust: bool,
    min_tx_rate: u32,
    max_tx_rate: u32,
    link_state: &'static str,
    rss_query: bool,
}

/// `godwit holds`.
#[derive(Debug, Serialize)]
pub(crate) struct Holds<'a> {
    holds: Vec<Hold<'a>>,
}

#[derive(Debug, Serialize)]
struct Hold<'a> {
    vf: &'a str,
    migration: &'a str,
    guest: &'a str,
    source: &'a str,
    quarantined: &'a str,
    since: Option<String>,
}

impl<'a> From<&'a [api::Host]> for Hosts<'a> {
    fn from(hosts: &'a [api::Host]) -> Hosts<'a> {
        let host = |host: &'a api::Host| Host {
            name: &host.name,
            here: host.here,
            reachable: host.reachable,
            version: &host.version,
            vfs: host.vfs,
            free_vfs: host.free_vfs,
            migrations: host.migrations,
            problem: &host.problem,
            pools: &host.pools,
            clock: time(host.clock.as_ref()),
            certificate_ends: time(host.certificate_ends.as_ref()),
        };
        Hosts {
            hosts: hosts.iter().map(host).collect(),
        }
    }
}

impl<'a> From<&'a [api::Pool]> for Pools<'a> {
    fn from(pools: &'a [api::Pool]) -> Pools<'a> {
        let pool = |pool: &'a api::Pool| Pool {
            name: &pool.name,
            pfs: &pool.pfs,
            vfs: pool.vfs,
            free: pool.free_vfs,
            held: pool.held_vfs,
            guests: pool.guest_vfs,
            quarantined: pool.quarantined_vfs,
        };
        Pools {
            pools: pools.iter().map(pool).collect(),
        }
    }
}

impl<'a> From<&'a [api::Vf]> for Vfs<'a> {
    fn from(vfs: &'a [api::Vf]) -> Vfs<'a> {
        Vfs {
            vfs: vfs.iter().map(Vf::from).collect(),
        }
    }
}

impl<'a> From<&'a api::Vf> for Vf<'a> {
    fn from(vf: &'a api::Vf) -> Vf<'a> {
        Vf {
            address: &vf.address,
            pool: &vf.pool,
            pf: &vf.pf,
            usage: words::usage(vf.usage()),
            by: &vf.by,
            profile: vf.profile.as_ref().map(Profile::from),
        }
    }
}

impl From<&api::VfProfile> for Profile {
    fn from(profile: &api::VfProfile) -> Profile {
        Profile {
            vlan: profile.vlan,
            vlan_priority: profile.vlan_priority,
            vlan_protocol: words::vlan_protocol(profile),
            spoofchk: profile.spoofchk,
            trust: profile.trust,
            min_tx_rate: profile.min_tx_rate,
            max_tx_rate: profile.max_tx_rate,
            link_state: words::link_state(profile.link_state()),
            rss_query: profile.rss_query,
        }
    }
}

impl<'a> From<&'a [api::Hold]> for Holds<'a> {
    fn from(holds: &'a [api::Hold]) -> Holds<'a> {
        let hold = |hold: &'a api::Hold| Hold {
            vf: &hold.vf,
            migration: &hold.migration,
            guest: &hold.guest,
            source: &hold.source,
            quarantined: &hold.quarantined,
            since: time(hold.since.as_ref()),
        };
        Holds {
            holds: holds.iter().map(hold).collect(),
        }
    }
}
