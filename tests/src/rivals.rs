//! One move in each of the ways that there are, under the same traffic and measured alike: for a comparison. All but the
//! first are what an operator has without Godwit, set up as well as their documentation says.
//!
//! godwitd does not run on the hosts while another way is measured: it would see a guest of its own arrive.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::wait_for;
use crate::godwit::{self, Move};
use crate::guest::{Guest, TEAM_1, WEB_1, domain_state};
use crate::losses::{Loss, by_phase};
use crate::prober::{Line, Prober};
use crate::timeline::{Span, phase_at, spans, step};
use crate::{Host, Place, clock, measure, network, ready, script, ssh};

/// Records a second of the TCP connection beside the datagrams.
pub const STREAM: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(120);
const MOVE_LIMIT: Duration = Duration::from_secs(300);

/// A way to move a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `godwit migrate`.
    Godwit,
    /// The same with `--keep off`: frames of the pause are not kept.
    GodwitUnkept,
    /// The same with `--probes 0`: the guest sends nothing to measure the move by.
    GodwitUnmeasured,
    /// The same steps typed by hand, the guest's among them.
    ByHand,
    /// Unplug, migrate, plug; a bond with `miimon` and a primary port is left to notice, as KubeVirt and Nova leave it.
    NoGuestStep,
    /// A guest of libvirt's `<teaming>`, by `virsh migrate` alone: QEMU unplugs, libvirt plugs.
    Teaming,
    /// The same guest by the script in the kernel's documentation (`networking/net_failover.rst`): unplug and plug by hand.
    KernelScript,
    /// A guest whose traffic is on virtio all the time, and a VF that it does not use is unplugged before and plugged after: what of a
    /// move's gaps is the plug's and the unplug's own.
    Control,
    /// A guest that has no VF at all: the floor.
    VirtioOnly,
}

impl Way {
    /// All of them, ours first, the floor last.
    pub const ALL: [Way; 9] = [
        Way::Godwit,
        Way::GodwitUnkept,
        Way::GodwitUnmeasured,
        Way::ByHand,
        Way::NoGuestStep,
        Way::Teaming,
        Way::KernelScript,
        Way::Control,
        Way::VirtioOnly,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Godwit => "godwit",
            Way::GodwitUnkept => "godwit-unkept",
            Way::GodwitUnmeasured => "godwit-unmeasured",
            Way::ByHand => "by-hand",
            Way::NoGuestStep => "no-guest-step",
            Way::Teaming => "teaming",
            Way::KernelScript => "kernel-script",
            Way::Control => "control",
            Way::VirtioOnly => "virtio-only",
        }
    }

    /// The guest that is moved.
    pub fn guest(self) -> Guest {
        match self {
            Way::Teaming | Way::KernelScript => TEAM_1,
            _ => WEB_1,
        }
    }
}

/// What one move was like. Times are by this machine's clock.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// From the command to the guest on its VF, or, of one without, to the command's end; seconds.
    pub total_s: f64,
    /// From the traffic's leaving the VF, or the begin of its unplug, until it is back; seconds. None of one without.
    pub off_vf_s: Option<f64>,
    /// The steps.
    pub spans: Vec<Span>,
    /// Sent and lost, by step.
    pub losses: BTreeMap<String, Loss>,
    /// The longest time without a datagram of the guest's that began in the step, milliseconds.
    pub gaps: BTreeMap<String, f64>,
    /// Datagrams seen more than once: by the guest, by the client.
    pub duplicates: (u64, u64),
    /// The longest run of datagrams to the guest that were lost, as a time; milliseconds.
    pub gap_to_guest_ms: f64,
    /// The longest time without a byte of the TCP connection, milliseconds.
    pub stall_ms: f64,
    /// In which step that began.
    pub stall_step: String,
    /// TCP segments sent again, by client and guest.
    pub retransmitted: u64,
    /// How long the guest stood still, by QEMU; milliseconds.
    pub pause_ms: Option<u64>,
}

