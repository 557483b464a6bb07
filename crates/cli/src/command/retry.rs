//! `godwit retry ID`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, outcome};

pub(super) async fn retry(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.retry(id.to_owned()).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else {
        let id = &migration.id;
        out.line(&format!(
            "{} {id}: what rests is tried now.",
            outcome::noun(&migration)
        ))?;
        out.line(&format!("To see it: godwit show {id}"))?;
    }
    Ok(exit::DONE)
}
