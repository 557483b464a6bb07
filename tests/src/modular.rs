//! libvirt as a daemon for each driver: `virtqemud`, `virtnetworkd`, and `virtproxyd` for whoever looks for `libvirtd`. The hosts
//! have libvirtd; a story switches them over and back, with their guests running.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::command;
use crate::install::start_again;
use crate::{Host, Place, images, ssh};

/// On the hosts, once it was wanted there.
const SWITCH: &str = "/usr/local/sbin/rig-modular";

/// Both hosts have it. They have libvirtd again when this is dropped.
#[derive(Debug)]
pub struct Modular<'a>(&'a Place);

impl<'a> Modular<'a> {
    /// Puts the daemons on both hosts and starts them, instead of libvirtd.
    pub fn switch_on(place: &'a Place) -> Result<Modular<'a>> {
        let tree = place.dir.join("install/modular");
        lay_out(place, &images::modular(place)?, &tree)?;
        let mut tar = command("tar", ["--create", "--owner=0", "--group=0", "--directory"]);
        let packed = tar.arg(&tree).arg(".").output().context("cannot run tar")?;
        ensure!(packed.status.success(), "tar: {}", packed.status);
        let modular = Modular(place);
        for host in Host::ALL {
            ssh::run_with(place, host, "tar --extract --directory /", &packed.stdout)?;
            ssh::run(place, host, "rig-modular on")?;
        }
        Ok(modular)
    }
}

impl Drop for Modular<'_> {
    fn drop(&mut self) {
        for host in Host::ALL {
            if let Err(error) = switch_off(self.0, host) {
                crate::say(format!("{host} has libvirt in pieces yet: {error:#}"));
            }
        }
    }
}

/// Programs and configuration, where the hosts have them.
fn lay_out(place: &Place, programs: &Path, tree: &Path) -> Result<()> {
    start_again(tree)?;
    for from in [programs, &place.assets().join("modular")] {
        for entry in fs::read_dir(from)? {
            let file = entry?.path();
            let name = file.file_name().context("a file has a name")?;
            let configures = file.extension().is_some_and(|end| end == "conf");
            let folder = tree.join(if configures {
                "etc/libvirt"
            } else {
                "usr/local/sbin"
            });
            fs::create_dir_all(&folder)?;
            fs::copy(&file, folder.join(name))?;
        }
    }
    Ok(())
}

/// The host has libvirtd, whatever it had before.
pub fn switch_off(place: &Place, host: Host) -> Result<()> {
    ssh::run(place, host, &format!("[ ! -x {SWITCH} ] || {SWITCH} off"))
}
