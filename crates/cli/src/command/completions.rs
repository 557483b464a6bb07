//! `godwit completions SHELL`.

use clap::{Command, CommandFactory};
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

/// clap's script knows commands, options and their words; names are asked for, where the shell has a way to.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "godwit", &mut script);
    // clap writes nothing but what stands in args.rs.
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + BASH,
        Shell::Zsh => match script.split_once(ZSH_MAIN) {
            Some((head, rest)) => format!("{head}{ZSH}{rest}"),
            None => script,
        },
        Shell::Fish => script + FISH,
        _ => script,
    }
}

/// The command line without what nobody types.
fn shown() -> Command {
    let all = Args::command();
    Command::new("godwit")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(
            all.get_subcommands()
                .filter(|command| !command.is_hide_set())
                .cloned(),
        )
}

/// Bash has split the words at colons and signs of equality, and puts what is completed behind the last of them.
const BASH: &str = r#"
_godwit_or_names() {
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##*[[:space:]]}"
    mapfile -t COMPREPLY < <("$1" names --line "$line" 2>/dev/null)
    if (( ${#COMPREPLY[@]} == 0 )); then
        _godwit "$@"
        return
    fi
    local lead="${word%"${word##*=}"}"
    if [[ "$COMP_WORDBREAKS" == *:* ]]; then
        lead="${word%"${word##*[:=]}"}"
    fi
    COMPREPLY=("${COMPREPLY[@]#"$lead"}")
}

if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
    complete -F _godwit_or_names -o bashdefault -o default godwit
fi
"#;

/// How clap's own function begins in the script; it gets another name.
const ZSH_MAIN: &str = "\n_godwit() {\n";

const ZSH: &str = r#"
_godwit() {
    local -a found
    found=(${(f)"$(command $words[1] names -- "${(@)words[1,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then
        compadd -- $found
    else
        _godwit_words "$@"
    fi
}

_godwit_words() {
"#;

const FISH: &str = r#"
complete -c godwit -a '(command godwit names -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token) 2>/dev/null)'
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Args::command()
                .get_subcommands()
                .filter(|command| !command.is_hide_set())
            {
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
            let asks = matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish);
            assert_eq!(script.contains(" names -"), asks, "{shell}");
            assert!(
                !script.contains("names completions"),
                "{shell} offers what nobody types"
            );
        }
    }

    #[test]
    fn zsh_has_both_functions_and_ours_goes_first() {
        let script = script(Shell::Zsh);
        let ours = script.find("\n_godwit() {\n    local -a found").expect("ours");
        let claps = script.find("\n_godwit_words() {\n").expect("clap's");
        assert!(ours < claps);
        assert_eq!(script.matches("\n_godwit() {\n").count(), 1);
    }
}
