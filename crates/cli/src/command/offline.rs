//! `--offline`: the views of `list`, `history`, `show` and `holds` out of the journal itself, when `godwitd` hangs or is gone.

use std::path::Path;

use godwit_coordinator::offline::{self, Look, OfflineError};
use jiff::Timestamp;

use super::{
    holds,
    list::{self, Found, Listing},
    show,
};
use crate::args::Listed;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::words;

pub(super) fn list(
    directory: &Path,
    listing: Listing,
    wanted: &Listed,
    out: &mut Output,
) -> Result<u8, Error> {
    let guest = wanted.guest.as_deref();
    let most = wanted.most();
    // One more says whether there are more.
    let look = offline::list(directory, guest.unwrap_or_default(), listing.which(), most + 1);
    let look = look.map_err(refused)?;
    out.note(&origin(&look, Timestamp::now()))?;
    list::tell(&Found::at_most(most as usize, look.found), listing, guest, out)?;
    Ok(tell_damage(&look.damaged, out))
}

pub(super) fn show(directory: &Path, id: &str, out: &mut Output) -> Result<u8, Error> {
    let look = offline::show(directory, id).map_err(refused)?;
    out.note(&origin(&look, Timestamp::now()))?;
    show::tell(&look.found, out)?;
    Ok(tell_damage(&look.damaged, out))
}

pub(super) fn holds(directory: &Path, out: &mut Output) -> Result<u8, Error> {
    let look = offline::holds(directory).map_err(refused)?;
    out.note(&origin(&look, Timestamp::now()))?;
    holds::tell(&look.found, out)?;
    Ok(tell_damage(&look.damaged, out))
}

/// Where it comes from and of when it is: nobody knows whether it is still so.
fn origin<T>(look: &Look<T>, now: Timestamp) -> String {
    let written = look.newest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let age = match written {
        Some(written) => format!(
            "its newest entry is {} old ({})",
            words::length(words::between(written, now)),
            words::to_second(Some(written))
        ),
        None => "it has no entry".into(),
    };
    format!("Read offline from {}; {age}.", look.path.display())
}

fn refused(error: OfflineError) -> Error {
    Error::Refused {
        failure: Box::new(error.failure()),
    }
}

/// Names what could not be read, each by itself. The command has then failed, although the rest was told.
fn tell_damage(damaged: &[OfflineError], out: &mut Output) -> u8 {
    for error in damaged {
        let failure = error.failure();
        out.failure(&failure);
        if out.is_json() {
            out.json_error(&failure);
        }
    }
    if damaged.is_empty() {
        exit::DONE
    } else {
        exit::FAILED
    }
}
