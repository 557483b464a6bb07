//! `godwit adopt GUEST [--policy POLICY]`.

use godwit_api::v1::AdoptGuestRequest;

use crate::args::Policy;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, text};

pub(crate) async fn adopt(
    mut client: Client,
    guest: &str,
    policy: Option<Policy>,
    out: &mut Output,
) -> Result<u8, Error> {
    let request = AdoptGuestRequest {
        guest: guest.to_owned(),
        policy: Policy::wire(policy),
    };
    let guest = client.adopt(request).await?;
    if out.is_json() {
        out.json(&json::Guest::from(&guest))?;
    } else {
        out.lines(text::adopted(&guest, out.width()))?;
    }
    Ok(exit::DONE)
}
