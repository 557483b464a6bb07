//! A migration that was asked for, and what it is with the configuration's defaults.

use godwit_migration::{Brief, Cause, Event, Keep, Migration, Options, Policy};

use super::Coordinator;
use crate::{JournalError, Refused, World};

/// A migration that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Name or UUID.
    pub(crate) guest: String,
    /// Name of the host.
    pub(crate) destination: String,
    /// The caller's own id for it; empty: none.
    pub(crate) request: String,
    /// None: the guest's own.
    pub(crate) policy: Option<Policy>,
    /// Probes a second; none: as the configuration has it.
    pub(crate) probes: Option<u32>,
    /// As [`Brief::keep`]; none: as the configuration has it.
    pub(crate) keep: Option<Keep>,
    /// libvirt's own, as they were asked for.
    pub(crate) options: Options,
    /// Reasons of errors that are to keep it from nothing.
    pub(crate) ignore: Vec<String>,
}

impl<W: World> Coordinator<W> {
    /// What a request made. One that Reserve refused made nothing as soon as all is undone, and may be made again.
    pub(super) async fn requested(&self, request_id: &str) -> Result<Option<Migration>, JournalError> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let made = self.0.journal.by_request(request_id).await?;
        Ok(made.filter(|made| !is_undone(made)))
    }

    /// Probes a second, where nothing or something else is wanted.
    pub(super) fn probes(&self, wanted: Option<u32>) -> u32 {
        wanted
            .unwrap_or(self.0.settings.unasked.probes)
            .min(Brief::MOST_PROBES)
    }

    /// Whether frames of the pause are kept, where nothing or something else is wanted.
    pub(super) fn keep(&self, wanted: Option<Keep>) -> Keep {
        wanted.unwrap_or(self.0.settings.unasked.keep)
    }

    /// What the transfer is to be like: as it was asked for, and else as the configuration has it.
    pub(super) fn options(&self, wanted: &Wanted) -> Result<Options, Refused> {
        let options = wanted.options.clone().or(&self.0.settings.unasked.transfer);
        match options.check() {
            Ok(()) => Ok(options),
            Err(wrong) if wanted.options.check().is_err() => Err(Refused::Invalid(wrong.to_string())),
            Err(wrong) => Err(Refused::Invalid(format!(
                "{wrong} ([transfer] in the configuration has one of them)"
            ))),
        }
    }
}

/// What Reserve ended it for: its caller was told so, instead of being given it.
pub(super) fn refused_by(migration: &Migration) -> Option<&Cause> {
    match &migration.entries().first()?.event {
        Event::Failed(cause) => Some(cause),
        _ => None,
    }
}

fn is_undone(migration: &Migration) -> bool {
    migration.ended() && refused_by(migration).is_some()
}
