//! A running migration, told while it happens: lines that stay, and one live line.

use std::collections::HashMap;

use godwit_api::v1::{Migration, Phase, PhaseRecord, TransferProgress};
use jiff::Timestamp;

use super::{outcome, words};

/// Without a terminal the figures of the transfer come at most this often, in milliseconds.
const FIGURES_EVERY: u64 = 5_000;
/// The longest name of a phase.
const PHASE_WIDTH: usize = "unreserve".len();

/// What was told so far.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Migration,
    told: HashMap<Key, Told>,
    figures: Option<Timestamp>,
    cancelled: bool,
    away: bool,
    /// Its place in the queue.
    place: u32,
}

/// Two hosts' records are mixed, and a phase can be worked on again: this names one attempt.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key(String, i32, Option<Timestamp>);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Start,
    End,
}

impl Progress {
    pub(crate) fn new(migration: &Migration) -> Progress {
        Progress {
            last: migration.clone(),
            told: HashMap::new(),
            figures: None,
            cancelled: false,
            away: false,
            place: 0,
        }
    }

    /// The migration as it was told last.
    pub(crate) fn last(&self) -> &Migration {
        &self.last
    }

    /// The daemon went away.
    pub(crate) fn lost(&mut self) {
        self.away = true;
    }

    /// The lines to add now that the migration is so. With a live line only what is finished gets a line.
    pub(crate) fn news(&mut self, migration: &Migration, now: Timestamp, live: bool) -> Vec<String> {
        self.last.clone_from(migration);
        self.away = false;
        let mut lines = Vec::new();
        if migration.cancelled && !self.cancelled {
            self.cancelled = true;
            lines.push("Cancel was asked for: it turns round at its next phase boundary.".into());
        }
        for record in &migration.timeline {
            lines.extend(self.phase_line(record, live));
        }
        if !live {
            lines.extend(self.queue_line());
            lines.extend(self.figures_line(now));
        }
        lines
    }

    /// The live line: what is worked on now, for a terminal of so many columns.
    pub(crate) fn live(&self, now: Timestamp, width: usize) -> String {
        let created = words::time(self.last.created.as_ref());
        let elapsed = created.map_or(0, |created| words::between(created, now));
        let elapsed = words::elapsed(elapsed);
        if self.away {
            return format!("  waiting for godwitd, {elapsed}");
        }
        let Some(record) = self.running() else {
            return format!("  waiting for the next phase, {elapsed}");
        };
        let name = self.name(record);
        if let Some(figures) = self.figures(record) {
            return format!(
                "  {name}  {}",
                transfer(figures, &elapsed, width.saturating_sub(name.chars().count() + 5))
            );
        }
        match self.queue(record) {
            Some(now) => format!("  {name}  {now}, {elapsed}"),
            None => format!("  {name}  {elapsed}"),
        }
    }

    fn phase_line(&mut self, record: &PhaseRecord, live: bool) -> Option<String> {
        let key = Key(
            record.host.clone(),
            record.phase,
            words::time(record.started.as_ref()),
        );
        let told = self.told.get(&key);
        let line = if record.ended.is_some() {
            (told != Some(&Told::End)).then(|| format!("  {}  {}", self.name(record), end(record)))
        } else {
            (told.is_none() && !live).then(|| format!("  {}  started", self.name(record)))
        };
        if line.is_some() {
            self.told.insert(
                key,
                if record.ended.is_some() {
                    Told::End
                } else {
                    Told::Start
                },
            );
        }
        line
    }

    /// Each time that the queue has moved.
    fn queue_line(&mut self) -> Option<String> {
        let before = std::mem::replace(&mut self.place, self.last.queue_place);
        let moved = before != self.place;
        let record = self.running().filter(|_| moved)?;
        Some(format!("  {}  {}", self.name(record), self.queue(record)?))
    }

    fn queue(&self, record: &PhaseRecord) -> Option<String> {
        outcome::waits(&self.last).filter(|_| record.phase() == Phase::Queue)
    }

    fn figures_line(&mut self, now: Timestamp) -> Option<String> {
        let record = self.running()?;
        let line = format!(
            "  {}  {}",
            self.name(record),
            words::memory(self.figures(record)?)?
        );
        let due = self
            .figures
            .is_none_or(|last| words::between(last, now) >= FIGURES_EVERY);
        due.then(|| {
            self.figures = Some(now);
            line
        })
    }

    /// The phase at work; the newest, should both hosts be at work.
    fn running(&self) -> Option<&PhaseRecord> {
        self.last
            .timeline
            .iter()
            .rev()
            .find(|record| record.ended.is_none())
    }

