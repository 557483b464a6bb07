//! `godwit list`, and `godwit status` without an id.

use godwit_api::v1::{Migration, MigrationFilter};

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

/// The newest migrations, a line each.
pub(super) async fn list(
    mut client: Client,
    guest: Option<&str>,
    limit: u32,
    out: &mut Output,
) -> Result<u8, Error> {
    let migrations = client
        .list(
            guest.unwrap_or_default().to_owned(),
            MigrationFilter::Unspecified,
            limit,
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
        ([], None) => out.line("There are no migrations."),
        ([], Some(guest)) => out.line(&format!("There are no migrations of {guest}.")),
        (migrations, _) => out.lines(text::migrations(migrations, out.width())),
    }
}
