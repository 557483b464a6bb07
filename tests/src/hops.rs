//! Where a datagram that was lost had been seen: on the outer network, on each host's ports, bridge and taps, and on the guest's ports.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;
use crate::losses::Lost;
use crate::{Host, Place, command, ssh};

/// On a host and in the guest: what was seen there.
const SEEN: &str = "/run/hops";
/// Where a host has the prober meanwhile.
const PROBE: &str = "/run/godwit-probe";
/// Longer than any move; it is ended before, if it can be.
const SECONDS: &str = "900";
/// The interfaces that data passes on the outer network, on a host (PF, uplink, bridges and taps), and in the guest.
const OUTER: &str = "alpha-up,alpha-pf,beta-up,beta-pf";
const HOSTS: &str = "pf0,up0,br0,ovs0,vnet,macvtap";
const GUESTS: &str = "eth,bond";
/// Of more, the first ones tell enough.
const MOST: usize = 20;

/// It is being noted.
#[derive(Debug)]
pub struct Hops<'a> {
    place: &'a Place,
    guest: Guest,
    outer: Child,
    /// Processes on the hosts that have not been ended.
    hosts: HashMap<Host, String>,
    /// The one in the guest.
    inner: Option<String>,
}

impl<'a> Hops<'a> {
    /// Begins, with the guest on that host.
    pub fn begin(place: &'a Place, probe: &Path, (guest, on): (Guest, Host)) -> Result<Hops<'a>> {
        let mut outer = command::command("ip", ["netns", "exec", &place.namespace()]);
        outer
            .arg(probe)
            .args(["hops", "--only", OUTER, "--seconds", SECONDS]);
        outer.arg("--out").arg(outer_file(place));
        let errors = File::create(place.run().join("hops.log"))?;
        let outer = outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        // What is begun from here on is ended with it.
        let mut hops = Hops {
            place,
            guest,
            outer: outer.spawn().context("cannot run the prober")?,
            hosts: HashMap::new(),
            inner: None,
        };
        let binary = fs::read(probe)?;
        for host in Host::ALL {
            // One that still runs cannot be written over.
            let bring = format!("rm -f {PROBE} && cat >{PROBE} && chmod 700 {PROBE}");
            ssh::run_with(place, host, &bring, &binary)?;
            let process = ssh::output(place, host, &begin_line(PROBE, HOSTS))?;
            hops.hosts.insert(host, process.trim().to_owned());
        }
        let answer = guest.shell(place, on, &begin_line("godwit-probe", GUESTS))?;
        ensure!(answer.status == 0, "hops in the guest: {}", answer.text);
        hops.inner = Some(answer.text.trim().to_owned());
        Ok(hops)
    }

    /// Ends it: one sentence for each of these.
    pub fn of(mut self, lost: &[Lost]) -> Result<Vec<String>> {
        self.end()?;
        let on = self.guest.locate(self.place)?.context("the guest runs nowhere")?;
        let lost = &lost[..lost.len().min(MOST)];
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let only = pattern(lost);
        let read = format!("grep -E '{only}' {SEEN} || true");
        let outer = fs::read_to_string(outer_file(self.place))?;
        let mut places = vec![("network", outer)];
        for host in Host::ALL {
            places.push((host.name(), ssh::output(self.place, host, &read)?));
        }
        places.push(("guest", self.guest.shell(self.place, on, &read)?.text));
        Ok(lost.iter().map(|one| sentence(one, &places)).collect())
    }
}

impl Hops<'_> {
    /// Each process by its id, once: another may have that later.
    fn end(&mut self) -> Result<()> {
        let _ = self.outer.kill();
        self.outer.wait()?;
        for (host, process) in std::mem::take(&mut self.hosts) {
            ssh::run(self.place, host, &format!("kill {process}"))?;
        }
        if let Some(process) = self.inner.take() {
            let on = self.guest.locate(self.place)?.context("the guest runs nowhere")?;
            self.guest.shell(self.place, on, &format!("kill {process}"))?;
        }
        Ok(())
    }
}

impl Drop for Hops<'_> {
    fn drop(&mut self) {
        // One that was left would write into the next one's file; it ends by itself, later.
        let _ = self.end();
    }
}

fn outer_file(place: &Place) -> PathBuf {
    place.run().join("hops")
}

/// A shell command that begins it and says its process.
fn begin_line(probe: &str, only: &str) -> String {
    format!(
        "{probe} hops --only {only} --out {SEEN} --seconds {SECONDS} </dev/null >/dev/null 2>&1 & echo $!"
    )
}

fn pattern(lost: &[Lost]) -> String {
    let each: Vec<String> = lost
        .iter()
        .map(|one| format!("{} {}", way(one), one.number))
        .collect();
    format!(" ({}) ", each.join("|"))
}

fn way(lost: &Lost) -> &'static str {
    if lost.to_guest { "to" } else { "from" }
}

fn sentence(lost: &Lost, places: &[(&str, String)]) -> String {
    let wanted = (way(lost), lost.number.to_string());
    let seen: Vec<String> = places
        .iter()
        .filter_map(|(place, text)| {
            let at = text.lines().filter_map(|line| {
                let mut words = line.split(' ');
                let (name, way, number, at) = (words.next()?, words.next()?, words.next()?, words.next()?);
                (way == wanted.0 && number == wanted.1).then(|| format!("{name} at {at}"))
            });
            let at: Vec<String> = at.collect();
            (!at.is_empty()).then(|| format!("{place}: {}", at.join(", ")))
        })
        .collect();
    let seen = if seen.is_empty() {
        "nowhere".into()
    } else {
        seen.join("; ")
    };
    let Lost {
        number, at, phase, ..
    } = lost;
    format!(
        "{} the guest {number}, {phase}, at {at:.3}, seen {seen}",
        wanted.0
    )
}

#[cfg(test)]
mod tests {
    use super::{pattern, sentence};
    use crate::losses::Lost;

    #[test]
    fn the_last_place_that_saw_it_is_told() {
        let lost = Lost {
            to_guest: true,
            number: 12,
            at: 5.0,
            phase: "plug".into(),
        };
        let places = [
            ("network", "alpha-pf to 12 5.1\nalpha-pf from 12 5.2\n".to_owned()),
            (
                "alpha",
                "pf0 to 12 5.3\nvnet0 to 12 5.4\nvnet0 to 120 5.5\n".to_owned(),
            ),
            ("guest", String::new()),
        ];
        assert_eq!(
            sentence(&lost, &places),
            "to the guest 12, plug, at 5.000, seen network: alpha-pf at 5.1; alpha: pf0 at 5.3, vnet0 at 5.4"
        );
        let other = Lost { number: 13, ..lost };
        assert_eq!(
            sentence(&other, &places),
            "to the guest 13, plug, at 5.000, seen nowhere"
        );
        assert_eq!(pattern(&[other.clone(), other]), " (to 13|to 13) ");
    }
}
