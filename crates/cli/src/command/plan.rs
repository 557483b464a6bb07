//! `godwit plan`, and `godwit migrate --dry-run`.

use godwit_api::v1::PlanMigrationRequest;

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{json, plan};

pub(super) async fn plan(
    mut client: Client,
    request: PlanMigrationRequest,
    out: &mut Output,
) -> Result<u8, Error> {
    let answer = client.plan(request).await?;
    if out.is_json() {
        out.json(&json::Plan::from(&answer))?;
    } else {
        out.lines(plan::answer(&answer, out.width()))?;
    }
    Ok(exit::of_plan(&answer))
}
