//! What the hook does without the daemon: a small file that the daemon writes whenever it starts, in its directory of state,
//! where it outlives the daemon and a reboot.
//!
//! It is written and not the daemon's own configuration read, so that there is one reader of that configuration, the one
//! which checks it; and it cannot say anything else than the daemon that ran here last.

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

/// Where the hook looks for it; another place by the environment variable [`ELSEWHERE`], for tests.
pub const PATH: &str = "/var/lib/godwit/hook.conf";

/// Environment variable that names another file. libvirt gives its hooks none of its own environment but a few of the
/// system's variables.
pub const ELSEWHERE: &str = "GODWIT_HOOK_SETTINGS";

/// More than any such file has.
const MOST: u64 = 64 * 1024;

/// What becomes of a guest of Godwit's that comes here when there is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It stays where it is: its migration is refused, with a sentence.
    #[default]
    Refuse,
    /// It comes as it is.
    Pass,
}

/// What the hook knows without the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of a guest of Godwit's when there is no answer.
    pub policy: Policy,
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// How long an answer is waited for, from the moment that the guest's XML was read.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policy: Policy::default(),
            socket: "/run/godwit/hook.sock".into(),
            deadline: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// The word in configuration and file.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Refuse => "refuse",
            Policy::Pass => "pass",
        }
    }
}

impl Settings {
    /// The longest deadline that is kept: a hook that waits longer would only be in libvirt's way.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// Those of a file. What cannot be read, or is not understood, is as in [`Settings::default`]: the careful way.
    pub fn read(path: &Path) -> Settings {
        let small = fs::metadata(path).is_ok_and(|file| file.len() <= MOST);
        let text = small.then(|| fs::read_to_string(path).ok()).flatten();
        Settings::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "policy" if value == "pass" => settings.policy = Policy::Pass,
                "socket" if value.starts_with('/') && !value.contains(char::is_control) => {
                    settings.socket = value.into();
                }
                "deadline-ms" => {
                    let deadline = value.parse().map(Duration::from_millis);
                    let kept = deadline.ok().filter(|deadline| {
                        (1..=Settings::LONGEST.as_millis()).contains(&deadline.as_millis())
                    });
                    settings.deadline = kept.unwrap_or(settings.deadline);
                }
                // Of a later daemon.
                _ => {}
            }
        }
        settings
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The directory is not there or cannot be written to; a socket that such a file cannot name.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let socket = self
            .socket
            .to_str()
            .filter(|socket| !socket.contains(char::is_control));
        let socket = socket.ok_or_else(|| io::Error::other("the socket's path is not one line of text"))?;
        let text = format!(
            "# Written by godwitd when it starts, for its hook: change godwitd.toml, [hook].\n\
             policy={}\nsocket={socket}\ndeadline-ms={}\n",
            self.policy.name(),
            self.deadline.as_millis()
        );
        let draft = path.with_extension("new");
        fs::write(&draft, text)?;
        fs::rename(&draft, path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hook.conf");
        assert_eq!(Settings::read(&path), Settings::default());
        let settings = Settings {
            policy: Policy::Pass,
            socket: "/run/elsewhere/hook.sock".into(),
            deadline: Duration::from_millis(1500),
        };
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path), settings);
        Settings::default().write(&path).unwrap();
        assert_eq!(Settings::read(&path), Settings::default());
    }

    #[test]
    fn what_is_not_understood_is_the_careful_way() {
        for text in [
            "policy=Pass",
            "policy = pass",
            "policy",
            "socket=relative",
            "deadline-ms=0",
            "deadline-ms=99999999",
        ] {
            assert_eq!(Settings::parse(text), Settings::default(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in ".{0,200}") {
            prop_assert!(Settings::parse(&text).deadline <= Settings::LONGEST);
        }
    }
}
