//! How fast memory went to a destination before, by the history of this host.

use godwit_migration::{Brief, Figures, Migration, Role, plan::Carried};

use crate::{Coordinator, Which, World};

/// So many of those that have ended are looked through, the newest.
const NEWEST: u32 = 32;
/// Of less the rate says little: most of such a transfer is its beginning and its end, bytes.
const ENOUGH: u64 = 64 << 20;

impl<W: World> Coordinator<W> {
    /// As the newest transfer to the brief's destination had it that nobody limited. None: there is none, or it cannot be read.
    pub(super) async fn carried(&self, brief: &Brief) -> Option<Carried> {
        // Then that is the rate.
        if brief.options.bandwidth.is_some() {
            return None;
        }
        let ended = self.0.journal.newest("", Which::Ended, NEWEST, None).await.ok()?;
        ended
            .iter()
            .find_map(|migration| carried(migration, &brief.destination))
    }
}

fn carried(migration: &Migration, destination: &str) -> Option<Carried> {
    let brief = &migration.brief;
    let went = brief.role == Role::Source && brief.destination == destination;
    let figures = migration
        .figures()
        .filter(|_| went && brief.options.bandwidth.is_none())?;
    let Figures {
        memory_processed: sent,
        elapsed_ms,
        ..
    } = figures;
    if sent < ENOUGH || elapsed_ms == 0 {
        return None;
    }
    // That of QEMU leaves the beginning out.
    let rate = match figures.rate {
        0 => sent.saturating_mul(1000) / elapsed_ms,
        rate => rate,
    };
    Some(Carried {
        rate,
        because: format!(
            "so fast was the newest transfer to {destination}, that of `{}`",
            brief.guest.name
        ),
    })
}