impl Seen {
    /// Of all steps.
    pub fn lost(&self) -> Loss {
        self.losses.values().copied().fold(Loss::default(), Loss::plus)
    }

    /// The longest time without a datagram of the guest's, milliseconds.
    pub fn gap_from_guest_ms(&self) -> f64 {
        self.gaps.values().copied().fold(0.0, f64::max)
    }

    /// Of all steps but the transfer.
    pub fn lost_elsewhere(&self) -> Loss {
        let others = self.losses.iter().filter(|(name, _)| *name != "transfer");
        others.fold(Loss::default(), |sum, (_, loss)| sum.plus(*loss))
    }
}

/// Brings the guest of that way onto `host`, with what it begins with; other guests are switched off.
pub fn prepare(place: &Place, way: Way, host: Host) -> Result<()> {
    match way.guest() {
        guest if guest == WEB_1 => ready::on(place, host)?,
        guest => {
            WEB_1.stop(place)?;
            daemons(place, "stop")?;
            if guest.locate(place)? == Some(host.other()) {
                guest.stop(place)?;
            }
            guest.start(place, host)?;
        }
    }
    match way {
        Way::Godwit | Way::GodwitUnkept | Way::GodwitUnmeasured | Way::Teaming | Way::KernelScript => {
            return Ok(());
        }
        Way::ByHand => {}
        Way::NoGuestStep => {
            let answer = WEB_1.ask(place, host, "auto on", PATIENCE)?;
            ensure!(answer.status == 0, "auto on: {}", answer.text.trim_end());
        }
        Way::VirtioOnly | Way::Control => {
            daemons(place, "stop")?;
            script::fail_over(place, host)?;
            script::unplug(place, host, WEB_1)?;
            ssh::run(place, host, "rig-vf sweep")?;
            if way == Way::Control {
                WEB_1.plug_unrelated(place, host)?;
            }
        }
    }
    daemons(place, "stop")
}

/// Leaves the guest, which is on `host` now, as it was before [`prepare`].
pub fn put_back(place: &Place, way: Way, host: Host) -> Result<()> {
    match way {
        Way::NoGuestStep => _ = WEB_1.ask(place, host, "auto off", PATIENCE)?,
        Way::VirtioOnly | Way::Control => {
            if way == Way::Control {
                script::unplug(place, host, WEB_1)?;
                ssh::run(place, host, "rig-vf sweep")?;
            }
            WEB_1.plug(place, host)?;
            script::fail_back(place, host)?;
        }
        _ => {}
    }
    daemons(place, "start")
}

/// On both hosts, after a move that failed.
pub fn start_daemons(place: &Place) -> Result<()> {
    daemons(place, "start")
}

fn daemons(place: &Place, word: &str) -> Result<()> {
    Host::ALL
        .into_iter()
        .try_for_each(|host| ssh::run(place, host, &format!("rig-service {word} godwitd")))
}

/// Moves the guest, which was prepared on `from`, under traffic of `rate` datagrams a second each way.
pub fn one_move(place: &Place, probe: &Path, (way, from): (Way, Host), rate: u32) -> Result<Seen> {
    let guest = way.guest();
    // The connections are open before the clock runs.
    for host in Host::ALL {
        ssh::run(place, host, "true")?;
    }
    network::forget_neighbours(place)?;
    let before = retransmitted(place, from, guest)?;
    let prober = Prober::start_with_stream(place, probe, guest, rate, STREAM)?;
    sleep(measure::MARGIN);
    let begun = clock::now();
    let spans = by_steps(place, way, from).with_context(|| way.name())?;
    let ended = spans.iter().map(|span| span.to).fold(begun, f64::max);
    sleep(measure::MARGIN);
    let record = prober.stop(place)?;
    let to = from.other();
    ensure!(
        domain_state(place, to, guest.name)? == "running" && guest.answers(place),
        "{guest} is not at {to}"
    );
    ssh::run(place, from, "rig-vf sweep")?;
    let seen = Seen {
        total_s: ended - begun,
        off_vf_s: off_vf(way, &spans),
        losses: by_phase(&record, &spans),
        pause_ms: measure::downtime(place, to, guest),
        ..of_record(&record, &spans, rate)
    };
    let seen = Seen { spans, ..seen };
    Ok(Seen {
        retransmitted: seen.retransmitted + retransmitted(place, to, guest)?.saturating_sub(before),
        ..seen
    })
}

