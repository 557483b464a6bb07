//! `godwit migrate GUEST HOST [--wait]`.

use std::cell::OnceCell;
use std::pin::pin;
use std::time::Duration;

use godwit_api::v1::{CreateMigrationRequest, Migration};
use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::args::Migrate;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::progress::Progress;
use crate::view::{json, outcome};
use crate::watch::{Heard, PATIENCE, Retry, Watch};

/// How often the live line is drawn again although the daemon said nothing new.
const REDRAW: Duration = Duration::from_millis(500);

pub(crate) async fn migrate(client: Client, options: &Migrate, out: &mut Output) -> Result<u8, Error> {
    let request = CreateMigrationRequest {
        guest: options.guest.clone(),
        destination: options.host.clone(),
        request_id: options
            .request_id
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
    };
    if !options.wait {
        return begin(client, &request, out).await;
    }
    let id = OnceCell::new();
    let settled = tokio::select! {
        settled = wait(client, &request, &id, out) => Some(settled),
        () = interrupted() => None,
    };
    match settled {
        Some(settled) => settled.map(|migration| exit::exit_code(&migration)),
        None => detach(&request, id.get(), out),
    }
}

async fn begin(mut client: Client, request: &CreateMigrationRequest, out: &mut Output) -> Result<u8, Error> {
    let migration = create(&mut client, request, out).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else {
        out.line(&accepted(&migration))?;
        out.line(&format!("To see it: godwit status {}", migration.id))?;
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
        answered => return answered,
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
            answered => return answered,
        }
    }
    let CreateMigrationRequest {
        guest,
        destination,
        request_id,
    } = request;
    Err(Error::Lost {
        lost: format!("it is not known whether the migration of {guest} was accepted"),
        hint: format!(
            "godwit migrate {guest} {destination} --request-id {request_id} (it never makes a second one)"
        ),
        patience: PATIENCE,
        source: Box::new(lost),
    })
}

/// Shows the migration until it is settled.
async fn wait(
    mut client: Client,
    request: &CreateMigrationRequest,
    id: &OnceCell<String>,
    out: &mut Output,
) -> Result<Migration, Error> {
    let accepted_as = create(&mut client, request, out).await?;
    let id = id.get_or_init(|| accepted_as.id.clone());
    if !out.is_json() {
        out.line(&accepted(&accepted_as))?;
    }
    let mut watch = Watch::new(client, id.clone());
    let mut progress = Progress::new(&accepted_as);
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let migration = match hear(&mut watch, &progress, &mut ticks, out).await? {
            Heard::Away => {
                progress.lost();
                out.note(
                    "The connection to godwitd was lost. The migration goes on; looking for godwitd ...",
                )?;
                continue;
            }
            Heard::Back(migration) => {
                out.note("godwitd is back.")?;
                migration
            }
            Heard::Now(migration) => migration,
        };
        show(&migration, &mut progress, out)?;
        if migration.settled {
            end(&migration, out)?;
            return Ok(*migration);
        }
    }
}

/// Waits for news, and keeps the live line alive meanwhile.
async fn hear(
    watch: &mut Watch,
    progress: &Progress,
    ticks: &mut Interval,
    out: &mut Output,
) -> Result<Heard, Error> {
    let mut news = pin!(watch.next());
    loop {
        tokio::select! {
            heard = &mut news => return heard,
            _ = ticks.tick(), if out.is_terminal() => out.live(&progress.live(Timestamp::now()))?,
        }
    }
}

fn show(migration: &Migration, progress: &mut Progress, out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        return out.json(&json::Migration::from(migration));
    }
    let lines = progress.news(migration, Timestamp::now(), out.is_terminal());
    out.lines(lines)?;
    out.live(&progress.live(Timestamp::now()))
}

/// The two outcomes, and why it failed if it did. On standby is not a failure: its reason is in the sentence.
fn end(migration: &Migration, out: &mut Output) -> Result<(), Error> {
    if !out.is_json() {
        out.lines(outcome::sentences(migration))?;
    }
    let failure = migration.failure.as_ref();
    match exit::exit_code(migration) {
        exit::DONE => {}
        exit::ON_STANDBY => {
            if let Some(failure) = failure.filter(|failure| !failure.hint.is_empty()) {
                out.note(&format!("Hint: {}", failure.hint))?;
            }
        }
        _ => {
            if let Some(failure) = failure {
                out.failure(failure);
            }
        }
    }
    Ok(())
}

fn detach(request: &CreateMigrationRequest, id: Option<&String>, out: &mut Output) -> Result<u8, Error> {
    let CreateMigrationRequest {
        guest,
        destination,
        request_id,
    } = request;
    out.leave()?;
    if let Some(id) = id {
        out.note("Detached: the migration goes on.")?;
        out.note(&format!("To see it:     godwit status {id}"))?;
        out.note(&format!("To cancel it:  godwit cancel {id}"))?;
    } else {
        out.note("Detached before godwitd answered: it is not known whether the migration was accepted.")?;
        out.note("To see:        godwit status")?;
    }
    out.note(&format!(
        "To wait again: godwit migrate {guest} {destination} --wait --request-id {request_id}"
    ))?;
    Ok(exit::INTERRUPTED)
}

fn accepted(migration: &Migration) -> String {
    let Migration {
        id,
        guest,
        source,
        destination,
        ..
    } = migration;
    format!("Migration {id}: {guest} moves from {source} to {destination}.")
}

/// Waits for ctrl-C; for ever if there is no way to hear it (it then ends the process as usual).
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
