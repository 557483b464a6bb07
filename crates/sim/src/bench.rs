//! What the coordinator adds to a migration: the time in which the world waits for it.
//!
//! Whole migrations of one guest, there and back, through the real services, loop and journals (SQLite with
//! `synchronous=FULL`, a file on a disk), over a world that is as fast as timers allow. The world notes when it
//! worked; the coordinator's time is the rest:
//!
//! * from the request to the first work, less the world's own look at the guest;
//! * within Reserve, what the other host's coordinator does to set the VFs aside, less its world's look;
//! * on each host, from the end of each phase's work to the start of the next one's: the outcome is made durable
//!   and told to whoever watches;
//! * after the last work, until a watcher of the host's own service hears of the end.
//!
//! Not in it: the wires (there are none), the gRPC frames (the services are called without), and what the work of the
//! phases is in a real world.

mod parts;

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use godwit_api::v1::{
    CreateMigrationRequest, Moved, WatchMigrationRequest, migration_service_server::MigrationService,
};
use godwit_coordinator::{Coordinator, MigrationDesk};
use serde::Serialize;
use tokio_stream::StreamExt;
use tonic::Request;

use self::parts::{Ends, Part};
use crate::{
    Layout,
    cluster::{Cluster, Journals},
    model::HostId,
    pace::Pace,
    world::PretendWorld,
};

const GUEST: &str = "web-1";
/// As fast as is of use: a timer's least is about a millisecond.
const SPEED: f64 = 1000.0;
/// Moves that are not counted: files grow, code is paged in.
const WARM_UP: usize = 4;
/// How often the disk is tried.
const SYNCS: usize = 200;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many migrations.
    pub moves: usize,
    /// A directory for the journals, on the disk that is meant.
    pub state: PathBuf,
}

/// The spread of some times, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half are shorter.
    pub median_ms: f64,
    /// Nine of ten are shorter.
    pub p90_ms: f64,
    /// The shortest.
    pub least_ms: f64,
    /// The longest.
    pub most_ms: f64,
}

/// One part of a migration.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// From where to where.
    pub part: String,
    /// On which host's side.
    pub host: &'static str,
    /// The guest's next step waits for it.
    pub on_the_way: bool,
    /// How long.
    pub spread: Spread,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Migrations counted.
    pub moves: usize,
    /// Transactions of both journals for each migration.
    pub transactions: usize,
    /// Writing 4 KiB to a file beside the journals and waiting until they are on disk.
    pub disk_sync: Spread,
    /// The parts, in order.
    pub parts: Vec<Row>,
    /// The sum of all parts of a migration, on both hosts.
    pub coordinator: Spread,
    /// The sum of those parts that the guest's next step waits for.
    pub on_the_way: Spread,
    /// From the request until the guest is accelerated at the destination, the pretend world's time included.
    pub whole: Spread,
}

impl Spread {
    /// Of at least one time.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Spread {
        let mut ms: Vec<f64> = times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1000.0)
            .collect();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = ((ms.len().max(1) - 1) as f64 * share).round() as usize;
            let ms = ms.get(index).copied().unwrap_or_default();
            (ms * 1000.0).round() / 1000.0
        };
        Spread {
            median_ms: at(0.5),
            p90_ms: at(0.9),
            least_ms: at(0.0),
            most_ms: at(1.0),
        }
    }
}

/// Moves the guest there and back, as often as is wanted.
///
/// # Errors
/// No directory for the journals; a migration that did not go well.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(options.moves > 0, "at least one move is needed");
    let directory = tempfile::Builder::new()
        .prefix("godwit-bench-")
        .tempdir_in(&options.state)
        .with_context(|| format!("journal directory in {}", options.state.display()))?;
    let disk_sync = sync_times(directory.path())?;
    let mut layout = Layout::new(2, 1);
    layout.extras = false;
    let journals = Journals::Under(directory.path().to_owned());
    let (cluster, orders) = Cluster::new(layout.build(), Pace::Bench(SPEED), &journals, false)?;
    tokio::spawn(Arc::clone(&cluster).obey(orders));
    for host in 0..cluster.hosts() {
        cluster.start(host).await?;
    }
    let mut moves = Vec::new();
    for number in 0..WARM_UP + options.moves {
        let moved = one(&cluster, number % 2).await?;
        if number >= WARM_UP {
            moves.push(moved);
        }
    }
    cluster.stop();
    report(disk_sync, &moves)
}

/// One migration, taken apart.
struct Measured {
    parts: Vec<Part>,
    whole: Duration,
    transactions: usize,
}

