//! Which names a word of a command line may be, for the completion of shells. Pure: it knows the command line's definition
//! and asks nobody.

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::{Args, PlaceArgs, Wanted};

/// What a word can be the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Guests,
    Hosts,
    Migrations,
    /// Those that have not ended.
    OpenMigrations,
    GuestsAndMigrations,
    Vfs,
    Pfs,
    Contexts,
    Reasons,
}

/// The last of the words that were typed so far: what it may be, and what stands before it in the same word (`--guest=`).
pub(crate) fn of_last(words: &[String]) -> Option<(Names, &str)> {
    let mut godwit = Args::command();
    godwit.build();
    let (current, before) = words.split_last()?;
    let place = Place::after(&godwit, before.get(1..)?);
    let with_value = current
        .strip_prefix("--")
        .and_then(|option| option.split_once('='));
    match (place.option, with_value) {
        (Some(option), _) => Some((names(place.command, option)?, "")),
        (None, Some((long, _))) if !place.no_options => {
            let option = option(place.command, long)?;
            let lead = current.len() - current.split_once('=').map_or(0, |(_, value)| value.len());
            Some((names(place.command, option)?, &current[..lead]))
        }
        (None, _) if current.starts_with('-') && !place.no_options => None,
        (None, _) => {
            let takes = place.command.get_positionals().nth(place.positional)?;
            Some((names(place.command, takes)?, ""))
        }
    }
}

/// Whom the command line so far would ask.
pub(crate) fn asked(words: &[String]) -> Option<Wanted> {
    let godwit = Args::command().ignore_errors(true);
    let matches = godwit.try_get_matches_from(words).ok()?;
    let mut place = PlaceArgs::from_arg_matches(&matches).ok()?;
    place.typed(&matches);
    place.wanted().ok()
}

/// Words of a line up to the cursor, the last of them empty if a blank stands before the cursor.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split_whitespace().map(Into::into).collect();
    if line.ends_with(char::is_whitespace) {
        words.push(String::new());
    }
    words
}

/// Where in the command line the last word stands.
struct Place<'a> {
    command: &'a Command,
    /// It is the value of this one.
    option: Option<&'a Arg>,
    /// It is the argument of this number.
    positional: usize,
    /// Behind `--`.
    no_options: bool,
}

impl<'a> Place<'a> {
    fn after(godwit: &'a Command, words: &[String]) -> Place<'a> {
        let mut place = Place {
            command: godwit,
            option: None,
            positional: 0,
            no_options: false,
        };
        for word in words {
            if place.option.take().is_some() {
                continue;
            }
            match word.strip_prefix("--").filter(|_| !place.no_options) {
                Some("") => place.no_options = true,
                Some(long) => {
                    let takes =
                        |option: &&Arg| matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
                    place.option = option(place.command, long).filter(takes);
                }
                // Those of one letter take no value.
                None if word.len() > 1 && word.starts_with('-') && !place.no_options => {}
                None => match place
                    .command
                    .find_subcommand(word)
                    .filter(|_| place.positional == 0)
                {
                    Some(command) => place.command = command,
                    None => place.positional += 1,
                },
            }
        }
        place
    }
}

fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|option| option.get_long() == Some(long))
}

fn names(command: &Command, takes: &Arg) -> Option<Names> {
    Some(match (command.get_name(), takes.get_id().as_str()) {
        ("init", _) => return None,
        (_, "guest") => Names::Guests,
        (_, "destination" | "runs_on") => Names::Hosts,
        ("cancel" | "watch" | "retry" | "resolve", "id") => Names::OpenMigrations,
        (_, "id") => Names::Migrations,
        (_, "about") => Names::GuestsAndMigrations,
        (_, "vf") => Names::Vfs,
        (_, "pf") => Names::Pfs,
        (_, "reason") => Names::Reasons,
        (_, "host" | "context") | ("show" | "use" | "set" | "remove", "name") => Names::Contexts,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<(Names, String)> {
        let words = words(line);
        of_last(&words).map(|(names, lead)| (names, lead.to_owned()))
    }

    #[test]
    fn every_place_has_its_names() {
        use Names::*;
        for (line, names) in [
            ("godwit migrate ", Guests),
            ("godwit migrate web-1 ", Hosts),
            ("godwit migrate --wait --policy prefer web-1 be", Hosts),
            ("godwit --json migrate web", Guests),
            ("godwit plan web-1 ", Hosts),
            ("godwit adopt ", Guests),
            ("godwit standby ", Guests),
            ("godwit standby --pf ", Pfs),
            ("godwit accelerate --wait --pf en", Pfs),
            ("godwit show ", Migrations),
            ("godwit cancel 01", OpenMigrations),
            ("godwit resolve 0198 --runs-on ", Hosts),
            ("godwit history --guest ", Guests),
            ("godwit vfs check 0000:01:1", Vfs),
            ("godwit vfs release ", Vfs),
            ("godwit explain NO", Reasons),
            ("godwit doctor ", Guests),
            ("godwit --context ", Contexts),
            ("godwit guests --host ", Contexts),
            ("godwit context use ", Contexts),
            ("godwit support-bundle ", GuestsAndMigrations),
            ("godwit migrate -- ", Guests),
        ] {
            assert_eq!(told(line), Some((names, String::new())), "{line}");
        }
        assert_eq!(told("godwit list --guest=we"), Some((Guests, "--guest=".into())));
        for line in [
            "",
            "godwit",
            "godwit ",
            "godwit mig",
            "godwit migrate --",
            "godwit migrate web-1 beta ",
            "godwit migrate --policy ",
            "godwit migrate --request-id ",
            "godwit guests ",
            "godwit certs init --host ",
            "godwit nonsense ",
            "godwit list --limit=",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn whom_the_line_would_ask_is_asked() {
        let asked = |line: &str| asked(&words(line));
        assert_eq!(
            asked("godwit --socket /a migrate "),
            Some(Wanted::Socket("/a".into()))
        );
        assert_eq!(
            asked("godwit migrate --context fleet "),
            Some(Wanted::Context("fleet".into()))
        );
    }
}
