//! `godwit adopt GUEST`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

pub(crate) async fn adopt(mut client: Client, guest: &str, out: &mut Output) -> Result<u8, Error> {
    let guest = client.adopt(guest.to_owned()).await?;
    if out.is_json() {
        out.json(&json::Guest::from(&guest))?;
    } else {
        out.lines(text::adopted(&guest, out.width()))?;
    }
    Ok(exit::DONE)
}