async fn one(cluster: &Cluster, from: HostId) -> anyhow::Result<Measured> {
    let to = 1 - from;
    let seat = |host: HostId| cluster.shared.seat(host).clone().context("a coordinator is dead");
    let (source, destination) = (seat(from)?.coordinator, seat(to)?.coordinator);
    cluster.shared.stopwatch.start();
    let begun = Instant::now();
    let request = CreateMigrationRequest {
        guest: GUEST.into(),
        destination: Layout::host_name(to),
        ..Default::default()
    };
    let desk = MigrationDesk(source.clone());
    let created = desk.create_migration(Request::new(request)).await?.into_inner();
    let created = created.migration.context("no migration")?;
    // Both are heard at once: the destination ends first, the source when it has heard of that.
    let (there, here) = tokio::try_join!(end(destination, &created.id), end(source, &created.id))?;
    let notes = cluster.shared.stopwatch.stop();
    let (broken, first) = {
        let model = cluster.shared.model();
        (model.wrongs, model.wrong.first().cloned().unwrap_or_default())
    };
    ensure!(broken == 0, "a rule of the world was broken: {first}");
    let ends = Ends {
        begun,
        here,
        there,
        hosts: (from, to),
    };
    Ok(Measured {
        parts: parts::of(&notes, ends),
        whole: there.duration_since(begun),
        transactions: parts::transactions(&notes),
    })
}

/// When the host's own record of it has ended, as a watcher hears it.
async fn end(coordinator: Coordinator<PretendWorld>, id: &str) -> anyhow::Result<Instant> {
    let request = WatchMigrationRequest {
        id: id.into(),
        after_revision: 0,
    };
    let desk = MigrationDesk(coordinator);
    let mut changes = desk.watch_migration(Request::new(request)).await?.into_inner();
    loop {
        let change = changes.next().await.context("the watch ended early")??;
        let migration = change.migration.context("no migration")?;
        if migration.settled {
            let at = Instant::now();
            let well = migration.ended && migration.moved() == Moved::Yes;
            ensure!(well, "the migration did not go well: {migration:?}");
            return Ok(at);
        }
    }
}

fn report(disk_sync: Spread, moves: &[Measured]) -> anyhow::Result<Report> {
    let first = moves.first().context("nothing was measured")?;
    let alike = |moved: &Measured| {
        let names = |moved: &Measured| {
            moved
                .parts
                .iter()
                .map(|part| part.name.clone())
                .collect::<Vec<_>>()
        };
        names(moved) == names(first)
    };
    ensure!(
        moves.iter().all(alike),
        "the migrations did not take the same way"
    );
    let row = |(index, part): (usize, &Part)| Row {
        part: part.name.clone(),
        host: part.host,
        on_the_way: part.on_the_way,
        spread: Spread::of(moves.iter().map(|moved| moved.parts[index].took)),
    };
    let sum = |counts: fn(&Part) -> bool| {
        Spread::of(moves.iter().map(|moved| {
            let counted = moved.parts.iter().filter(|part| counts(part));
            counted.map(|part| part.took).sum::<Duration>()
        }))
    };
    Ok(Report {
        moves: moves.len(),
        transactions: first.transactions,
        disk_sync,
        parts: first.parts.iter().enumerate().map(row).collect(),
        coordinator: sum(|_| true),
        on_the_way: sum(|part| part.on_the_way),
        whole: Spread::of(moves.iter().map(|moved| moved.whole)),
    })
}

/// What any durable write costs on this disk, whoever writes.
fn sync_times(directory: &Path) -> anyhow::Result<Spread> {
    let mut file = File::create(directory.join("sync"))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(Spread::of(times))
}

#[cfg(test)]
mod tests {
    use super::{Options, Spread, run};
    use std::time::Duration;

    #[test]
    fn a_spread_has_its_middle_in_the_middle() {
        let spread = Spread::of([5, 1, 2, 3, 100].map(Duration::from_millis));
        assert_eq!(
            (spread.median_ms, spread.least_ms, spread.most_ms),
            (3.0, 1.0, 100.0)
        );
    }

    #[tokio::test]
    async fn the_parts_are_those_of_a_whole_move() {
        let state = tempfile::tempdir().unwrap();
        let options = Options {
            moves: 2,
            state: state.path().to_owned(),
        };
        let report = run(&options).await.unwrap();
        let names: Vec<&str> = report.parts.iter().map(|row| row.part.as_str()).collect();
        let both = ["request to reserve", "reserve, asked by the source"];
        let source = [
            "reserve to queue",
            "queue to fail-over",
            "fail-over to unplug",
            "unplug to transfer",
            "transfer to locate",
            "locate to release",
            "release to follow",
            "follow to the end",
        ];
        let destination = ["await to plug", "plug to fail-back", "fail-back to the end"];
        let wanted: Vec<&str> = both.into_iter().chain(source).chain(destination).collect();
        assert_eq!(names, wanted);
        // A beginning on each host, and an outcome of each phase.
        assert_eq!(report.transactions, 13);
        assert!(report.whole.median_ms >= report.on_the_way.median_ms);
        // Every part did something: a write at the least.
        assert!(
            report.parts.iter().all(|row| row.spread.median_ms > 0.0),
            "{report:?}"
        );
    }
}
