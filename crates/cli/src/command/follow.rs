//! Showing a migration until it is settled: `migrate --wait` and `watch`.

use std::pin::pin;
use std::time::Duration;

use godwit_api::v1::Migration;
use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::progress::Progress;
use crate::view::{json, outcome};
use crate::watch::{Heard, Watch};

/// How often the live line is drawn again although the daemon said nothing new.
const REDRAW: Duration = Duration::from_millis(500);

/// Shows the migration until it is settled.
pub(super) async fn follow(
    client: Client,
    migration: &Migration,
    out: &mut Output,
) -> Result<Migration, Error> {
    if !out.is_json() {
        out.line(&way(migration))?;
    }
    let mut watch = Watch::new(client, migration.id.clone());
    let mut progress = Progress::new(migration);
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

/// ctrl-C ends the watching, not the migration.
pub(super) fn leave(id: &str, out: &mut Output) -> Result<u8, Error> {
    out.leave()?;
    out.note("No longer watched: the migration goes on.")?;
    out.note(&format!("To see it:     godwit show {id}"))?;
    out.note(&format!("To cancel it:  godwit cancel {id}"))?;
    out.note(&format!("To wait again: godwit watch {id}"))?;
    Ok(exit::INTERRUPTED)
}

/// What it is about, in one line.
pub(super) fn way(migration: &Migration) -> String {
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
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
