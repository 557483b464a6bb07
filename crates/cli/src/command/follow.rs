//! Showing a migration, or an operation on a guest that stays, until it is settled: `--wait` and `watch`.

use std::pin::pin;
use std::time::Duration;

use godwit_api::v1::Migration;
use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::client::Client;
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::view::progress::Progress;
use crate::view::{json, outcome};
use crate::watch::{Heard, Watch};

/// How often the live line is drawn again although the daemon said nothing new.
const REDRAW: Duration = Duration::from_millis(500);

/// Shows it until it is settled, or until ctrl-C; gives the exit code.
pub(super) async fn to_its_end(
    client: Client,
    wish: Wish,
    migration: &Migration,
    out: &mut Output,
) -> Result<u8, Error> {
    let settled = tokio::select! {
        settled = follow(client, wish, migration, out) => Some(settled),
        () = interrupted() => None,
    };
    match settled {
        Some(settled) => settled.map(|migration| exit::exit_code(wish, &migration)),
        None => leave(migration, out),
    }
}

/// Shows the migration until it is settled.
pub(super) async fn follow(
    client: Client,
    wish: Wish,
    migration: &Migration,
    out: &mut Output,
) -> Result<Migration, Error> {
    if !out.is_json() {
        out.line(&outcome::way(wish, migration))?;
    }
    let noun = outcome::noun(migration).to_lowercase();
    let mut watch = Watch::new(client, migration.id.clone());
    let mut progress = Progress::new(migration);
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let migration = match hear(&mut watch, &progress, &mut ticks, out).await? {
            Heard::Away => {
                progress.lost();
                out.note(&format!(
                    "The connection to godwitd was lost. The {noun} goes on; looking for godwitd ..."
                ))?;
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
            end(wish, &migration, out)?;
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
fn end(wish: Wish, migration: &Migration, out: &mut Output) -> Result<(), Error> {
    if !out.is_json() {
        out.lines(outcome::sentences(migration))?;
    }
    let failure = migration.failure.as_ref();
    match exit::exit_code(wish, migration) {
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
pub(super) fn leave(migration: &Migration, out: &mut Output) -> Result<u8, Error> {
    let (id, noun) = (&migration.id, outcome::noun(migration).to_lowercase());
    out.leave()?;
    out.note(&format!("No longer watched: the {noun} goes on."))?;
    out.note(&format!("To see it:     godwit show {id}"))?;
    if !outcome::stays(migration) {
        out.note(&format!("To cancel it:  godwit cancel {id}"))?;
    }
    out.note(&format!("To wait again: godwit watch {id}"))?;
    Ok(exit::INTERRUPTED)
}

/// What was begun, and how to see it.
pub(super) fn begun(wish: Wish, migration: &Migration, out: &mut Output) -> Result<(), Error> {
    out.line(&outcome::way(wish, migration))?;
    out.line(&format!("To see it:      godwit show {}", migration.id))?;
    out.line(&format!("To wait for it: godwit watch {}", migration.id))
}

/// Waits for ctrl-C; for ever if there is no way to hear it (it then ends the process as usual).
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
