//! The guest `web-1`: a bond of a standby and a VF, which the rig plugs by itself the first time.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{command, succeeds, wait_for};
use crate::line::{self, Answer};
use crate::{Host, Place, network, say, ssh};

/// Its name for libvirt and Godwit.
pub const NAME: &str = "web-1";
/// Its identity on every host.
pub const UUID: &str = "60d01700-0000-4000-8000-000000000010";
/// The address both ports of its bond have.
pub const MAC: &str = "52:54:00:aa:00:10";
/// Its IP address.
pub const ADDRESS: &str = "10.77.0.100";

const PATIENCE: Duration = Duration::from_secs(120);
/// While it boots, what is asked too early is lost and asked again.
const EARLY: Duration = Duration::from_secs(2);

/// What the guest says of itself.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Seconds since it booted.
    pub uptime: f64,
    /// Names this boot.
    pub boot: String,
    /// Names the binaries it started with.
    pub build: String,
    /// The bond's active port.
    pub active: String,
    /// Its NICs.
    pub nics: Vec<Nic>,
    /// Process id and resident kilobytes of the agent.
    pub agent: Option<(u32, u64)>,
}

/// A NIC, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its address.
    pub mac: String,
    /// Whether it has a link and is in the bond.
    pub works: bool,
    /// Packets received since it came.
    pub rx: u64,
    /// Packets sent since it came.
    pub tx: u64,
}

impl State {
    /// The VF's port.
    pub fn vf(&self) -> Option<&Nic> {
        self.nics.iter().find(|nic| nic.driver == "igbvf")
    }

    /// Whether the bond's traffic goes through the VF.
    pub fn is_on_vf(&self) -> bool {
        self.vf().is_some_and(|vf| vf.works && vf.name == self.active)
    }

    fn read(text: &str) -> State {
        let mut state = State::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["uptime", seconds] => state.uptime = seconds.parse().unwrap_or_default(),
                ["boot", id] => state.boot = (*id).to_owned(),
                ["build", key] => state.build = (*key).to_owned(),
                ["active", name] => state.active = (*name).to_owned(),
                ["agent", pid, rss] => state.agent = pid.parse().ok().zip(rss.parse().ok()),
                ["nic", name, driver, mac, link, master, rx, tx] => state.nics.push(Nic {
                    name: (*name).to_owned(),
                    driver: (*driver).to_owned(),
                    mac: (*mac).to_owned(),
                    works: *link == "up" && *master == "bond0",
                    rx: rx.parse().unwrap_or_default(),
                    tx: tx.parse().unwrap_or_default(),
                }),
                _ => {}
            }
        }
        state
    }
}

/// The host it runs on.
pub fn locate(place: &Place) -> Result<Option<Host>> {
    for host in Host::ALL {
        if crate::host::process(place, host).is_some() && domain_state(place, host, NAME)? == "running" {
            return Ok(Some(host));
        }
    }
    Ok(None)
}

/// libvirt's word for a domain's state; "" when the host does not know it.
pub fn domain_state(place: &Place, host: Host, name: &str) -> Result<String> {
    let state = ssh::output(
        place,
        host,
        &format!("virsh -q domstate {name} 2>/dev/null || true"),
    )?;
    Ok(state.trim().to_owned())
}

/// Starts it on a host and gives it a VF, unless it runs there and has one.
pub fn start(place: &Place, host: Host) -> Result<()> {
    match locate(place)? {
        Some(found) => ensure!(found == host, "{NAME} runs on {found}"),
        None => boot(place, host)?,
    }
    wait_for("the guest's boot", PATIENCE, || {
        state_within(place, host, EARLY).map(Some)
    })?;
    if !has_vf(place, host)? {
        plug(place, host)?;
    }
    wait_for("the VF in the guest", PATIENCE, || {
        Ok(state(place, host)?.vf().map(drop))
    })?;
    line::ask(place, host, "prefer-vf", PATIENCE)?;
    wait_for("the guest's traffic on its VF", PATIENCE, || {
        Ok(state(place, host)?.is_on_vf().then_some(()))
    })?;
    network::forget_neighbours(place)?;
    wait_for("an answer of the guest", PATIENCE, || {
        Ok(answers(place).then_some(()))
    })
}

/// Switches it off and makes both hosts forget it.
pub fn stop(place: &Place) -> Result<()> {
    for host in Host::ALL {
        if crate::host::process(place, host).is_some() {
            remove(place, host, NAME)?;
            ssh::run(place, host, "rig-vf sweep")?;
        }
    }
    Ok(())
}

