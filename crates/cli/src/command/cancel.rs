//! `godwit cancel ID`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(crate) async fn cancel(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.cancel(id.to_owned()).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else if migration.ended {
        let id = &migration.id;
        out.line(&format!(
            "Migration {id} is closed on this host: nothing is held here for its guest any more."
        ))?;
    } else {
        // Not "it stays": a transfer that ends at this moment is not undone any more.
        let id = &migration.id;
        out.line(&format!(
            "Migration {id} is being cancelled: it turns round at its next phase boundary."
        ))?;
        out.line(&format!("To see it: {}", out.command(&format!("show {id}"))))?;
    }
    Ok(exit::DONE)
}
