//! `godwit dbus install` and `godwit dbus check`: the two files of godwitd that belong to the bus and to polkit.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use godwit_api::v1::Failure;

use crate::args::DbusAct;
use crate::bundle::host::ask;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

/// Where each belongs, below the root, and what is in it.
const FILES: [(&str, &str); 2] = [
    (
        "usr/share/dbus-1/system.d/org.godwit.Daemon1.conf",
        include_str!("../../../daemon/dbus/org.godwit.Daemon1.conf"),
    ),
    (
        "usr/share/polkit-1/actions/org.godwit.policy",
        include_str!("../../../daemon/dbus/org.godwit.policy"),
    ),
];

/// Whether somebody has godwitd's name.
const OWNED: [&str; 9] = [
    "--system",
    "--timeout=3",
    "call",
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
    "NameHasOwner",
    "s",
    "org.godwit.Daemon1",
];

/// A bus that is there answers at once.
const ANSWERS: Duration = Duration::from_secs(5);

/// What is at a file's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Missing,
    Current,
    OtherVersion,
}

pub(super) fn dbus(act: &DbusAct, out: &mut Output) -> Result<u8, Error> {
    match act {
        DbusAct::Install { root } => install(root, out),
        DbusAct::Check { root } => check(root, out),
    }
}

fn install(root: &Path, out: &mut Output) -> Result<u8, Error> {
    let mut files = Vec::new();
    for (place, text) in FILES {
        let path = root.join(place);
        let found = found(&path, text)?;
        if found != Found::Current {
            put(&path, text).map_err(|error| failed("could not be written", &path, &error))?;
        }
        files.push((path, found));
    }
    if out.is_json() {
        out.json(&json::DbusInstalled { files: shown(&files) })?;
        return Ok(exit::DONE);
    }
    for (path, found) in &files {
        let what = match found {
            Found::Missing => "is installed",
            Found::OtherVersion => "is installed, over that of another version",
            Found::Current => "was there already",
        };
        out.line(&format!("{} {what}.", path.display()))?;
    }
    Ok(exit::DONE)
}

fn check(root: &Path, out: &mut Output) -> Result<u8, Error> {
    let mut files = Vec::new();
    for (place, text) in FILES {
        let path = root.join(place);
        let found = found(&path, text)?;
        files.push((path, found));
    }
    let bus = (root == Path::new("/")).then(on_bus);
    let all = |wanted: Found| files.iter().all(|(_, found)| *found == wanted);
    let code = match &bus {
        _ if files.iter().any(|(_, found)| *found == Found::Missing) => exit::NEEDS_PERSON,
        None | Some(Ok(true)) if all(Found::Current) => exit::DONE,
        _ => exit::ON_STANDBY,
    };
    if out.is_json() {
        out.json(&json::DbusChecked {
            files: shown(&files),
            on_bus: bus.as_ref().map(|bus| *bus == Ok(true)),
            because: bus.and_then(Result::err).unwrap_or_default(),
        })?;
        return Ok(code);
    }
    for (path, found) in &files {
        let what = match found {
            Found::Missing => "not there: `godwit dbus install`",
            Found::OtherVersion => "there, of another version than this godwit: `godwit dbus install`",
            Found::Current => "there, and of this version",
        };
        out.line(&format!("{}: {what}", path.display()))?;
    }
    match bus {
        None => {}
        Some(Ok(true)) => out.line("godwitd is on the bus")?,
        Some(Ok(false)) => out.line("godwitd is not on the bus: `systemctl status godwitd dbus`")?,
        Some(Err(why)) => out.line(&format!("whether godwitd is on the bus is not known: {why}"))?,
    }
    Ok(code)
}

fn found(path: &Path, text: &str) -> Result<Found, Error> {
    match fs::read(path) {
        Ok(there) if there == text.as_bytes() => Ok(Found::Current),
        Ok(_) => Ok(Found::OtherVersion),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(failed("cannot be read", path, &error)),
    }
}

/// Bus and polkit read their folders whenever something changes there: neither takes the draft, by its name, for a file of theirs.
fn put(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let draft = path.with_extension("new");
    fs::write(&draft, text)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o644))?;
    fs::rename(&draft, path)
}

fn on_bus() -> Result<bool, String> {
    Ok(ask("busctl", &OWNED, ANSWERS)?.trim() == "b true")
}

fn shown(files: &[(PathBuf, Found)]) -> Vec<json::DbusFile> {
    let file = |(path, found): &(PathBuf, Found)| json::DbusFile {
        path: path.display().to_string(),
        found: match found {
            Found::Missing => "missing",
            Found::Current => "current",
            Found::OtherVersion => "other-version",
        },
    };
    files.iter().map(file).collect()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let failure = Failure {
        reason: "DBUS".into(),
        message: format!("{} {what}", path.display()),
        causes: vec![error.to_string()],
        hint: "godwit dbus install --help".into(),
    };
    Error::Refused {
        failure: Box::new(failure),
    }
}