fn by_godwit(place: &Place, from: Host, options: &str) -> Result<Vec<Span>> {
    let ahead = clock::offsets(place)?;
    let to = format!("{}{options}", from.other().name());
    let mut running = Move::begin(place, from, WEB_1.name, &to)?;
    let (code, complaint) = running.follow(MOVE_LIMIT, |_| {})?;
    ensure!(
        code == 0,
        "godwit migrate ended with {code}: {}",
        complaint.trim_end()
    );
    let id = running.last.id.clone();
    let known = wait_for("the record's end", PATIENCE, || {
        let known = godwit::status(place, from, &id)?;
        Ok(Some(known).filter(|known| known.ended))
    })?;
    let spans = spans(&known, |host| ahead.get(host).copied().unwrap_or_default())?;
    // What comes after the guest is on its VF is nobody's waiting.
    Ok(spans
        .into_iter()
        .filter(|span| !["release", "follow", "locate", "await"].contains(&span.name.as_str()))
        .collect())
}

fn by_steps(place: &Place, way: Way, from: Host) -> Result<Vec<Span>> {
    let (guest, to) = (way.guest(), from.other());
    let transfer = || step(from, "transfer", || script::transfer(place, from, guest));
    let fail_back = || step(to, "fail-back", || guest.wait_for_vf(place, to));
    match way {
        Way::Godwit => by_godwit(place, from, ""),
        Way::GodwitUnkept => by_godwit(place, from, " --keep off"),
        Way::GodwitUnmeasured => by_godwit(place, from, " --probes 0"),
        Way::ByHand => script::steps(place, from),
        Way::NoGuestStep | Way::KernelScript => Ok(vec![
            step(from, "unplug", || script::unplug(place, from, guest))?,
            transfer()?,
            step(to, "plug", || guest.plug(place, to))?,
            fail_back()?,
        ]),
        Way::Teaming => Ok(vec![transfer()?, fail_back()?]),
        Way::Control => Ok(vec![
            step(from, "unplug", || script::unplug(place, from, guest))?,
            transfer()?,
            step(to, "plug", || guest.plug_unrelated(place, to))?,
        ]),
        Way::VirtioOnly => Ok(vec![transfer()?]),
    }
}

fn off_vf(way: Way, spans: &[Span]) -> Option<f64> {
    let of = |name: &str| spans.iter().find(|span| span.name == name);
    let left = match way {
        Way::Godwit | Way::GodwitUnkept | Way::GodwitUnmeasured | Way::ByHand => of("fail-over")?.to,
        Way::NoGuestStep | Way::KernelScript => of("unplug")?.from,
        // QEMU asks for it as its first step.
        Way::Teaming => of("transfer")?.from,
        Way::Control | Way::VirtioOnly => return None,
    };
    Some(of("fail-back")?.to - left)
}

