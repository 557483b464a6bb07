//! `godwit watch ID`.

use super::follow;
use crate::client::Client;
use crate::exit::Wish;
use crate::failure::Error;
use crate::output::Output;

/// The same as `migrate --wait`, of a migration that somebody else began, or this terminal earlier.
pub(super) async fn watch(mut client: Client, id: &str, out: &mut Output) -> Result<u8, Error> {
    let migration = client.get(id.to_owned()).await?;
    follow::to_its_end(client, Wish::of(&migration), &migration, out).await
}
