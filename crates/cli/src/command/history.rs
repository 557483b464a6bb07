//! `godwit history`.

use godwit_api::v1::{Migration, MigrationFilter};

use crate::args::List;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{history, json};

/// The migrations that have ended, a line each.
pub(super) async fn history(mut client: Client, wanted: &List, out: &mut Output) -> Result<u8, Error> {
    let guest = wanted.guest.as_deref();
    let migrations = client
        .list(
            guest.unwrap_or_default().to_owned(),
            MigrationFilter::Ended,
            wanted.limit,
        )
        .await?;
    tell(&migrations, guest, out)?;
    Ok(exit::DONE)
}

pub(super) fn tell(migrations: &[Migration], guest: Option<&str>, out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        return out.json(&json::Migrations::from(migrations));
    }
    match (migrations, guest) {
        ([], None) => out.line("No migration has ended yet."),
        ([], Some(guest)) => out.line(&format!("No migration of {guest} has ended yet.")),
        (migrations, _) => out.lines(history::migrations(migrations, out.width())),
    }
}
