//! The configuration file of a user: hosts by name, and the keys for them. It holds paths and no keys.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use godwit_server::Files;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::args::Given;

/// The context that is always there: the socket of this host.
pub(crate) const LOCAL: &str = "local";
/// No such file is larger.
const LARGEST: u64 = 1 << 20;
/// Another `godwit context` has written by then.
const BUSY: Duration = Duration::from_secs(5);

/// Contexts by name, and the one in use.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    file: Text,
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(rename = "context")]
    contexts: BTreeMap<String, Context>,
}

/// A host, and the keys for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) address: String,
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificates that the authority has revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crl: Option<PathBuf>,
    /// The DNS name in the host's certificate, where it is not the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
}

impl Context {
    pub(crate) fn files(&self) -> Files {
        Files {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            crl: self.crl.clone(),
        }
    }
}

/// Why there is no such context, or none can be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error("there is no context `{name}`")]
    Unknown { name: String, known: Vec<String> },
    #[error("no context says with which keys {host} is to be asked")]
    WithoutKeys { host: String },
    #[error("{} {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    #[error("{} is no configuration of contexts: {detail}", path.display())]
    Text { path: PathBuf, detail: String },
    #[error("`{text}` is no address: HOST or HOST:PORT is wanted")]
    Address { text: String },
    #[error("`{text}` is no name of a context: letters, digits, `-`, `_` and `.` are, at most 64")]
    Name { text: String },
    #[error("a new context needs {missing}")]
    Incomplete { missing: String },
    #[error("no home directory is known: HOME is not set")]
    Homeless,
}

impl Contexts {
    /// Of this user. A file that is not there has none.
    ///
    /// # Errors
    /// One that cannot be read, is no TOML, or has keys that are unknown.
    pub(crate) fn read() -> Result<Contexts, ContextError> {
        // Who has neither a home nor said where the file is has none.
        match path() {
            Ok(path) => Contexts::at(path),
            Err(_) => Contexts::parse(PathBuf::new(), ""),
        }
    }

    fn at(path: PathBuf) -> Result<Contexts, ContextError> {
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        match read {
            Ok(length) if length as u64 > LARGEST => {
                let detail = format!("it has more than {LARGEST} bytes");
                Err(ContextError::Text { path, detail })
            }
            Ok(_) => Contexts::parse(path, &text),
            Err(error) if is_none(&path, &error) => Contexts::parse(path, ""),
            Err(source) => Err(ContextError::File {
                path,
                what: "cannot be read",
                source,
            }),
        }
    }

