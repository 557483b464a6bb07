//! The images hosts and guest start from. Each is kept under a key of everything it is made of: a change makes
//! it anew, nothing else does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{command, output, run, show};
use crate::{Place, qemu, say};

/// Debian's name of the release hosts and guest are made of.
const SUITE: &str = "trixie";

/// Images that are there and whole.
#[derive(Clone, Debug)]
pub struct Images {
    root: PathBuf,
    host: PathBuf,
    guest: PathBuf,
    modular: PathBuf,
}

impl Images {
    /// The root file system that hosts are made from, and this rig's QEMU.
    pub fn root(&self) -> PathBuf {
        self.root.join("fs")
    }

    /// The kernel of hosts and guest.
    pub fn kernel(&self) -> PathBuf {
        self.root.join("vmlinuz")
    }

    /// What a host's kernel starts.
    pub fn host_initramfs(&self) -> PathBuf {
        self.host.join("host.cpio")
    }

    /// The disk every host's own disk is laid over.
    pub fn host_disk(&self) -> PathBuf {
        self.host.join("host.ext4")
    }

    /// The guest's initramfs without this checkout's binaries.
    pub fn guest_initramfs(&self) -> PathBuf {
        self.guest.join("guest.cpio")
    }
}

/// Makes what is missing. From nothing it takes a minute or two, most of it the network's.
pub fn build(place: &Place) -> Result<Images> {
    login_key(place)?;
    let assets = place.assets();
    let modules = assets.join("image/modules.sh");

    let script = assets.join("image/root.sh");
    let key = root_key(place)?;
    let root = made(place, "root", key, |out| {
        show(command(&script, [mirror()?, SUITE.into()]).arg(out)).context("the root file system")
    })?;

    let script = assets.join("image/guest.sh");
    let guest_key = key.files([&script, &modules, &assets.join("guest/init")])?;
    let guest = made(place, "guest", guest_key, |out| {
        run(command(&script, [&root, &assets]).arg(out))
    })?;
    // Only one story wants it.
    let modular = place_of(place, "modular", modular_key(place, key)?);

    let script = assets.join("image/host.sh");
    let public = place.key().with_extension("pub");
    let mut parts = vec![script.clone(), modules, public.clone()];
    parts.extend(files_of(&assets.join("host"))?);
    let host_key = key.text(qemu::CPU).files(&parts)?;
    let host = made(place, "host", host_key, |out| {
        run(command(&script, [&root, &assets, &public]).arg(out))?;
        let images = Images {
            root: root.clone(),
            host: out.to_owned(),
            guest: guest.clone(),
            modular: modular.clone(),
        };
        qemu::bake(
            &images,
            &images.host_initramfs(),
            &images.host_disk(),
            &out.join("bake.console"),
        )
    })?;
    Ok(Images {
        root,
        host,
        guest,
        modular,
    })
}

/// libvirt's daemons of one driver each, made of Debian's source, which is packaged as `libvirtd` alone; the folder of the
/// programs. From nothing it takes some minutes.
pub fn modular(place: &Place) -> Result<PathBuf> {
    let images = build(place)?;
    let script = modular_script(place);
    let key = modular_key(place, root_key(place)?)?;
    made(place, "modular", key, |out| {
        let mut make = command(&script, [mirror()?, SUITE.into()]);
        show(make.arg(&images.root).arg(out)).context("libvirt's daemons")
    })
}

fn modular_script(place: &Place) -> PathBuf {
    place.assets().join("image/modular.sh")
}

fn modular_key(place: &Place, root: Key) -> Result<Key> {
    root.files([modular_script(place)])
}

fn root_key(place: &Place) -> Result<Key> {
    Key::new()
        .text(SUITE)
        .files([place.assets().join("image/root.sh")])
}

/// Removes images nothing is made from any more.
pub fn prune(place: &Place, images: &Images) -> Result<()> {
    for entry in fs::read_dir(place.images())? {
        let path = entry?.path();
        let used = [&images.root, &images.host, &images.guest, &images.modular];
        if !used.contains(&&path) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A directory that is renamed to its final name once it is whole, so that a crash leaves none half made.
fn made(place: &Place, kind: &str, key: Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let done = place_of(place, kind, key);
    if done.is_dir() {
        return Ok(done);
    }
    let started = Instant::now();
    say(format!("making the {kind} image"));
    let making = place.images().join(format!("{kind}.making"));
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    make(&making).with_context(|| format!("cannot make the {kind} image"))?;
    run(command("sync", ["--file-system"]).arg(&making))?;
    fs::rename(&making, &done)?;
    say(format!(
        "made the {kind} image in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(done)
}

fn place_of(place: &Place, kind: &str, key: Key) -> PathBuf {
    place.images().join(format!("{kind}-{:016x}", key.0))
}

fn login_key(place: &Place) -> Result<()> {
    let key = place.key();
    let public = key.with_extension("pub");
    if key.exists() && public.exists() {
        return Ok(());
    }
    let dir = key.parent().context("the key has no directory")?;
    fs::create_dir_all(dir)?;
    for file in [&key, &public] {
        let _ = fs::remove_file(file);
    }
    run(command(
        "ssh-keygen",
        ["-q", "-t", "ed25519", "-N", "", "-C", "godwit-rig", "-f"],
    )
    .arg(key))
}

/// The archive this machine itself installs from: it is reachable, and near.
fn mirror() -> Result<String> {
    archive().map(|(uri, _)| uri)
}

/// The same, and the name of this machine's release in it.
pub fn archive() -> Result<(String, String)> {
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release names no release; the rig needs a Debian machine")?;
    let format = "$(COMPONENT) $(RELEASE) $(REPO_URI)";
    let targets = output(&mut command(
        "apt-get",
        ["indextargets", "--format", format, "Identifier: Packages"],
    ))?;
    let wanted = format!("main {codename} ");
    let mut uris: Vec<&str> = targets
        .lines()
        .filter_map(|line| line.strip_prefix(&wanted))
        .collect();
    // Other archives may use the release's name too; Debian's own ends in its name.
    uris.sort_by_key(|uri| !uri.trim_end_matches('/').ends_with("/debian"));
    match uris.first() {
        Some(uri) => Ok(((*uri).to_owned(), codename.to_owned())),
        None => bail!("apt knows no archive of Debian {codename}"),
    }
}

fn files_of(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// FNV-1a over what something is made of; it tells changes apart and need not resist anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// Of nothing.
    #[expect(
        clippy::new_without_default,
        reason = "a key of nothing is a beginning, not a sensible default"
    )]
    pub fn new() -> Key {
        Key(0xcbf2_9ce4_8422_2325)
    }

    /// With these bytes too.
    pub fn bytes(self, bytes: &[u8]) -> Key {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        // The length keeps "ab" + "c" apart from "a" + "bc".
        let length = (bytes.len() as u64).to_le_bytes();
        Key(length.iter().chain(bytes).fold(self.0, step))
    }

    /// With this text too.
    pub fn text(self, text: &str) -> Key {
        self.bytes(text.as_bytes())
    }

    /// With what is in these files too.
    pub fn files(self, files: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Key> {
        files.into_iter().try_fold(self, |key, file| {
            let file = file.as_ref();
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok(key.bytes(&bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn key_tells_parts_apart() {
        assert_ne!(Key::new().text("ab").text("c"), Key::new().text("a").text("bc"));
        assert_eq!(Key::new().text("ab"), Key::new().bytes(b"ab"));
    }
}
