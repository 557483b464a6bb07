//! Whose daemon is asked: this host's, at its socket, or another's, over the network with the keys of a context.

pub(crate) mod address;
pub(crate) mod contexts;
pub(crate) mod keys;
pub(crate) mod network;

use std::path::PathBuf;

use godwit_server::Files;

use self::address::Address;
use self::contexts::{Context, ContextError, Contexts, LOCAL};
use crate::args::Wanted;

/// Where godwitd listens if nobody says otherwise.
const SOCKET: &str = "/run/godwit/godwitd.sock";

/// Where the daemon is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Socket(PathBuf),
    Network(Box<Remote>),
}

/// A host over the network.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) address: Address,
    /// The DNS name that its certificate must have.
    pub(crate) name: String,
    pub(crate) files: Files,
    /// The context that the keys are of.
    pub(crate) context: String,
}

impl Remote {
    fn of(context: &str, found: &Context) -> Result<Remote, ContextError> {
        let address = Address::parse(&found.address)?;
        Ok(Remote {
            name: found.server_name.clone().unwrap_or_else(|| address.host.clone()),
            address,
            files: found.files(),
            context: context.into(),
        })
    }
}

impl Place {
    /// Whom `wanted` means. The configuration file is read only where it counts, and one that is damaged is then an error:
    /// to ask another host than the one that was meant is worse than to ask none.
    ///
    /// # Errors
    /// A context that is not there, a configuration file that cannot be used, an address that is none.
    pub(crate) fn of(wanted: &Wanted) -> Result<Place, ContextError> {
        match wanted {
            Wanted::Socket(path) => Ok(Place::Socket(path.clone())),
            Wanted::Context(name) if name == LOCAL => Ok(Place::local()),
            Wanted::Context(name) => Place::context(&Contexts::read()?, name),
            Wanted::Host { host, context } => Place::host(&Contexts::read()?, host, context.as_deref()),
            Wanted::Unsaid => {
                let contexts = Contexts::read()?;
                match contexts.current() {
                    None => Ok(Place::local()),
                    Some(name) => Place::context(&contexts, name),
                }
            }
        }
    }

    fn local() -> Place {
        Place::Socket(SOCKET.into())
    }

    pub(crate) fn context(contexts: &Contexts, name: &str) -> Result<Place, ContextError> {
        Ok(Place::Network(Box::new(Remote::of(name, contexts.get(name)?)?)))
    }

    /// A context of that name, if no other was asked for; else that host with the keys of the context.
    fn host(contexts: &Contexts, host: &str, keys_of: Option<&str>) -> Result<Place, ContextError> {
        if keys_of.is_none() && contexts.get(host).is_ok() {
            return Place::context(contexts, host);
        }
        let keys_of = keys_of.or(contexts.current()).filter(|name| *name != LOCAL);
        let keys_of = keys_of.ok_or_else(|| ContextError::WithoutKeys { host: host.into() })?;
        let mut remote = Remote::of(keys_of, contexts.get(keys_of)?)?;
        remote.address = Address::parse(host)?;
        remote.name.clone_from(&remote.address.host);
        Ok(Place::Network(Box::new(remote)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Network(remote) => write!(f, "{}", remote.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(current: &str) -> Contexts {
        let text = format!(
            "{current}
            [context.fleet]
            address = \"alpha.example\"
            ca = \"/k/ca.pem\"
            certificate = \"/k/me.pem\"
            key = \"/k/me.key\"
            [context.lab]
            address = \"10.1.0.9:99\"
            ca = \"/l/ca.pem\"
            certificate = \"/l/me.pem\"
            key = \"/l/me.key\"
            server_name = \"bench\""
        );
        Contexts::parse("/c/config.toml".into(), &text).unwrap()
    }

    fn shown(place: Result<Place, ContextError>) -> String {
        match place {
            Ok(Place::Socket(path)) => path.display().to_string(),
            Ok(Place::Network(remote)) => format!(
                "{} as {}, key {}",
                remote.address,
                remote.name,
                remote.files.key.display()
            ),
            Err(error) => format!("{error}"),
        }
    }

    #[test]
    fn a_host_is_a_context_or_an_address_with_the_keys_of_one() {
        let (unused, used) = (contexts(""), contexts("use = \"fleet\""));
        let said = [
            shown(Place::host(&used, "lab", None)),
            shown(Place::host(&used, "beta", None)),
            shown(Place::host(&used, "beta:1", Some("lab"))),
            shown(Place::host(&used, "lab", Some("fleet"))),
            shown(Place::host(&unused, "beta", None)),
            shown(Place::host(&used, "beta", Some("flet"))),
            shown(Place::host(&used, "be ta", None)),
            shown(Place::context(&used, "fleet")),
        ];
        insta::assert_snapshot!(said.join("\n"), @r"
        10.1.0.9:99 as bench, key /l/me.key
        beta:7716 as beta, key /k/me.key
        beta:1 as beta, key /l/me.key
        lab:7716 as lab, key /k/me.key
        no context says with which keys beta is to be asked
        there is no context `flet`
        `be ta` is no address: HOST or HOST:PORT is wanted
        alpha.example:7716 as alpha.example, key /k/me.key
        ");
    }
}
