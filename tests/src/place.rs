//! Where the rig keeps things and finds its parts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::Host;
use crate::images::Key;

/// Where the rig is unless it is told otherwise; it survives a reboot of the machine.
const DEFAULT: &str = "/var/tmp/godwit-rig";

/// The checkout the rig works for, and the directory everything it makes goes into.
#[derive(Clone, Debug)]
pub struct Place {
    /// The root of this checkout.
    pub checkout: PathBuf,
    /// The rig's own directory.
    pub dir: PathBuf,
}

impl Place {
    /// `$GODWIT_RIG`, or the usual one.
    pub fn from_environment() -> Result<Place> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = manifest
            .parent()
            .context("the rig's package is not in a checkout")?
            .to_owned();
        let dir = std::env::var_os("GODWIT_RIG").map_or_else(|| DEFAULT.into(), PathBuf::from);
        Ok(Place {
            checkout,
            dir: std::path::absolute(dir)?,
        })
    }

    /// Its network namespace; a rig in another directory has another one.
    pub fn namespace(&self) -> String {
        match self.dir == Path::new(DEFAULT) {
            true => "godwit-rig".into(),
            false => format!("godwit-rig-{:x}", Key::new().text(&self.dir.to_string_lossy()).0),
        }
    }

    /// The files images are made of.
    pub fn assets(&self) -> PathBuf {
        self.checkout.join("tests/rig")
    }

    /// Images, one directory per kind and key.
    pub fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// What a running rig leaves: process ids, sockets, consoles.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// What outlives a host's power: its disk.
    pub fn host(&self, host: Host) -> PathBuf {
        self.dir.join("hosts").join(host.name())
    }

    /// The ssh key the rig logs in with.
    pub fn key(&self) -> PathBuf {
        self.dir.join("keys/id")
    }

    /// Certificates of the hosts and of the authority that signed them.
    pub fn tls(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// Where cargo puts what it builds.
    pub fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.checkout.join("target"), |dir| self.checkout.join(dir))
    }

    /// Makes the directory of a running rig.
    pub fn make_run(&self) -> Result<()> {
        let run = self.run();
        // The kernel limits a socket's path to 107 bytes; the rig's own names need some of them.
        ensure!(
            run.as_os_str().len() <= 75,
            "{} is too long a name for sockets",
            run.display()
        );
        fs::create_dir_all(&run).with_context(|| format!("cannot make {}", run.display()))
    }

    /// Keeps a second rig command from changing the same rig until the returned file is dropped.
    pub fn lock(&self) -> Result<File> {
        self.lock_file("lock", "another rig command is at work, waiting for it")
    }

    /// Keeps a second run of stories from the same rig until the returned file is dropped. Rig commands are not kept
    /// from it: stories use them.
    pub fn lock_for_stories(&self) -> Result<File> {
        self.lock_file(
            "stories",
            "other stories are told on this rig, waiting for their end",
        )
    }

    fn lock_file(&self, name: &str, busy: &str) -> Result<File> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let file = File::create(self.dir.join(name))?;
        if file.try_lock().is_err() {
            crate::say(busy);
            file.lock()?;
        }
        Ok(file)
    }
}
