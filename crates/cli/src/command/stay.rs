//! `godwit standby` and `godwit accelerate`: a guest that stays, or all guests of a PF.

use godwit_api::v1::Migration;

use super::follow;
use super::waiting::Waiter;
use crate::args::{Stay, Wait};
use crate::client::{Begun, Client};
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(super) async fn standby(mut client: Client, wanted: &Stay, out: &mut Output) -> Result<u8, Error> {
    if let Some(pf) = &wanted.whom.pf {
        let begun = client.standby_pf(pf.clone()).await?;
        let nobody =
            format!("No guest has a VF of {pf}. Until `godwit accelerate --pf {pf}` nobody gets one.");
        return several(client, (Wish::Standby, wanted.wait), &begun, &nobody, out).await;
    }
    let guest = wanted.whom.guest.clone().unwrap_or_default();
    let operation = client.standby(guest, 0).await?;
    one(client, (Wish::Standby, wanted.wait), &operation, out).await
}

pub(super) async fn accelerate(mut client: Client, wanted: &Stay, out: &mut Output) -> Result<u8, Error> {
    if let Some(pf) = &wanted.whom.pf {
        let begun = client.accelerate_pf(pf.clone()).await?;
        let nobody = format!("VFs of {pf} are given out again. No guest waits for one.");
        return several(client, (Wish::Accelerate, wanted.wait), &begun, &nobody, out).await;
    }
    let guest = wanted.whom.guest.clone().unwrap_or_default();
    let operation = client.accelerate(guest).await?;
    one(client, (Wish::Accelerate, wanted.wait), &operation, out).await
}

/// What is to come of it, and whether and how long that is waited for.
type Wanted = (Wish, Wait);

async fn one(
    client: Client,
    (wish, wait): Wanted,
    operation: &Migration,
    out: &mut Output,
) -> Result<u8, Error> {
    if wait.wait {
        let mut waiter = Waiter::new(wait.timeout());
        return follow::to_its_end(client, wish, operation, &mut waiter, out).await;
    }
    match out.is_json() {
        true => out.json(&json::Migration::from(operation))?,
        false => follow::begun(wish, operation, out)?,
    }
    Ok(exit::DONE)
}

/// Tells each, then follows one after the other: they go on side by side, and nothing that they did is missed.
async fn several(
    client: Client,
    (wish, wait): Wanted,
    begun: &Begun,
    nobody: &str,
    out: &mut Output,
) -> Result<u8, Error> {
    tell(begun, (wish, wait.wait), nobody, out)?;
    let mut code = exit::DONE;
    if wait.wait {
        let mut waiter = Waiter::new(wait.timeout());
        for (at, operation) in begun.operations.iter().enumerate() {
            let end = follow::to_its_end(client.clone(), wish, operation, &mut waiter, out).await?;
            if matches!(end, exit::INTERRUPTED | exit::NOT_SETTLED) {
                leave_rest(&begun.operations[at + 1..], out)?;
                return Ok(end);
            }
            code = exit::worse(code, end);
        }
    }
    match begun.refused[..] {
        [] => Ok(code),
        _ => Ok(exit::FAILED),
    }
}

fn tell(begun: &Begun, (wish, wait): (Wish, bool), nobody: &str, out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        out.json(&json::Begun::of(&begun.operations, &begun.refused))?;
    } else if begun.operations.is_empty() && begun.refused.is_empty() {
        out.line(nobody)?;
    } else if !wait {
        for operation in &begun.operations {
            follow::begun(wish, operation, out)?;
        }
    }
    begun.refused.iter().for_each(|failure| out.failure(failure));
    Ok(())
}

/// Those that ctrl-C, or the time, has not let us come to.
fn leave_rest(operations: &[Migration], out: &mut Output) -> Result<(), Error> {
    operations.iter().try_for_each(|operation| {
        out.note(&format!(
            "And {}: {}",
            operation.guest,
            out.command(&format!("show {}", operation.id))
        ))
    })
}
