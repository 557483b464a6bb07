//! `godwit pools`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{hosts, json};

pub(super) async fn pools(mut client: Client, out: &mut Output) -> Result<u8, Error> {
    let pools = client.pools().await?;
    if out.is_json() {
        out.json(&json::Pools::from(&pools[..]))?;
    } else if pools.is_empty() {
        out.line("The configuration of this host has no pool.")?;
    } else {
        out.lines(hosts::pools(&pools, out.width()))?;
    }
    Ok(exit::DONE)
}
