//! Who may call what: one table.

use serde::Deserialize;

/// What somebody may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything, change nothing.
    View,
    /// Move guests, and put them on their standby and back.
    Operate,
    /// All the rest: PFs, VFs, and a person's word for where a guest runs.
    Admin,
}

impl Role {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

/// Somebody who comes over the network and is no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// A DNS name, a URI or a mail address of its certificate.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// What a call asks of whoever makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anybody who is known here, hosts too.
    Known,
    /// A host that this one exchanges guests with.
    Peer,
    /// Somebody with this role or a higher one.
    Role(Role),
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once: it has a deadline.
    Look,
    /// Once, and something is different afterwards, or may be.
    Change,
    /// For as long as the caller likes.
    Watch,
}

/// A call, who may make it, and how it is answered.
pub(crate) type Call = (&'static str, Need, Kind);

const VIEW: Need = Need::Role(Role::View);
const OPERATE: Need = Need::Role(Role::Operate);
const ADMIN: Need = Need::Role(Role::Admin);

/// Every call there is. What is not here is nobody's.
#[rustfmt::skip]
pub(crate) const CALLS: [Call; 37] = [
    ("/godwit.v1.MigrationService/CreateMigration", OPERATE, Kind::Change),
    ("/godwit.v1.MigrationService/PlanMigration", VIEW, Kind::Look),
    ("/godwit.v1.MigrationService/GetMigration", VIEW, Kind::Look),
    ("/godwit.v1.MigrationService/ListMigrations", VIEW, Kind::Look),
    ("/godwit.v1.MigrationService/WatchMigration", VIEW, Kind::Watch),
    ("/godwit.v1.MigrationService/CancelMigration", OPERATE, Kind::Change),
    ("/godwit.v1.MigrationService/RetryMigration", OPERATE, Kind::Change),
    ("/godwit.v1.MigrationService/ResolveMigration", ADMIN, Kind::Change),
    ("/godwit.v1.GuestService/ListGuests", VIEW, Kind::Look),
    ("/godwit.v1.GuestService/AdoptGuest", OPERATE, Kind::Change),
    ("/godwit.v1.GuestService/StandbyGuest", OPERATE, Kind::Change),
    ("/godwit.v1.GuestService/AccelerateGuest", OPERATE, Kind::Change),
    ("/godwit.v1.HostService/ListHosts", VIEW, Kind::Look),
    ("/godwit.v1.HostService/ListVfs", VIEW, Kind::Look),
    ("/godwit.v1.HostService/ListPools", VIEW, Kind::Look),
    ("/godwit.v1.HostService/ListHolds", VIEW, Kind::Look),
    ("/godwit.v1.HostService/StandbyPf", ADMIN, Kind::Change),
    ("/godwit.v1.HostService/AcceleratePf", ADMIN, Kind::Change),
    ("/godwit.v1.HostService/QuarantineVf", ADMIN, Kind::Change),
    ("/godwit.v1.HostService/ReleaseVf", ADMIN, Kind::Change),
    ("/godwit.v1.HostService/CheckVfs", VIEW, Kind::Look),
    ("/godwit.v1.HostService/CleanVf", ADMIN, Kind::Change),
    ("/godwit.v1.HostService/Doctor", VIEW, Kind::Look),
    ("/godwit.peer.v1.PeerService/Reserve", Need::Peer, Kind::Change),
    ("/godwit.peer.v1.PeerService/Plan", Need::Peer, Kind::Look),
    ("/godwit.peer.v1.PeerService/Admit", Need::Peer, Kind::Change),
    ("/godwit.peer.v1.PeerService/Unreserve", Need::Peer, Kind::Change),
    ("/godwit.peer.v1.PeerService/Look", Need::Peer, Kind::Look),
    ("/godwit.peer.v1.PeerService/Arrival", Need::Peer, Kind::Look),
    ("/godwit.peer.v1.PeerService/Greet", Need::Peer, Kind::Look),
    ("/godwit.peer.v1.PeerService/ListMacs", Need::Peer, Kind::Look),
    ("/godwit.peer.v1.KeepService/Keep", Need::Peer, Kind::Watch),
    ("/grpc.health.v1.Health/Check", Need::Known, Kind::Look),
    ("/grpc.health.v1.Health/List", Need::Known, Kind::Look),
    ("/grpc.health.v1.Health/Watch", Need::Known, Kind::Watch),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", VIEW, Kind::Watch),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", VIEW, Kind::Watch),
];

/// The call of that path.
pub(crate) fn call(path: &str) -> Option<Call> {
    CALLS.iter().find(|(known, ..)| *known == path).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rpc Name(` and `returns (stream` of every service in these files.
    fn declared(proto: &str, package: &str) -> Vec<(String, bool)> {
        let mut service = "";
        let mut calls = Vec::new();
        for line in proto.lines().map(str::trim) {
            if let Some(named) = line.strip_prefix("service ") {
                service = named.trim_end_matches(" {");
            }
            if let Some(call) = line.strip_prefix("rpc ").and_then(|rest| rest.split('(').next()) {
                let streams = line.contains("returns (stream");
                calls.push((format!("/{package}.{service}/{call}"), streams));
            }
        }
        calls
    }

    #[test]
    fn every_call_of_the_wires_is_in_the_table_and_streams_have_no_deadline() {
        let operators = include_str!("../../../proto/godwit/v1/godwit.proto");
        let peers = include_str!("../../../proto/godwit/peer/v1/peer.proto");
        let mut all = declared(operators, "godwit.v1");
        all.extend(declared(peers, "godwit.peer.v1"));
        assert!(all.len() > 25, "{all:?}");
        for (path, streams) in &all {
            let (_, need, kind) = call(path).unwrap_or_else(|| panic!("{path} is nobody's: add it to CALLS"));
            assert_eq!(kind == Kind::Watch, *streams, "{path}");
            let peer = path.starts_with("/godwit.peer.");
            assert_eq!(need == Need::Peer, peer, "{path}: {need:?}");
        }
        let known = CALLS.iter().filter(|(path, ..)| path.starts_with("/godwit."));
        assert_eq!(known.count(), all.len(), "the table has calls that are no more");
        // Who may only look changes nothing.
        let viewers = CALLS.iter().filter(|(_, need, _)| *need == VIEW);
        assert!(viewers.clone().count() > 10 && viewers.clone().all(|(.., kind)| *kind != Kind::Change));
    }
}
