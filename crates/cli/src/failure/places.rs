//! Whom godwit asks: what is wrong with a context, and why there is no connection, as words.

use std::error::Error as _;

use godwit_api::v1::Failure;

use super::Error;
use crate::client::copied;
use crate::place::contexts::ContextError;
use crate::place::network::ConnectError;

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Error {
        use ContextError as Is;
        let (reason, hint) = match &error {
            Is::Unknown { name, known } => ("CONTEXT_UNKNOWN", near(name, known)),
            Is::WithoutKeys { host } => (
                "CONTEXT_UNKNOWN",
                format!("godwit --context NAME --host {host}, or first: godwit context use NAME"),
            ),
            Is::File { .. } | Is::Text { .. } => (
                "CONTEXT_FILE",
                "mend the file, or name another with GODWIT_CONFIG; this host alone: godwit --context local ...".into(),
            ),
            Is::Homeless => ("CONTEXT_FILE", "name the file: export GODWIT_CONFIG=/path/config.toml".into()),
            Is::Address { .. } | Is::Name { .. } | Is::Incomplete { .. } => {
                ("CONTEXT_INVALID", "godwit context set --help".into())
            }
        };
        let cause = error.source().map(ToString::to_string);
        Error::from(Failure {
            reason: reason.into(),
            message: error.to_string(),
            causes: cause.into_iter().collect(),
            hint,
        })
    }
}

fn near(name: &str, known: &[String]) -> String {
    match known {
        [] => "there is none yet: godwit context set NAME --address ... --ca ... --certificate ... --key ..."
            .into(),
        known => {
            let same = |one: &str| one.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
            let best = known.iter().max_by_key(|one| same(one));
            match best.filter(|best| same(best) >= 2) {
                Some(best) => format!("is it `{best}`? godwit context list"),
                None => "godwit context list".into(),
            }
        }
    }
}

impl From<&ConnectError> for Error {
    /// Nobody there may be there a moment later; who is not trusted, or does not trust us, needs a person.
    fn from(error: &ConnectError) -> Error {
        let failure = |reason: &str, causes: Vec<String>, hint: &str| {
            Error::from(Failure {
                reason: reason.into(),
                message: error.to_string(),
                causes,
                hint: hint.into(),
            })
        };
        match error {
            ConnectError::Away { address, source } => Error::Away {
                place: address.clone(),
                network: true,
                source: copied(source),
            },
            ConnectError::NotTrusted { .. } => failure(
                "HOST_NOT_TRUSTED",
                Vec::new(),
                "nothing was sent to it. Address, authority and name are the context's: godwit context show",
            ),
            ConnectError::NotTaken { source, .. } => failure(
                "CERTIFICATE_REFUSED",
                vec![source.to_string()],
                "is it of the hosts' authority, and valid? godwit context show. What the host says: its audit log",
            ),
        }
    }
}