    pub(crate) fn parse(path: PathBuf, text: &str) -> Result<Contexts, ContextError> {
        let wrong = |detail: String| ContextError::Text {
            path: path.clone(),
            detail,
        };
        // toml shows the line with a mark below it; here it has to be one sentence.
        let parsed = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            let at = line.map_or_else(String::new, |line| format!("line {line}: "));
            wrong(format!("{at}{}", error.message().replace('\n', " ")))
        });
        let mut file: Text = parsed?;
        let beside = path.parent().map(Path::to_owned).unwrap_or_default();
        for (name, context) in &mut file.contexts {
            named(name)?;
            Address::parse(&context.address)?;
            for path in [&mut context.ca, &mut context.certificate, &mut context.key] {
                *path = from(&beside, path);
            }
        }
        Ok(Contexts { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The one in use; none: this host.
    pub(crate) fn current(&self) -> Option<&str> {
        self.file.current.as_deref().filter(|name| *name != LOCAL)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Context, ContextError> {
        self.file.contexts.get(name).ok_or_else(|| ContextError::Unknown {
            name: name.into(),
            known: self.file.contexts.keys().cloned().collect(),
        })
    }

    /// All, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.file
            .contexts
            .iter()
            .map(|(name, context)| (name.as_str(), context))
    }

    fn change(&mut self, change: &Change<'_>) -> Result<(), ContextError> {
        match change {
            Change::Use(LOCAL) => self.file.current = None,
            Change::Use(name) => {
                self.get(name)?;
                self.file.current = Some((*name).into());
            }
            Change::Set(name, given) => {
                named(name)?;
                let context = made(self.file.contexts.get(*name), given)?;
                self.file.contexts.insert((*name).into(), context);
            }
            Change::Remove(name) => {
                self.get(name)?;
                self.file.contexts.remove(*name);
                if self.current() == Some(name) {
                    self.file.current = None;
                }
            }
        }
        Ok(())
    }
}

/// What is to become of the file.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Use(&'a str),
    Set(&'a str, &'a Given),
    Remove(&'a str),
}

/// Reads the file, changes it and puts the new one in its place, so that whoever reads it meanwhile has the old one or the
/// new one. Two that do so at once do so one after the other.
///
/// # Errors
/// As of reading; what is asked for and not to be had; a file that cannot be written.
pub(crate) fn change(change: &Change<'_>) -> Result<Contexts, ContextError> {
    let path = path()?;
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let unwritable = |source| ContextError::File {
        path: path.clone(),
        what: "cannot be written",
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(unwritable)?;
    let _lock = lock(&directory).map_err(unwritable)?;
    let mut contexts = Contexts::at(path.clone())?;
    contexts.change(change)?;
    let text = toml::to_string(&contexts.file).map_err(|error| unwritable(io::Error::other(error)))?;
    // A file that is a link stays one: what it points to is replaced.
    let place = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    replace(&place, &text).map_err(unwritable)?;
    Ok(contexts)
}

/// There is no such file. A service may have somebody else's home, or none: a file that it cannot even look for is not its own.
fn is_none(path: &Path, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::PermissionDenied => {
            fs::metadata(path).is_err() && std::env::var_os("GODWIT_CONFIG").is_none()
        }
        _ => false,
    }
}

/// Held as long as the file is open.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let begun = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another godwit is writing it",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Written beside it for this user alone, on the disk, and only then in its place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    // Of one who had this number before and came to no end: nobody else writes now.
    let _ = fs::remove_file(&fresh);
    let written = write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was there, with what is given instead.
fn made(old: Option<&Context>, given: &Given) -> Result<Context, ContextError> {
    if let Some(address) = &given.address {
        Address::parse(address)?;
    }
    let absolute = |new: &PathBuf| std::path::absolute(new).unwrap_or_else(|_| new.clone());
    let mut missing = Vec::new();
    let mut path = |option, new: &Option<PathBuf>, old: Option<&PathBuf>| match (new, old) {
        // As it was meant where it was typed.
        (Some(new), _) => absolute(new),
        (None, Some(old)) => old.clone(),
        (None, None) => {
            missing.push(option);
            PathBuf::new()
        }
    };
    let ca = path("--ca", &given.ca, old.map(|old| &old.ca));
    let certificate = path(
        "--certificate",
        &given.certificate,
        old.map(|old| &old.certificate),
    );
    let key = path("--key", &given.key, old.map(|old| &old.key));
    let crl = given.crl.as_ref().map(absolute);
    let crl = crl.or_else(|| old?.crl.clone());
    let address = given
        .address
        .clone()
        .or_else(|| old.map(|old| old.address.clone()));
    if address.is_none() {
        missing.insert(0, "--address");
    }
    let (Some(address), []) = (address, &missing[..]) else {
        let missing = missing.join(", ");
        return Err(ContextError::Incomplete { missing });
    };
    let kept = old.filter(|_| given.address.is_none());
    Ok(Context {
        address,
        ca,
        certificate,
        key,
        crl,
        // Another address is another host, and has another name.
        server_name: given.server_name.clone().or_else(|| kept?.server_name.clone()),
    })
}

fn named(name: &str) -> Result<(), ContextError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match (1..=64).contains(&name.len()) && name.chars().all(plain) && name != LOCAL {
        true => Ok(()),
        false => Err(ContextError::Name { text: name.into() }),
    }
}

/// `~/` is this user's home; what is relative is beside the file.
fn from(beside: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => beside.join(path),
    }
}

fn home() -> Option<PathBuf> {
    directory("HOME")
}

/// A variable with a directory's path; what is relative is none (as the base directory specification has it).
fn directory(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    path.is_absolute().then_some(path)
}

/// Where the file is, or would be.
fn path() -> Result<PathBuf, ContextError> {
    if let Some(named) = std::env::var_os("GODWIT_CONFIG").filter(|named| !named.is_empty()) {
        return Ok(std::path::absolute(&named).unwrap_or_else(|_| named.into()));
    }
    let base = directory("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    Ok(base.ok_or(ContextError::Homeless)?.join("godwit/config.toml"))
}

#[cfg(test)]
mod tests;
