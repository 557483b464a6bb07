//! How often each fault has struck, in a small file: it must survive the deaths that it counts.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Strikes by the fault's own words.
type Strikes = BTreeMap<String, u32>;

#[derive(Debug, Default)]
pub(super) struct Tally {
    path: Option<PathBuf>,
    strikes: Mutex<Strikes>,
}

impl Tally {
    /// Reads `directory/faults.json`, or removes it where nothing is to be counted.
    pub(super) fn open(directory: &Path, wanted: bool) -> io::Result<Tally> {
        let path = directory.join("faults.json");
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let none = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Strikes::new()),
            _ => Err(named(error)),
        };
        if !wanted {
            fs::remove_file(&path).map(|()| Strikes::new()).or_else(none)?;
            return Ok(Tally::default());
        }
        let read = |text: String| serde_json::from_str(&text).map_err(|error| named(error.into()));
        let strikes = match fs::read_to_string(&path) {
            Ok(text) => read(text)?,
            Err(error) => none(error)?,
        };
        Ok(Tally {
            path: Some(path),
            strikes: Mutex::new(strikes),
        })
    }

    pub(super) fn of(&self, fault: &str) -> u32 {
        self.strikes().get(fault).copied().unwrap_or(0)
    }

    /// One strike more, durable, unless that is more than `most`: how many it makes.
    pub(super) fn count(&self, fault: &str, most: u32) -> io::Result<Option<u32>> {
        let mut strikes = self.strikes();
        let struck = strikes.get(fault).copied().unwrap_or(0);
        if struck >= most {
            return Ok(None);
        }
        let mut next = strikes.clone();
        next.insert(fault.into(), struck + 1);
        if let Some(path) = &self.path {
            write(path, &next)?;
        }
        *strikes = next;
        Ok(Some(struck + 1))
    }

    fn strikes(&self) -> MutexGuard<'_, Strikes> {
        // What it guards is replaced whole, never half.
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole or not at all, and on the disk when it returns.
fn write(path: &Path, strikes: &Strikes) -> io::Result<()> {
    let next = path.with_extension("json.next");
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(strikes)?)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
