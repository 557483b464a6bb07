//! `godwit hosts`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{hosts, json};

pub(super) async fn hosts(mut client: Client, out: &mut Output) -> Result<u8, Error> {
    let hosts = client.hosts().await?;
    if out.is_json() {
        out.json(&json::Hosts::from(&hosts[..]))?;
    } else {
        out.lines(hosts::hosts(&hosts, out.width()))?;
    }
    Ok(exit::DONE)
}
