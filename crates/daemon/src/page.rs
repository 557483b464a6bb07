//! The manual page of `godwitd`, out of what its `--help` says.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;

/// What stands below the help.
pub(crate) const MORE: &str = "\
Files:
  /etc/godwit/godwitd.toml  the configuration, in which sockets and directories are named
  /var/lib/godwit           the journal (godwit.db), and the settings of libvirt's hook (hook.conf)
  /run/godwit/godwitd.sock  where `godwit` asks

Environment:
  RUST_LOG  the detail of the log on standard error: info, or godwitd=debug for each call

Exit codes:
  0  asked to stop, and stopped; with --check: the configuration is good
  1  not started, or ended by itself; why is on standard error
  2  wrong usage";

/// Prints it.
pub(crate) fn print(command: Command) -> io::Result<()> {
    io::stdout().write_all(page(command)?.as_bytes())
}

fn page(command: Command) -> io::Result<String> {
    let source = format!("godwitd {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).section("8").source(source).manual("Godwit");
    let mut text = Vec::new();
    man.render(&mut text)?;
    // What stands below the help stays as it was written, line by line.
    Ok(String::from_utf8_lossy(&text)
        .replace(".SH EXTRA\n", ".SH NOTES\n.nf\n")
        .replace(".SH VERSION\n", ".fi\n.SH VERSION\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::page;
    use crate::Args;

    #[test]
    fn every_option_of_the_help_is_in_the_page() {
        let help = Args::command().render_long_help().to_string();
        let page = page(Args::command()).unwrap().replace("\\-", "-");
        assert!(page.contains(".TH godwitd 8 "), "{page}");
        let options = help
            .lines()
            .flat_map(|line| line.split_whitespace().take(2))
            .filter(|word| word.starts_with("--"));
        let options: Vec<&str> = options.collect();
        assert!(options.len() >= 6, "{help}");
        for option in options {
            assert!(
                page.contains(&format!("\\fB{option}\\fR")),
                "no {option}:\n{page}"
            );
        }
        for argument in Args::command().get_arguments() {
            let words = argument.get_help().unwrap().to_string();
            assert!(page.replace("\\*(Aq", "'").contains(&words), "{words}:\n{page}");
        }
    }

    #[test]
    fn what_stands_below_the_help_is_in_the_page_line_by_line() {
        let page = page(Args::command()).unwrap().replace("\\-", "-");
        let notes = page.split_once("\n.SH NOTES\n.nf\n").unwrap().1;
        let (notes, _) = notes.split_once("\n.fi\n.SH VERSION\n").unwrap();
        for part in ["Files:\n", "Environment:\n", "Exit codes:\n"] {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