    fn figures(&self, record: &PhaseRecord) -> Option<&TransferProgress> {
        let figures = self.last.progress.as_ref();
        figures.filter(|figures| record.phase() == Phase::Transfer && words::percent(figures).is_some())
    }

    /// Host and phase, so wide that they stand below each other.
    fn name(&self, record: &PhaseRecord) -> String {
        let host_width = self
            .last
            .source
            .chars()
            .count()
            .max(self.last.destination.chars().count());
        format!(
            "{:host_width$}  {:PHASE_WIDTH$}",
            record.host,
            words::phase_or_dash(record.phase())
        )
    }
}

/// Bar and figures in so many columns: what is of the least interest gives way to the bar, and the bar to the rest.
fn transfer(figures: &TransferProgress, elapsed: &str, room: usize) -> String {
    let memory = words::memory(figures).unwrap_or_default();
    let left = words::left(figures).map_or_else(String::new, |left| format!(", {left}"));
    let pass = match figures.iteration {
        0 | 1 => String::new(),
        pass => format!(", pass {pass}"),
    };
    let all = format!("{memory}{pass}{left}, {elapsed}");
    for text in [
        &all,
        &format!("{memory}{left}, {elapsed}"),
        &format!("{memory}{left}"),
    ] {
        let bar = words::percent(figures)
            .and_then(|percent| bar(percent, room.saturating_sub(text.chars().count())));
        if let Some(bar) = bar {
            return format!("{bar}  {text}");
        }
    }
    all
}

/// As wide as there is room, up to 30 columns; none where it would say nothing.
fn bar(percent: u64, room: usize) -> Option<String> {
    let inner = room.saturating_sub("[]  ".len()).min(28);
    if inner < 8 {
        return None;
    }
    let full = usize::try_from(percent.min(100)).unwrap_or(100) * inner / 100;
    Some(format!("[{}{}]", "#".repeat(full), "-".repeat(inner - full)))
}

