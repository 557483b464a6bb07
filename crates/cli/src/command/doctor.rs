//! `godwit doctor`.

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{doctor, json};

pub(super) async fn doctor(mut client: Client, guest: Option<&str>, out: &mut Output) -> Result<u8, Error> {
    let answer = client.doctor(guest.unwrap_or_default().to_owned()).await?;
    if out.is_json() {
        out.json(&json::Doctor::from(&answer))?;
    } else {
        out.lines(doctor::answer(&answer, out.width()))?;
    }
    Ok(exit::of_findings(&answer.findings))
}
