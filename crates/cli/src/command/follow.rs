//! Showing a migration, or an operation on a guest that stays, until it is settled: `--wait` and `watch`.

use std::pin::pin;
use std::time::Duration;

use godwit_api::v1::{Failure, Migration};
use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::waiting::{Ended, Waiter};
use crate::client::Client;
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::view::progress::Progress;
use crate::view::{json, outcome, words};
use crate::watch::{Heard, Watch};

/// How often the live line is drawn again although the daemon said nothing new.
const REDRAW: Duration = Duration::from_millis(500);

/// How long the question after ctrl-C waits for its answer.
const ASKED: Duration = Duration::from_secs(30);

/// Shows it until it is settled, until ctrl-C, or until the time is over; gives the exit code.
pub(super) async fn to_its_end(
    client: Client,
    wish: Wish,
    migration: &Migration,
    waiter: &mut Waiter,
    out: &mut Output,
) -> Result<u8, Error> {
    if !out.is_json() {
        out.line(&outcome::way(wish, migration))?;
    }
    // What was told stays told when the watching is taken up again.
    let mut progress = Progress::new(migration);
    loop {
        let following = follow(client.clone(), wish, &mut progress, out);
        match waiter.during(following).await {
            Ended::Done(settled) => return settled.map(|migration| exit::exit_code(wish, &migration)),
            Ended::TimedOut(after) => return Ok(late(migration, after, out)),
            Ended::Interrupted => match ask(migration, waiter, out).await? {
                Answer::Leave => return leave(migration, out),
                Answer::Cancel => cancel(client.clone(), migration, out).await?,
                Answer::Watch => {}
            },
        }
    }
}

/// Shows the migration until it is settled.
async fn follow(
    client: Client,
    wish: Wish,
    progress: &mut Progress,
    out: &mut Output,
) -> Result<Migration, Error> {
    let noun = outcome::noun(progress.last()).to_lowercase();
    let mut watch = Watch::new(client, progress.last().id.clone());
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let migration = match hear(&mut watch, progress, &mut ticks, out).await? {
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
        show(&migration, progress, out)?;
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
            _ = ticks.tick(), if out.is_terminal() => draw(progress, out)?,
        }
    }
}

fn show(migration: &Migration, progress: &mut Progress, out: &mut Output) -> Result<(), Error> {
    if out.is_json() {
        return out.json(&json::Migration::from(migration));
    }
    let lines = progress.news(migration, Timestamp::now(), out.is_terminal());
    out.lines(lines)?;
    draw(progress, out)
}

fn draw(progress: &Progress, out: &mut Output) -> Result<(), Error> {
    let width = out.width().unwrap_or(80);
    out.live(&progress.live(Timestamp::now(), width))
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

/// What is to become of it after ctrl-C.
enum Answer {
    /// It goes on, without us.
    Leave,
    Cancel,
    /// As before.
    Watch,
}

/// Asks whoever sits at a terminal. Whoever does not, presses ctrl-C again or says nothing leaves it running; so does
/// whoever watches what cannot be cancelled.
async fn ask(migration: &Migration, waiter: &mut Waiter, out: &mut Output) -> Result<Answer, Error> {
    if !out.can_ask() || outcome::stays(migration) {
        return Ok(Answer::Leave);
    }
    out.leave()?;
    let end = Instant::now() + ASKED;
    loop {
        out.prompt("Leave the migration running, cancel it, or watch on? [l/c/w] (ctrl-C leaves it) ")?;
        let Some(answer) = waiter.answer(end).await else {
            out.ours("\n")?;
            return Ok(Answer::Leave);
        };
        match answer.trim().to_lowercase().as_str() {
            "l" | "leave" => return Ok(Answer::Leave),
            "c" | "cancel" => return Ok(Answer::Cancel),
            "w" | "watch" => return Ok(Answer::Watch),
            _ => {}
        }
    }
}

/// A refusal is told; what becomes of the migration is seen in either case.
async fn cancel(mut client: Client, migration: &Migration, out: &mut Output) -> Result<(), Error> {
    match client.cancel(migration.id.clone()).await {
        Ok(_) => {}
        Err(error) => {
            out.failure(&error.to_failure());
        }
    }
    Ok(())
}

/// The end of the watching, not of the migration.
fn leave(migration: &Migration, out: &mut Output) -> Result<u8, Error> {
    let (id, noun) = (&migration.id, outcome::noun(migration).to_lowercase());
    out.leave()?;
    out.note(&format!("No longer watched: the {noun} goes on."))?;
    out.note(&format!("To see it:     {}", out.command(&format!("show {id}"))))?;
    if !outcome::stays(migration) {
        out.note(&format!(
            "To cancel it:  {}",
            out.command(&format!("cancel {id}"))
        ))?;
    }
    out.note(&format!("To wait again: {}", out.command(&format!("watch {id}"))))?;
    Ok(exit::INTERRUPTED)
}

/// The time of `--timeout` is over.
fn late(migration: &Migration, after: Duration, out: &mut Output) -> u8 {
    let (id, noun) = (&migration.id, outcome::noun(migration).to_lowercase());
    let message = format!(
        "the {noun} of {} is not settled after {}; it goes on",
        migration.guest,
        words::length(millis(after))
    );
    not_settled(
        message,
        format!("to wait again: {}", out.command(&format!("watch {id}"))),
        out,
    )
}

/// Says that a wait ended before what was waited for; gives the exit code.
pub(super) fn not_settled(message: String, hint: String, out: &mut Output) -> u8 {
    let failure = Failure {
        reason: "NOT_SETTLED".into(),
        message,
        causes: Vec::new(),
        hint,
    };
    out.failure(&failure);
    if out.is_json() {
        out.json_error(&failure);
    }
    exit::NOT_SETTLED
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// What was begun, and how to see it.
pub(super) fn begun(wish: Wish, migration: &Migration, out: &mut Output) -> Result<(), Error> {
    out.line(&outcome::way(wish, migration))?;
    out.line(&format!(
        "To see it:      {}",
        out.command(&format!("show {}", migration.id))
    ))?;
    out.line(&format!(
        "To wait for it: {}",
        out.command(&format!("watch {}", migration.id))
    ))
}