fn end(record: &PhaseRecord) -> String {
    let took = words::took(record).map_or_else(|| "-".into(), words::length);
    match (record.failed, record.detail.as_str()) {
        (false, "") => took,
        (false, detail) => format!("{took:<8}  {detail}"),
        (true, "") => format!("failed after {took}"),
        (true, detail) => format!("failed after {took}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample::{self, at};
    use godwit_api::v1::Moved;

    #[test]
    fn without_a_terminal_every_start_and_end_is_a_line() {
        let (mut migration, done) = (sample::running(), sample::accelerated());
        let mut lines = Vec::new();
        let mut progress = Progress::new(&migration);
        migration.timeline.truncate(1);
        migration.timeline[0].ended = None;
        lines.extend(progress.news(&migration, at(0), false));
        lines.extend(progress.news(&sample::running(), at(2_000), false));
        lines.extend(progress.news(&sample::running(), at(6_999), false));
        lines.extend(progress.news(&sample::running(), at(7_000), false));
        lines.extend(progress.news(&done, at(10_000), false));
        lines.extend(progress.news(&done, at(20_000), false));
        insta::assert_snapshot!(lines.join("\n"), @"
          alpha  reserve    started
          alpha  reserve    412 ms    beta holds 0000:01:10.2
          alpha  fail-over  1.0 s
          alpha  transfer   started
          alpha  transfer   312 of 512 MiB, 60 %, 98.3 MiB/s
          alpha  transfer   312 of 512 MiB, 60 %, 98.3 MiB/s
          alpha  transfer   5.2 s
          beta   plug       2.1 s
          beta   fail-back  900 ms    frames seen on 0000:01:10.2
        ");
    }

    #[test]
    fn on_a_terminal_only_finished_phases_get_a_line() {
        let mut progress = Progress::new(&sample::running());
        insta::assert_snapshot!(progress.news(&sample::running(), at(2_000), true).join("\n"), @"
          alpha  reserve    412 ms    beta holds 0000:01:10.2
          alpha  fail-over  1.0 s
        ");
        insta::assert_snapshot!(progress.live(at(4_800), 100), @"  alpha  transfer   [###########--------]  312 of 512 MiB, 60 %, 98.3 MiB/s, pass 2, ~3 s left, 4 s");
    }

    #[test]
    fn the_bar_gives_way_before_the_figures_do() {
        let mut migration = sample::running();
        let progress = Progress::new(&migration);
        let mut lines: Vec<String> = [50, 70, 80, 120]
            .map(|width| progress.live(at(4_800), width))
            .into();
        // Later passes: how long they will go on, nobody knows.
        if let Some(figures) = migration.progress.as_mut() {
            figures.iteration = 3;
        }
        lines.push(Progress::new(&migration).live(at(4_800), 120));
        if let Some(figures) = migration.progress.as_mut() {
            (figures.bytes_per_second, figures.memory_processed_bytes) = (0, 0);
        }
        lines.push(Progress::new(&migration).live(at(4_800), 120));
        insta::assert_snapshot!(lines.join("\n"), @"
        alpha  transfer   312 of 512 MiB, 60 %, 98.3 MiB/s, pass 2, ~3 s left, 4 s
        alpha  transfer   312 of 512 MiB, 60 %, 98.3 MiB/s, pass 2, ~3 s left, 4 s
        alpha  transfer   [#######-----]  312 of 512 MiB, 60 %, 98.3 MiB/s, ~3 s left
        alpha  transfer   [################------------]  312 of 512 MiB, 60 %, 98.3 MiB/s, pass 2, ~3 s left, 4 s
        alpha  transfer   [################------------]  312 of 512 MiB, 60 %, 98.3 MiB/s, pass 3, ~3 s left, 4 s
        alpha  transfer   [----------------------------]  0 of 512 MiB, 0 %, 0.0 MiB/s, pass 3, 4 s
        ");
        assert!(
            lines
                .iter()
                .zip([usize::MAX, usize::MAX, 80, 120, 120, 120])
                .all(|(line, width)| line.chars().count() < width)
        );
        assert_eq!(bar(0, 40).as_deref(), Some("[----------------------------]"));
        assert_eq!(bar(100, 14).as_deref(), Some("[##########]"));
        assert_eq!(bar(50, 11), None);
    }

    #[test]
    fn the_queue_is_told_each_time_that_it_has_moved() {
        let (mut progress, mut lines) = (Progress::new(&sample::queued()), Vec::new());
        for place in [3, 3, 2, 1, 0] {
            let migration = Migration {
                queue_place: place,
                ..sample::queued()
            };
            lines.extend(progress.news(&migration, at(0), false));
            lines.push(progress.live(at(5_000), 80));
        }
        insta::assert_snapshot!(lines.join("\n"), @"
        alpha  reserve    412 ms    beta holds 0000:01:10.2
        alpha  queue      started
        alpha  queue      waits for other transfers, place 3
        alpha  queue      waits for other transfers, place 3, 5 s
        alpha  queue      waits for other transfers, place 3, 5 s
        alpha  queue      waits for other transfers, place 2
        alpha  queue      waits for other transfers, place 2, 5 s
        alpha  queue      waits for other transfers, place 1
        alpha  queue      waits for other transfers, place 1, 5 s
        alpha  queue      5 s
        ");
    }

    #[test]
    fn the_live_line_of_every_moment() {
        let mut migration = sample::running();
        migration.progress = None;
        let mut progress = Progress::new(&migration);
        let mut seen = vec![progress.live(at(0), 80)];
        migration
            .timeline
            .push(sample::record("beta", Phase::Plug, 7_000, None, ""));
        progress.news(&migration, at(0), true);
        seen.push(progress.live(at(70_000), 80));
        progress.news(&sample::accelerated(), at(0), true);
        seen.push(progress.live(at(-5_000), 80));
        progress.lost();
        seen.push(progress.live(at(9_000), 80));
        insta::assert_snapshot!(seen.join("\n"), @"
          alpha  transfer   0 s
          beta   plug       1 min 10 s
          waiting for the next phase, 0 s
          waiting for godwitd, 9 s
        ");
    }

    #[test]
    fn a_failed_phase_a_second_try_and_a_cancel_are_told_once() {
        let mut migration = sample::rolled_back();
        migration.cancelled = true;
        migration.moved = Moved::No.into();
        migration
            .timeline
            .push(sample::record("alpha", Phase::Transfer, 8_000, Some(9_000), ""));
        let mut progress = Progress::new(&migration);
        insta::assert_snapshot!(progress.news(&migration, at(9_000), true).join("\n"), @"
        Cancel was asked for: it turns round at its next phase boundary.
          alpha  reserve    412 ms    beta holds 0000:01:10.2
          alpha  fail-over  1.0 s
          alpha  transfer   failed after 5.2 s: libvirt: connection reset
          alpha  transfer   1.0 s
        ");
        assert_eq!(progress.news(&migration, at(9_000), true), Vec::<String>::new());
    }
}
