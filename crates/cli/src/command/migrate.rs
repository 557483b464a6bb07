//! `godwit migrate GUEST HOST [--wait] [--policy POLICY]`.

use godwit_api::v1::{self as api, CreateMigrationRequest, CreateMigrationResponse, Migration};
use uuid::Uuid;

use super::follow;
use super::waiting::{Ended, Waiter};
use crate::args::{Keep, Migrate, Policy};
use crate::client::Client;
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::view::{doctor, json, plan, transfer, words};
use crate::watch::{PATIENCE, Retry};

pub(crate) async fn migrate(client: Client, options: &Migrate, out: &mut Output) -> Result<u8, Error> {
    let what = &options.what;
    let request = CreateMigrationRequest {
        guest: what.guest.clone(),
        destination: what.destination.clone(),
        request_id: options
            .request_id
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
        policy: Policy::wire(what.policy),
        probes_per_second: options.probes,
        keep: Keep::wire(what.keep),
        transfer: what.transfer.wire(),
        ignore: what.ignore.clone(),
    };
    if !options.wait.wait {
        return begin(client, &request, out).await;
    }
    let mut waiter = Waiter::new(options.wait.timeout());
    let mut client = client;
    let migration = match waiter.during(create(&mut client, &request, out)).await {
        Ended::Done(created) => created?,
        Ended::Interrupted => return leave(&request, out),
        Ended::TimedOut(after) => {
            let after = words::length(follow::millis(after));
            let message = format!(
                "godwitd has not answered after {after}: it is not known whether the migration was accepted"
            );
            return Ok(follow::not_settled(message, again(&request, " --wait", out), out));
        }
    };
    follow::to_its_end(client, Wish::Move, &migration, &mut waiter, out).await
}

async fn begin(mut client: Client, request: &CreateMigrationRequest, out: &mut Output) -> Result<u8, Error> {
    let migration = create(&mut client, request, out).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else {
        follow::begun(Wish::Move, &migration, out)?;
    }
    Ok(exit::DONE)
}

/// Asks for the migration. An answer that was lost is asked for again under the same request id, which
/// gives the same migration and never a second one.
async fn create(
    client: &mut Client,
    request: &CreateMigrationRequest,
    out: &mut Output,
) -> Result<Migration, Error> {
    let mut lost = match client.create(request.clone()).await {
        Err(error) if error.is_lost() => error,
        answered => return told(answered?, out),
    };
    out.note("The daemon's answer was lost. Asking again, as the same request ...")?;
    let mut retry = Retry::new();
    while retry.wait().await {
        let answer = match client.reconnect().await {
            Ok(()) => client.create(request.clone()).await,
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if error.is_lost() => lost = error,
            answered => return told(answered?, out),
        }
    }
    Err(Error::Lost {
        lost: format!(
            "it is not known whether the migration of {} was accepted",
            request.guest
        ),
        hint: format!("{} (it never makes a second one)", again(request, "", out)),
        patience: PATIENCE,
        source: Box::new(lost),
    })
}

/// What was found besides, and what is not known, keeps nothing from going on.
fn told(answer: CreateMigrationResponse, out: &mut Output) -> Result<Migration, Error> {
    let migration = answer.migration.ok_or(Error::Ended("it named the migration"))?;
    let warnings = doctor::warnings(&answer.warnings).into_iter();
    for line in warnings.chain(plan::not_known(&answer.not_checked)) {
        out.note(&line)?;
    }
    Ok(migration)
}

/// ctrl-C before there was an answer: nobody knows whether there will be a migration.
fn leave(request: &CreateMigrationRequest, out: &mut Output) -> Result<u8, Error> {
    out.leave()?;
    out.note("Interrupted before godwitd answered: it is not known whether the migration was accepted.")?;
    out.note(&format!(
        "To see:        {}",
        out.command(&format!("list --guest {}", request.guest))
    ))?;
    out.note(&format!("To wait again: {}", again(request, " --wait", out)))?;
    Ok(exit::INTERRUPTED)
}

/// What to type to make the same request again.
fn again(request: &CreateMigrationRequest, wait: &str, out: &Output) -> String {
    let CreateMigrationRequest {
        guest,
        destination,
        request_id,
        ..
    } = request;
    let policy = words::policy(request.policy());
    let policy = policy
        .map(|policy| format!(" --policy {policy}"))
        .unwrap_or_default();
    let probes = request.probes_per_second;
    let probes = probes
        .map(|probes| format!(" --probes {probes}"))
        .unwrap_or_default();
    let keep = match request.keep() {
        api::Keep::Unspecified => "",
        api::Keep::Auto => " --keep auto",
        api::Keep::Off => " --keep off",
        api::Keep::On => " --keep on",
    };
    let transfer = request.transfer.as_ref().map(transfer::typed).unwrap_or_default();
    let ignore = request.ignore.iter();
    let ignore: String = ignore.map(|reason| format!(" --ignore {reason}")).collect();
    out.command(&format!(
        "migrate {guest} {destination}{wait}{policy}{probes}{keep}{ignore}{transfer} --request-id {request_id}"
    ))
}