/// What the traffic alone says.
fn of_record(record: &[Line], spans: &[Span], rate: u32) -> Seen {
    let mut seen = Seen::default();
    let (mut run, mut last) = (0_u32, None::<f64>);
    for line in record {
        match *line {
            Line::Sent { arrived, .. } => {
                run = if arrived { 0 } else { run + 1 };
                seen.gap_to_guest_ms = seen
                    .gap_to_guest_ms
                    .max(f64::from(run) * 1000.0 / f64::from(rate));
            }
            Line::Received { at, .. } => {
                if let Some(last) = last {
                    let longest = seen.gaps.entry(phase_at(spans, last).to_owned()).or_default();
                    *longest = longest.max((at - last) * 1000.0);
                }
                last = Some(at);
            }
            Line::Stream {
                stall_ms,
                stall_at,
                retransmitted,
                ..
            } => {
                seen.stall_step = phase_at(spans, stall_at).to_owned();
                seen.stall_ms = stall_ms;
                seen.retransmitted = retransmitted;
            }
            Line::Total {
                duplicates,
                guest_duplicates,
                ..
            } => seen.duplicates = (duplicates, guest_duplicates),
            Line::Missing { .. } => {}
        }
    }
    seen
}

/// By the guest's kernel, of all its connections since it booted.
fn retransmitted(place: &Place, host: Host, guest: Guest) -> Result<u64> {
    let line = "awk '/^Tcp:/ { if (!n) { for (i = 1; i <= NF; i++) if ($i == \"RetransSegs\") n = i } else print $n }' /proc/net/snmp";
    let answer = guest.shell(place, host, line)?;
    ensure!(answer.status == 0, "{}", answer.text.trim_end());
    answer.text.trim().parse().context("RetransSegs of the guest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, from: f64, to: f64) -> Span {
        Span {
            host: "alpha".into(),
            name: name.into(),
            from,
            to,
        }
    }

    #[test]
    fn time_off_the_vf_begins_where_the_way_leaves_it() {
        let spans = [
            span("fail-over", 1.0, 2.0),
            span("unplug", 2.0, 4.0),
            span("transfer", 4.0, 9.0),
            span("fail-back", 10.0, 12.0),
        ];
        let off = |way| off_vf(way, &spans);
        assert_eq!(off(Way::Godwit), Some(10.0));
        assert_eq!(off(Way::NoGuestStep), Some(10.0));
        assert_eq!(off(Way::Teaming), Some(8.0));
        assert_eq!(off(Way::VirtioOnly), None);
    }

    #[test]
    fn gaps_are_the_longest_ones() {
        let sent = |number: u64, arrived| Line::Sent {
            number,
            at: number as f64 / 100.0,
            arrived,
        };
        let received = |number, at| Line::Received { number, at };
        let record = [
            sent(0, false),
            sent(1, true),
            sent(2, false),
            sent(3, false),
            sent(4, true),
            received(0, 1.0),
            received(1, 1.25),
            received(2, 1.3),
            Line::Stream {
                sent: 1,
                echoed: 1,
                stall_ms: 7.0,
                stall_at: 1.3,
                retransmitted: 2,
            },
            Line::Total {
                sent: 5,
                reordered: 0,
                duplicates: 3,
                guest_sent: 3,
                guest_duplicates: 4,
            },
        ];
        let seen = of_record(&record, &[span("plug", 1.2, 2.0)], 100);
        assert_eq!(
            (seen.gap_to_guest_ms, seen.gap_from_guest_ms().round()),
            (20.0, 250.0)
        );
        assert_eq!(seen.gaps["before"].round(), 250.0);
        assert_eq!(seen.gaps["plug"].round(), 50.0);
        assert_eq!(seen.stall_step, "plug");
        assert_eq!(
            (seen.stall_ms, seen.retransmitted, seen.duplicates),
            (7.0, 2, (3, 4))
        );
    }

    #[test]
    fn what_was_lost_elsewhere_leaves_the_transfer_out() {
        let loss = |lost| Loss {
            to_guest: (10, lost),
            from_guest: (10, 0),
        };
        let losses = [("transfer".to_owned(), loss(7)), ("plug".to_owned(), loss(2))];
        let seen = Seen {
            losses: losses.into(),
            ..Seen::default()
        };
        assert_eq!((seen.lost().to_guest.1, seen.lost_elsewhere().to_guest.1), (9, 2));
    }
}
