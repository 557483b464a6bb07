//! Whose daemon is asked: what was typed, else what the environment says, else the configuration file of this user.

use std::path::PathBuf;

use clap::parser::ValueSource;

/// As the command line and the environment have it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PlaceArgs {
    /// Socket of this host's godwitd [default: /run/godwit/godwitd.sock]
    #[arg(long, global = true, env = "GODWIT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Ask godwitd of that host, over the network: the name of a context, or `HOST[:PORT]` with the keys of a context
    #[arg(long, global = true, env = "GODWIT_HOST", value_name = "HOST")]
    host: Option<String>,
    /// The context whose address and keys are used, as `godwit context list` shows it; `local`: this host's socket
    #[arg(long, global = true, env = "GODWIT_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    #[arg(skip)]
    typed: Typed,
}

/// Which of them were typed. Whatever else has a value has it of the environment.
#[derive(Clone, Copy, Debug, Default)]
struct Typed {
    socket: bool,
    host: bool,
    context: bool,
}

/// Whom the user wants to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This host, at that socket.
    Socket(PathBuf),
    /// A host over the network, with the keys of that context or of the one in use.
    Host { host: String, context: Option<String> },
    /// A host by its context.
    Context(String),
    /// Nothing was said: what the configuration file says, or this host.
    Unsaid,
}

impl PlaceArgs {
    /// Notes what was typed.
    pub(super) fn typed(&mut self, matches: &clap::ArgMatches) {
        let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        self.typed = Typed {
            socket: typed("socket"),
            host: typed("host"),
            context: typed("context"),
        };
    }

    /// What has to be typed again so that the same daemon is asked: blanks and options, or nothing.
    pub(crate) fn again(&self) -> String {
        let socket = self.socket.as_ref().map(|path| path.display().to_string());
        let options = [
            ("--socket", self.typed.socket, socket.as_ref()),
            ("--host", self.typed.host, self.host.as_ref()),
            ("--context", self.typed.context, self.context.as_ref()),
        ];
        let typed = options
            .into_iter()
            .filter_map(|(option, typed, value)| Some((option, value.filter(|_| typed)?)));
        typed
            .map(|(option, value)| format!(" {option} {value}"))
            .collect()
    }

    /// What was typed goes before what the environment says. A variable that is empty says nothing.
    ///
    /// # Errors
    /// Two that exclude each other, as a sentence.
    pub(crate) fn wanted(&self) -> Result<Wanted, String> {
        for typed in [true, false] {
            let socket = self.socket.as_ref().filter(|path| !path.as_os_str().is_empty());
            let socket = socket.filter(|_| self.typed.socket == typed);
            let host = said(self.host.as_ref()).filter(|_| self.typed.host == typed);
            let named = said(self.context.as_ref());
            let context = named.filter(|_| self.typed.context == typed);
            match (socket, host, context) {
                (None, None, None) => {}
                (Some(socket), None, None) => return Ok(Wanted::Socket(socket.clone())),
                (Some(_), _, _) => return Err(both(typed)),
                // The keys may be those of GODWIT_CONTEXT though the host was typed.
                (None, Some(host), _) => {
                    return Ok(Wanted::Host {
                        host: host.clone(),
                        context: named.cloned(),
                    });
                }
                (None, None, Some(context)) => return Ok(Wanted::Context(context.clone())),
            }
        }
        Ok(Wanted::Unsaid)
    }
}

fn said(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.is_empty())
}

fn both(typed: bool) -> String {
    match typed {
        true => "--socket is this host, and --host or --context another: give one of them".into(),
        false => {
            "GODWIT_SOCKET is this host, and GODWIT_HOST or GODWIT_CONTEXT another: unset one of them".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with whether it was typed.
    fn wanted(
        socket: Option<(&str, bool)>,
        host: Option<(&str, bool)>,
        context: Option<(&str, bool)>,
    ) -> Result<Wanted, String> {
        let is_typed = |of: Option<(&str, bool)>| of.is_some_and(|(_, typed)| typed);
        let args = PlaceArgs {
            socket: socket.map(|(path, _)| path.into()),
            host: host.map(|(host, _)| host.into()),
            context: context.map(|(name, _)| name.into()),
            typed: Typed {
                socket: is_typed(socket),
                host: is_typed(host),
                context: is_typed(context),
            },
        };
        args.wanted()
    }

    #[test]
    fn what_was_typed_goes_before_the_environment() {
        let host = |host: &str, context: Option<&str>| {
            Ok(Wanted::Host {
                host: host.into(),
                context: context.map(Into::into),
            })
        };
        let (typed, set) = (true, false);
        assert_eq!(wanted(None, None, None), Ok(Wanted::Unsaid));
        assert_eq!(
            wanted(Some(("/a", typed)), Some(("beta", set)), Some(("fleet", set))),
            Ok(Wanted::Socket("/a".into()))
        );
        assert_eq!(
            wanted(Some(("/a", set)), Some(("beta", typed)), None),
            host("beta", None)
        );
        assert_eq!(
            wanted(Some(("/a", set)), Some(("beta", typed)), Some(("fleet", set))),
            host("beta", Some("fleet"))
        );
        assert_eq!(
            wanted(None, Some(("beta", set)), Some(("fleet", typed))),
            Ok(Wanted::Context("fleet".into()))
        );
        assert_eq!(
            wanted(Some(("", set)), Some(("", set)), Some(("fleet", set))),
            Ok(Wanted::Context("fleet".into()))
        );
    }

    #[test]
    fn what_was_typed_is_typed_again() {
        let args = PlaceArgs {
            host: Some("beta".into()),
            context: Some("fleet".into()),
            typed: Typed {
                host: true,
                ..Typed::default()
            },
            ..PlaceArgs::default()
        };
        assert_eq!(args.again(), " --host beta");
        assert_eq!(PlaceArgs::default().again(), "");
    }

    #[test]
    fn two_that_exclude_each_other_are_refused_at_the_same_level() {
        for typed in [true, false] {
            assert_eq!(
                wanted(Some(("/a", typed)), Some(("beta", typed)), None),
                Err(both(typed))
            );
            assert_eq!(
                wanted(Some(("/a", typed)), None, Some(("fleet", typed))),
                Err(both(typed))
            );
        }
    }
}
