//! `godwit plan`.

use godwit_api::v1::PlanMigrationRequest;

use crate::args::{Keep, Plan, Policy};
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, plan};

pub(super) async fn plan(mut client: Client, wanted: &Plan, out: &mut Output) -> Result<u8, Error> {
    let request = PlanMigrationRequest {
        guest: wanted.guest.clone(),
        destination: wanted.destination.clone(),
        policy: Policy::wire(wanted.policy),
        transfer: wanted.transfer.wire(),
        ignore: wanted.ignore.clone(),
        keep: Keep::wire(wanted.keep),
    };
    let answer = client.plan(request).await?;
    if out.is_json() {
        out.json(&json::Plan::from(&answer))?;
    } else {
        out.lines(plan::answer(&answer, out.width()))?;
    }
    Ok(exit::of_plan(&answer))
}
