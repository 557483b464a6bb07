//! `godwit watch ID`.

use std::time::Duration;

use super::follow;
use super::waiting::Waiter;
use crate::client::Client;
use crate::exit::Wish;
use crate::failure::Error;
use crate::output::Output;

/// The same as `migrate --wait`, of a migration that somebody else began, or this terminal earlier.
pub(super) async fn watch(
    mut client: Client,
    id: &str,
    timeout: Option<Duration>,
    out: &mut Output,
) -> Result<u8, Error> {
    let mut waiter = Waiter::new(timeout);
    let migration = client.get(id.to_owned()).await?;
    follow::to_its_end(client, Wish::of(&migration), &migration, &mut waiter, out).await
}
