//! Who it is that calls.

use std::net::SocketAddr;

use crate::access::{Need, Operator, Role};

/// A caller, as the kernel or its certificate has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user of this host, on the Unix socket.
    Local {
        /// The kernel's word.
        uid: u32,
        /// The user's name, or the number where it has none.
        user: String,
        /// By its groups.
        role: Option<Role>,
    },
    /// Another host's daemon.
    Peer {
        /// As this host's configuration has it.
        name: String,
        /// Where it calls from.
        from: SocketAddr,
    },
    /// Somebody elsewhere whom the configuration names.
    Operator {
        /// As this host's configuration has it.
        name: String,
        /// By the configuration.
        role: Role,
        /// Where it calls from.
        from: SocketAddr,
    },
    /// A certificate of our authority that nobody here knows.
    Stranger {
        /// The names in it.
        shown: String,
        /// Where it calls from.
        from: SocketAddr,
    },
}

impl Who {
    /// Whose certificate shows these names.
    pub(crate) fn named(names: &[String], peers: &[String], operators: &[Operator], from: SocketAddr) -> Who {
        if let Some(name) = peers.iter().find(|peer| names.contains(peer)) {
            let name = name.clone();
            return Who::Peer { name, from };
        }
        if let Some(Operator { name, role }) = operators.iter().find(|known| names.contains(&known.name)) {
            let (name, role) = (name.clone(), *role);
            return Who::Operator { name, role, from };
        }
        let shown = match names {
            [] => "no name".into(),
            names => names.join(", "),
        };
        Who::Stranger { shown, from }
    }

    /// One word for it, the same at every call.
    pub fn name(&self) -> String {
        match self {
            Who::Local { user, .. } => format!("user {user}"),
            Who::Peer { name, .. } => format!("host {name}"),
            Who::Operator { name, .. } => format!("operator {name}"),
            Who::Stranger { shown, .. } => format!("certificate of {shown}"),
        }
    }

    /// Where it calls from.
    pub fn from(&self) -> String {
        match self {
            Who::Local { uid, .. } => format!("uid {uid}"),
            Who::Peer { from, .. } | Who::Operator { from, .. } | Who::Stranger { from, .. } => {
                from.to_string()
            }
        }
    }

    /// What it may do; none: nothing, or a peer's things.
    pub fn role(&self) -> Option<Role> {
        match self {
            Who::Local { role, .. } => *role,
            Who::Operator { role, .. } => Some(*role),
            Who::Peer { .. } | Who::Stranger { .. } => None,
        }
    }

    /// What is in the way of a call that needs this; nothing if it may be made.
    pub(crate) fn lacks(&self, need: Need) -> Option<String> {
        let whole = |why: String| Some(format!("{} {why}", self.name()));
        match (self, need) {
            (Who::Stranger { shown, .. }, _) => Some(format!(
                "the certificate shows {shown}: not a peer of this host, and no operator of it"
            )),
            (Who::Peer { .. }, Need::Known | Need::Peer) => None,
            (Who::Peer { .. }, Need::Role(_)) => whole("may do only what a peer needs".into()),
            (_, Need::Peer) => whole("is no peer of this host".into()),
            (_, need) => match (self.role(), need) {
                (Some(has), Need::Role(needed)) if has < needed => whole(format!(
                    "has the role {}, and this needs {}",
                    has.name(),
                    needed.name()
                )),
                (Some(_), _) => None,
                (None, _) => whole("has no role on this host".into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

    fn all() -> [Who; 6] {
        let user = |role| Who::Local {
            uid: 1000,
            user: "eve".into(),
            role,
        };
        [
            Who::Stranger {
                shown: "gamma".into(),
                from: FROM,
            },
            user(None),
            Who::Peer {
                name: "alpha".into(),
                from: FROM,
            },
            user(Some(Role::View)),
            user(Some(Role::Operate)),
            user(Some(Role::Admin)),
        ]
    }

    #[test]
    fn nobody_may_do_more_than_the_role_says() {
        let may = |need| all().map(|who| who.lacks(need).is_none());
        assert_eq!(may(Need::Known), [false, false, true, true, true, true]);
        assert_eq!(may(Need::Peer), [false, false, true, false, false, false]);
        assert_eq!(
            may(Need::Role(Role::View)),
            [false, false, false, true, true, true]
        );
        assert_eq!(
            may(Need::Role(Role::Operate)),
            [false, false, false, false, true, true]
        );
        assert_eq!(
            may(Need::Role(Role::Admin)),
            [false, false, false, false, false, true]
        );
    }

    #[test]
    fn a_certificate_is_who_its_names_say_and_a_host_before_an_operator() {
        let peers = ["alpha".to_owned()];
        let operators = [Operator {
            name: "spiffe://fleet/mover".into(),
            role: Role::Operate,
        }];
        let who = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Who::named(&names, &peers, &operators, FROM)
        };
        assert_eq!(who(&["alpha", "spiffe://fleet/mover"]).name(), "host alpha");
        assert_eq!(who(&["spiffe://fleet/mover"]).role(), Some(Role::Operate));
        assert_eq!(who(&["alpha.evil"]).name(), "certificate of alpha.evil");
        assert_eq!(who(&[]).name(), "certificate of no name");
    }
}
