//! `godwit list` and `godwit history`, and `godwit status` without an id.

use godwit_api::v1::{ListMigrationsRequest, Migration, MigrationFilter};
use godwit_coordinator::Which;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{history, json, text};

/// As many as a daemon tells at once.
const PAGE: u32 = 1000;

/// Which migrations, and so what is told of each.
#[derive(Clone, Copy)]
pub(super) enum Listing {
    /// Open or ended.
    All,
    Open,
    Ended,
}

impl Listing {
    fn filter(self) -> MigrationFilter {
        match self {
            Listing::All => MigrationFilter::Unspecified,
            Listing::Open => MigrationFilter::Open,
            Listing::Ended => MigrationFilter::Ended,
        }
    }

    pub(super) fn which(self) -> Which {
        match self {
            Listing::All => Which::All,
            Listing::Open => Which::Open,
            Listing::Ended => Which::Ended,
        }
    }

    fn none(self, guest: Option<&str>) -> String {
        match (self, guest) {
            (Listing::All, None) => "There are no migrations.".into(),
            (Listing::All, Some(guest)) => format!("There are no migrations of {guest}."),
            (Listing::Open, None) => "No migration is open.".into(),
            (Listing::Open, Some(guest)) => format!("No migration of {guest} is open."),
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
    most: u32,
    out: &mut Output,
) -> Result<u8, Error> {
    let request = ListMigrationsRequest {
        guest: guest.unwrap_or_default().into(),
        filter: listing.filter().into(),
        ..ListMigrationsRequest::default()
    };
    let found = paged(&mut client, request, most as usize).await?;
    tell(&found, listing, guest, out)?;
    Ok(exit::DONE)
}

/// Some of the newest.
pub(super) struct Found {
    pub(super) migrations: Vec<Migration>,
    /// There are older ones.
    pub(super) more: bool,
}

impl Found {
    /// At most so many of what may be more.
    pub(super) fn at_most(most: usize, mut migrations: Vec<Migration>) -> Found {
        let more = migrations.len() > most;
        migrations.truncate(most);
        Found { migrations, more }
    }
}

/// Page by page, as large as the daemon has them. A page without anything on it is the last, whatever it says.
async fn paged(client: &mut Client, mut request: ListMigrationsRequest, most: usize) -> Result<Found, Error> {
    let mut migrations = Vec::new();
    loop {
        request.limit = u32::try_from(most - migrations.len()).unwrap_or(PAGE).min(PAGE);
        let page = client.list(request.clone()).await?;
        let last = page.next_page_token.is_empty() || page.migrations.is_empty();
        migrations.extend(page.migrations);
        if last || migrations.len() >= most {
            let found = Found::at_most(most, migrations);
            let more = found.more || !last;
            return Ok(Found { more, ..found });
        }
        request.page_token = page.next_page_token;
    }
}

pub(super) fn tell(
    found: &Found,
    listing: Listing,
    guest: Option<&str>,
    out: &mut Output,
) -> Result<(), Error> {
    let Found { migrations, more } = found;
    if out.is_json() {
        return out.json(&json::Migrations::of(migrations, *more));
    }
    match (&migrations[..], listing) {
        ([], _) => out.line(&listing.none(guest))?,
        (_, Listing::All | Listing::Open) => out.lines(text::migrations(migrations, out.width()))?,
        (_, Listing::Ended) => out.lines(history::migrations(migrations, out.width()))?,
    }
    match more {
        true => out.line("There are older ones: --limit N, or --all, shows more."),
        false => Ok(()),
    }
}
