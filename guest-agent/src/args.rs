//! The command line. By hand: a parser would be a third of the binary.

use std::ffi::OsString;
use std::path::PathBuf;

/// What virtio-serial ports are called where udev runs.
pub(crate) const DEFAULT_PORT: &str = "/dev/virtio-ports/org.godwit.agent.0";

pub(crate) const HELP: &str = "\
godwit-agent moves the traffic of this guest between its VF and its virtio NIC
when the host's godwitd asks for it, and says what it observed.

Usage: godwit-agent [--port PATH]

  --port PATH   the virtio-serial port (default /dev/virtio-ports/org.godwit.agent.0)
  --version     print the version
  --help        print this

It logs to standard error and runs until SIGTERM.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Serve { port: PathBuf },
    Version,
    Help,
}

/// Reads the arguments that follow the program's name. An error is one sentence.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut port = PathBuf::from(DEFAULT_PORT);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Asked::Help),
            Some("--version" | "-V") => return Ok(Asked::Version),
            Some("--port") => port = arguments.next().ok_or("--port needs a path.")?.into(),
            Some(text) if text.starts_with("--port=") => port = text.replacen("--port=", "", 1).into(),
            _ => {
                return Err(format!(
                    "{argument:?} is no argument of godwit-agent; --help lists them."
                ));
            }
        }
        if port.as_os_str().is_empty() {
            return Err("--port needs a path.".to_owned());
        }
    }
    Ok(Asked::Serve { port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Asked, String> {
        read(words.iter().map(OsString::from))
    }

    #[test]
    fn what_is_understood() {
        let serve = |port: &str| Ok(Asked::Serve { port: port.into() });
        assert_eq!(of(&[]), serve(DEFAULT_PORT));
        assert_eq!(of(&["--port", "/dev/vport1p1"]), serve("/dev/vport1p1"));
        assert_eq!(of(&["--port=/dev/vport1p1"]), serve("/dev/vport1p1"));
        assert_eq!(of(&["--version"]), Ok(Asked::Version));
        assert_eq!(of(&["--port", "x", "--help"]), Ok(Asked::Help));
    }

    #[test]
    fn what_is_not_is_said() {
        assert_eq!(
            of(&["--prot"]).unwrap_err(),
            "\"--prot\" is no argument of godwit-agent; --help lists them."
        );
        assert_eq!(of(&["--port"]).unwrap_err(), "--port needs a path.");
        assert_eq!(of(&["--port="]).unwrap_err(), "--port needs a path.");
        assert_eq!(
            of(&["/dev/vport1p1"]).unwrap_err(),
            "\"/dev/vport1p1\" is no argument of godwit-agent; --help lists them."
        );
    }
}
