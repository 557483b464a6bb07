//! `godwit show ID`, and `godwit status ID`.

use godwit_api::v1::Migration;
use jiff::Timestamp;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

/// All about one migration.
pub(super) async fn show(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.get(id.to_owned()).await?;
    tell(&migration, out)?;
    Ok(exit::DONE)
}

pub(super) fn tell(migration: &Migration, out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        return out.json(&json::Migration::from(migration));
    }
    out.lines(text::migration(migration, Timestamp::now(), out.width()))
}
