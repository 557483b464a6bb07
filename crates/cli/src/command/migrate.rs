//! `godwit migrate GUEST HOST [--wait] [--policy POLICY]`.

use std::cell::OnceCell;

use godwit_api::v1::{CreateMigrationRequest, Finding, Migration};
use uuid::Uuid;

use super::follow;
use crate::args::{Migrate, Policy};
use crate::client::Client;
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::view::{doctor, json, transfer, words};
use crate::watch::{PATIENCE, Retry};

pub(crate) async fn migrate(client: Client, options: &Migrate, out: &mut Output) -> Result<u8, Error> {
    let request = CreateMigrationRequest {
        guest: options.guest.clone(),
        destination: options.host.clone(),
        request_id: options
            .request_id
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
        policy: Policy::wire(options.policy),
        probes_per_second: options.probes,
        transfer: options.transfer.wire(),
        ignore: options.ignore.clone(),
    };
    if !options.wait {
        return begin(client, &request, out).await;
    }
    let accepted = OnceCell::new();
    let settled = tokio::select! {
        settled = wait(client, &request, &accepted, out) => Some(settled),
        () = follow::interrupted() => None,
    };
    match (settled, accepted.get()) {
        (Some(settled), _) => settled.map(|migration| exit::exit_code(Wish::Move, &migration)),
        (None, Some(migration)) => follow::leave(migration, out),
        (None, None) => leave(&request, out),
    }
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
        hint: format!("{} (it never makes a second one)", again(request, "")),
        patience: PATIENCE,
        source: Box::new(lost),
    })
}

/// What was found besides keeps nothing from going on.
fn told((migration, warnings): (Migration, Vec<Finding>), out: &mut Output) -> Result<Migration, Error> {
    for line in doctor::warnings(&warnings) {
        out.note(&line)?;
    }
    Ok(migration)
}

/// Asks for it, and shows it until it is settled.
async fn wait(
    mut client: Client,
    request: &CreateMigrationRequest,
    accepted: &OnceCell<Migration>,
    out: &mut Output,
) -> Result<Migration, Error> {
    let migration = create(&mut client, request, out).await?;
    accepted.get_or_init(|| migration.clone());
    follow::follow(client, Wish::Move, &migration, out).await
}

/// ctrl-C before there was an answer: nobody knows whether there will be a migration.
fn leave(request: &CreateMigrationRequest, out: &mut Output) -> Result<u8, Error> {
    out.leave()?;
    out.note("Interrupted before godwitd answered: it is not known whether the migration was accepted.")?;
    out.note(&format!("To see:        godwit list --guest {}", request.guest))?;
    out.note(&format!("To wait again: {}", again(request, " --wait")))?;
    Ok(exit::INTERRUPTED)
}

/// What to type to make the same request again.
fn again(request: &CreateMigrationRequest, wait: &str) -> String {
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
    let transfer = request.transfer.as_ref().map(transfer::typed).unwrap_or_default();
    let ignore = request.ignore.iter();
    let ignore: String = ignore.map(|reason| format!(" --ignore {reason}")).collect();
    format!(
        "godwit migrate {guest} {destination}{wait}{policy}{probes}{ignore}{transfer} --request-id {request_id}"
    )
}
