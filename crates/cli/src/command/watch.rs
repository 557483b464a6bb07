//! `godwit watch ID`.

use super::follow;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;

/// The same as `migrate --wait`, of a migration that somebody else began, or this terminal earlier.
pub(super) async fn watch(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.get(id.to_owned()).await?;
    let settled = tokio::select! {
        settled = follow::follow(client, &migration, out) => Some(settled),
        () = follow::interrupted() => None,
    };
    match settled {
        Some(settled) => settled.map(|migration| exit::exit_code(&migration)),
        None => follow::leave(&migration.id, out),
    }
}