/// Switches a domain off, if it runs, and makes the host forget it.
pub fn remove(place: &Place, host: Host, name: &str) -> Result<()> {
    if domain_state(place, host, name)?.is_empty() {
        return Ok(());
    }
    let line = format!("virsh -q destroy {name} 2>/dev/null; virsh -q undefine {name} 2>/dev/null; true");
    ssh::run(place, host, &line)?;
    let state = domain_state(place, host, name)?;
    ensure!(state.is_empty(), "{name} is still {state} on {host}");
    Ok(())
}

/// What it says of itself.
pub fn state(place: &Place, host: Host) -> Result<State> {
    state_within(place, host, Duration::from_secs(15))
}

fn state_within(place: &Place, host: Host, limit: Duration) -> Result<State> {
    let answer = line::ask(place, host, "state", limit)?;
    ensure!(
        answer.status == 0,
        "the guest cannot tell its state: {}",
        answer.text.trim_end()
    );
    Ok(State::read(&answer.text))
}

/// Runs a shell command in it.
pub fn shell(place: &Place, host: Host, line: &str) -> Result<Answer> {
    line::ask(place, host, &format!("sh {line}"), PATIENCE)
}

/// Makes it boot again, from inside, and waits until it is back on its VF.
pub fn reboot(place: &Place, host: Host) -> Result<()> {
    let before = state(place, host)?.boot;
    // The answer would not get out any more.
    shell(place, host, "(sleep 1; reboot -f) &")?;
    wait_for("the guest's boot", PATIENCE, || {
        Ok((state_within(place, host, EARLY)?.boot != before).then_some(()))
    })?;
    wait_for("the guest's traffic on its VF", PATIENCE, || {
        Ok(state(place, host)?.is_on_vf().then_some(()))
    })
}

/// Whether it answers the client outside the hosts.
pub fn answers(place: &Place) -> bool {
    let mut ping = command("ip", ["netns", "exec", &place.namespace(), "ping"]);
    succeeds(ping.args(["-c", "1", "-W", "2", "-q", ADDRESS]))
}

/// Its domain XML as it runs, or as it is stored.
pub fn xml(place: &Place, host: Host, name: &str, stored: bool) -> Result<String> {
    let option = if stored { "--inactive" } else { "" };
    ssh::output(place, host, &format!("virsh -q dumpxml {option} {name}"))
}

fn boot(place: &Place, host: Host) -> Result<()> {
    say(format!("starting {NAME} on {host}"));
    let xml = std::fs::read(place.assets().join("guest/web-1.xml"))?;
    // A domain that is already stored, as after a pulled plug, keeps what Godwit wrote into it.
    if domain_state(place, host, NAME)?.is_empty() {
        ssh::run_with(place, host, "virsh -q define /dev/stdin", &xml)?;
    }
    ssh::run(place, host, &format!("virsh -q start {NAME}"))
}

fn has_vf(place: &Place, host: Host) -> Result<bool> {
    Ok(xml(place, host, NAME, false)?.contains("<hostdev "))
}

/// Plugs an unused VF into the running guest; the stored one stays without.
fn plug(place: &Place, host: Host) -> Result<()> {
    let address = ssh::output(place, host, &format!("rig-vf take {MAC}"))?;
    let xml = vf_xml(place, address.trim())?;
    ssh::run_with(
        place,
        host,
        &format!("virsh -q attach-device {NAME} /dev/stdin --live"),
        xml.as_bytes(),
    )
    .context("cannot plug the VF")
}

/// The device that gives a domain the VF at a PCI address.
pub fn vf_xml(place: &Place, address: &str) -> Result<String> {
    let parts: Vec<&str> = address.split([':', '.']).collect();
    let [domain, bus, slot, function] = parts.as_slice() else {
        bail!("{address} is no PCI address")
    };
    let template = std::fs::read_to_string(place.assets().join("guest/vf.xml"))?;
    Ok(template
        .replace("@DOMAIN@", domain)
        .replace("@BUS@", bus)
        .replace("@SLOT@", slot)
        .replace("@FUNCTION@", function))
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn reads_what_the_guest_says() {
        let state = State::read(
            "uptime 12.5\nboot 1-2\nactive eth1\n\
             nic eth0 virtio_net 52:54:00:aa:00:10 up bond0 1 2\n\
             nic eth1 igbvf 52:54:00:aa:00:10 up bond0 3 4\nagent 77 1200\n",
        );
        assert!(state.is_on_vf());
        assert_eq!(state.vf().map(|vf| (vf.rx, vf.tx)), Some((3, 4)));
        assert_eq!(state.agent, Some((77, 1200)));
        assert!(
            !State {
                active: "eth0".into(),
                ..state
            }
            .is_on_vf()
        );
    }
}
