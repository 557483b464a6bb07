//! `godwit guests`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

pub(crate) async fn guests(mut client: Client, out: &mut Output) -> Result<u8, Error> {
    let guests = client.guests().await?;
    if out.is_json() {
        out.json(&json::Guests::from(&guests[..]))?;
    } else if guests.is_empty() {
        out.line("This host has no guests.")?;
    } else {
        out.lines(text::guests(&guests, out.width()))?;
    }
    Ok(exit::DONE)
}
