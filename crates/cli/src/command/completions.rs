//! `godwit completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(super) fn completions(shell: Shell, out: &mut Output) -> Result<u8, Error> {
    let script = script(shell);
    if out.is_json() {
        out.json(&json::Page {
            name: &shell.to_string(),
            text: &script,
        })?;
    } else {
        out.ours(&script)?;
    }
    Ok(exit::DONE)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "godwit", &mut script);
    // clap writes nothing but what stands in args.rs.
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Args::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
            assert!(
                script.contains("offline") && script.contains("request-id"),
                "{shell}"
            );
        }
    }
}
