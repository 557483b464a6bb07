//! One move, measured: what Godwit says of it, what was lost meanwhile, and where the traffic is afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::counters::{self, Traffic};
use crate::godwit::{self, Migration, Move};
use crate::guest::{Guest, WEB_1, domain_state};
use crate::hops::Hops;
use crate::losses::{Loss, by_phase, lost};
use crate::prober::{Line, Prober};
use crate::timeline::{Span, spans};
use crate::{Host, Place, clock, ssh};

/// Datagrams a second, each way.
pub const RATE: u32 = 100;

/// Quiet time before and after, so that a loss near the edges is seen.
pub(crate) const MARGIN: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(3);
const MOVE_LIMIT: Duration = Duration::from_secs(300);

/// What one move was like.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The exit code of `godwit migrate --wait`.
    pub code: i32,
    /// What it complained of.
    pub complaint: String,
    /// Its last word.
    pub migration: Migration,
    /// The phases on this machine's clock.
    pub spans: Vec<Span>,
    /// Sent and lost, by phase.
    pub losses: BTreeMap<String, Loss>,
    /// How long the guest stood still, by QEMU.
    pub downtime_ms: Option<u64>,
    /// Packets through VF and tap on the destination, afterwards.
    pub traffic: Traffic,
    /// libvirt on both hosts says that it moved.
    pub moved: bool,
    /// The counters say that its traffic is on the VF.
    pub accelerated: bool,
    /// It answered in the end.
    pub answered: bool,
}

/// Moves the guest under traffic. `tell` hears of every new phase.
pub fn one_move(place: &Place, probe: &Path, from: Host, tell: impl FnMut(&Migration)) -> Result<Measured> {
    begun_move(place, probe, from, tell).map(|(_, measured)| measured)
}

/// The same to this address of the guest; and where each datagram that was lost had been seen.
pub fn traced_move(
    place: &Place,
    probe: &Path,
    from: Host,
    address: &str,
) -> Result<(Measured, Vec<String>)> {
    let hops = Hops::begin(place, probe, (WEB_1, from))?;
    let (_, measured, record) = recorded_move(place, probe, (from, address), |_| {})?;
    let seen = hops.of(&lost(&record, &measured.spans))?;
    Ok((measured, seen))
}

/// The same with the time of the command, by this machine's clock: a record begins later.
pub fn begun_move(
    place: &Place,
    probe: &Path,
    from: Host,
    tell: impl FnMut(&Migration),
) -> Result<(f64, Measured)> {
    recorded_move(place, probe, (from, WEB_1.address), tell).map(|(begun, measured, _)| (begun, measured))
}

fn recorded_move(
    place: &Place,
    probe: &Path,
    (from, address): (Host, &str),
    mut tell: impl FnMut(&Migration),
) -> Result<(f64, Measured, Vec<Line>)> {
    let ahead = clock::offsets(place)?;
    let prober = Prober::start_at(place, probe, address, RATE)?;
    sleep(MARGIN);
    let begun = clock::now();
    let mut running = Move::begin(place, from, WEB_1.name, from.other().name())?;
    let (code, complaint) = running.follow(MOVE_LIMIT, &mut tell)?;
    sleep(MARGIN);
    let seen = afterwards(place, from)?;
    let record = prober.stop(place)?;

    let id = running.last.id.clone();
    ensure!(!id.is_empty(), "no migration began: {}", complaint.trim_end());
    let migration = godwit::status(place, from, &id).unwrap_or_else(|_| running.last.clone());
    let spans = spans(&migration, |host| ahead.get(host).copied().unwrap_or_default())?;
    let told = migration.progress.as_ref().and_then(|known| known.downtime_ms);
    let measured = Measured {
        code,
        complaint,
        losses: by_phase(&record, &spans),
        spans,
        downtime_ms: downtime(place, from.other(), WEB_1).or(told),
        answered: WEB_1.answers(place),
        migration,
        ..seen
    };
    Ok((begun, measured, record))
}

/// Where guest and traffic are, whoever moved them.
pub(crate) fn afterwards(place: &Place, from: Host) -> Result<Measured> {
    let moved = has_moved(place, from)?;
    let traffic = if moved {
        counters::watch(place, from.other(), WATCH)?
    } else {
        Traffic::default()
    };
    Ok(Measured {
        accelerated: traffic.is_accelerated(u64::from(RATE) * WATCH.as_secs()),
        traffic,
        moved,
        ..Measured::default()
    })
}

/// By libvirt on both hosts.
fn has_moved(place: &Place, from: Host) -> Result<bool> {
    let there = domain_state(place, from.other(), WEB_1.name)?;
    let here = domain_state(place, from, WEB_1.name)?;
    Ok(there == "running" && here != "running")
}

/// libvirt keeps QEMU's figures of the last job with the domain that came.
pub(crate) fn downtime(place: &Place, to: Host, guest: Guest) -> Option<u64> {
    let line = format!("virsh -q domjobinfo {guest} --completed --keep-completed");
    let text = ssh::output(place, to, &line).ok()?;
    let words = text
        .lines()
        .find_map(|line| line.strip_prefix("Total downtime:"))?;
    words.split_whitespace().next()?.parse().ok()
}
