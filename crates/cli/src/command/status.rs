//! `godwit status [ID]`.

use jiff::Timestamp;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

/// All about one migration.
pub(crate) async fn one(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.get(id.to_owned()).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else {
        out.lines(text::migration(&migration, Timestamp::now(), out.width()))?;
    }
    Ok(exit::DONE)
}

/// The newest migrations, a line each.
pub(crate) async fn all(mut client: Client, limit: u32, out: &mut Output) -> Result<u8, Error> {
    let migrations = client.list(limit).await?;
    if out.is_json() {
        out.json(&json::Migrations::from(&migrations[..]))?;
    } else if migrations.is_empty() {
        out.line("There are no migrations.")?;
    } else {
        out.lines(text::migrations(&migrations, out.width()))?;
    }
    Ok(exit::DONE)
}
