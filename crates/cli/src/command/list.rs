//! `godwit list` and `godwit history`, and `godwit status` without an id.

use godwit_api::v1::{Migration, MigrationFilter};
use godwit_coordinator::Which;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{history, json, text};

/// Which migrations, and so what is told of each.
#[derive(Clone, Copy)]
pub(super) enum Listing {
    /// Open or ended.
    All,
    Ended,
}

impl Listing {
    fn filter(self) -> MigrationFilter {
        match self {
            Listing::All => MigrationFilter::Unspecified,
            Listing::Ended => MigrationFilter::Ended,
        }
    }

    pub(super) fn which(self) -> Which {
        match self {
            Listing::All => Which::All,
            Listing::Ended => Which::Ended,
        }
    }

    fn none(self, guest: Option<&str>) -> String {
        match (self, guest) {
            (Listing::All, None) => "There are no migrations.".into(),
            (Listing::All, Some(guest)) => format!("There are no migrations of {guest}."),
            (Listing::Ended, None) => "No migration has ended yet.".into(),
            (Listing::Ended, Some(guest)) => format!("No migration of {guest} has ended yet."),
        }
    }
}

/// The newest migrations, a line each.
pub(super) async fn list(
    mut client: Client,
    listing: Listing,
    guest: Option<&str>,
    limit: u32,
    out: &mut Output,
) -> Result<u8, Error> {
    let name = guest.unwrap_or_default().to_owned();
    let migrations = client.list(name, listing.filter(), limit).await?;
    tell(&migrations, listing, guest, out)?;
    Ok(exit::DONE)
}

pub(super) fn tell(
    migrations: &[Migration],
    listing: Listing,
    guest: Option<&str>,
    out: &mut Output,
) -> Result<(), Error> {
    if out.is_json() {
        return out.json(&json::Migrations::from(migrations));
    }
    match (migrations, listing) {
        ([], _) => out.line(&listing.none(guest)),
        (_, Listing::All) => out.lines(text::migrations(migrations, out.width())),
        (_, Listing::Ended) => out.lines(history::migrations(migrations, out.width())),
    }
}
