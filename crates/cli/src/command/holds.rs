//! `godwit holds`.

use godwit_api::v1::Hold;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{hosts, json};

pub(super) async fn holds(mut client: Client, out: &mut Output) -> Result<u8, Error> {
    let holds = client.holds().await?;
    tell(&holds, out)?;
    Ok(exit::DONE)
}

pub(super) fn tell(holds: &[Hold], out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        out.json(&json::Holds::from(holds))
    } else if holds.is_empty() {
        out.line("This host has set no VF aside.")
    } else {
        out.lines(hosts::holds(holds, out.width()))
    }
}
