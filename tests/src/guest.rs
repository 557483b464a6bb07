//! The guests: a bond of a standby and a VF each, which the rig plugs by itself the first time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{command, succeeds, wait_for};
use crate::line::{self, Answer};
use crate::{Host, Place, boots, network, say, ssh};

/// One guest of the rig: the same on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name for libvirt and Godwit.
    pub name: &'static str,
    /// Its identity for libvirt and Godwit.
    pub uuid: &'static str,
    /// The address both ports of its bond have.
    pub mac: &'static str,
    /// Its IP address.
    pub address: &'static str,
    /// The TCP port of its host that leads to the rig's line into it.
    pub port: u16,
}

/// The guest that demonstrations and tests move.
pub const WEB_1: Guest = Guest {
    name: "web-1",
    uuid: "60d01700-0000-4000-8000-000000000010",
    mac: "52:54:00:aa:00:10",
    address: "10.77.0.100",
    port: 4555,
};

/// A second one, for who needs two. It starts when it is asked for.
pub const WEB_2: Guest = Guest {
    name: "web-2",
    uuid: "60d01700-0000-4000-8000-000000000020",
    mac: "52:54:00:aa:00:20",
    address: "10.77.0.101",
    port: 4556,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// While it boots, what is asked too early is lost and asked again.
const EARLY: Duration = Duration::from_secs(2);
/// In the guest, the switch of the interrupt by which QEMU's q35 tells of PCI devices that come and go.
const UNPLUGS: &str = "/sys/firmware/acpi/interrupts/gpe01";

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
    /// The VF's port, or what stands for it in a flat guest.
    pub fn vf(&self) -> Option<&Nic> {
        self.nics.iter().find(|nic| nic.driver != "virtio_net")
    }

    /// Whether the bond's traffic goes through the VF.
    pub fn is_on_vf(&self) -> bool {
        self.vf().is_some_and(|vf| vf.works && vf.name == self.active)
    }

    /// Whether the bond's traffic goes through the virtio NIC.
    pub fn is_on_standby(&self) -> bool {
        let standby = self.nics.iter().find(|nic| nic.driver == "virtio_net");
        standby.is_some_and(|nic| nic.works && nic.name == self.active)
    }

    pub(crate) fn read(text: &str) -> State {
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

impl Guest {
    /// All of them.
    pub const ALL: [Guest; 2] = [WEB_1, WEB_2];

    /// The host it runs on.
    pub fn locate(self, place: &Place) -> Result<Option<Host>> {
        for host in Host::ALL {
            let on = crate::host::process(place, host).is_some();
            if on && domain_state(place, host, self.name)? == "running" {
                return Ok(Some(host));
            }
        }
        Ok(None)
    }

    /// Starts it on a host and gives it a VF, unless it runs there and has one.
    pub fn start(self, place: &Place, host: Host) -> Result<()> {
        match self.locate(place)? {
            Some(found) => ensure!(found == host, "{self} runs on {found}"),
            None => self.boot(place, host)?,
        }
        wait_for("the guest's boot", PATIENCE, || {
            self.state_within(place, host, EARLY).map(Some)
        })?;
        if !self.has_vf(place, host)? {
            self.plug(place, host)?;
        }
        wait_for("the VF in the guest", PATIENCE, || {
            Ok(self.state(place, host)?.vf().map(drop))
        })?;
        self.ask(place, host, "prefer-vf", PATIENCE)?;
        self.wait_for_vf(place, host)?;
        network::forget_neighbours(place)?;
        wait_for("an answer of the guest", PATIENCE, || {
            Ok(self.answers(place).then_some(()))
        })
    }

    /// Switches it off and makes both hosts forget it.
    pub fn stop(self, place: &Place) -> Result<()> {
        for host in Host::ALL {
            let on = crate::host::process(place, host).is_some();
            if on && !domain_state(place, host, self.name)?.is_empty() {
                remove(place, host, self.name)?;
                ssh::run(place, host, "rig-vf sweep")?;
            }
        }
        Ok(())
    }

    /// What it says of itself.
    pub fn state(self, place: &Place, host: Host) -> Result<State> {
        self.state_within(place, host, Duration::from_secs(15))
    }

    /// Runs a shell command in it.
    pub fn shell(self, place: &Place, host: Host, line: &str) -> Result<Answer> {
        self.ask(place, host, &format!("sh {line}"), PATIENCE)
    }

    /// Makes it boot again, from inside, and waits until it is back on its VF.
    pub fn reboot(self, place: &Place, host: Host) -> Result<()> {
        let before = self.state(place, host)?.boot;
        self.begin_reboot(place, host)?;
        wait_for("the guest's boot", PATIENCE, || {
            Ok((self.state_within(place, host, EARLY)?.boot != before).then_some(()))
        })?;
        self.wait_for_vf(place, host)
    }

    /// Makes it boot again, a second later.
    pub fn begin_reboot(self, place: &Place, host: Host) -> Result<()> {
        boots::ask();
        // The answer would not get out any more.
        self.shell(place, host, "(sleep 1; reboot -f) &").map(drop)
    }

    /// From now on it does not hear that a device is to be unplugged: the interrupt that tells is switched off in
    /// it. It runs on as ever, and a reboot ends the deafness. What was asked meanwhile is asked in vain; a reboot
    /// completes it.
    pub fn ignore_unplugs(self, place: &Place, host: Host) -> Result<()> {
        self.set_unplugs(place, host, "disable")
    }

    /// It hears of unplugs again; not of those that it missed.
    pub fn heed_unplugs(self, place: &Place, host: Host) -> Result<()> {
        self.set_unplugs(place, host, "enable")
    }

    /// Whether it answers the client outside the hosts.
    pub fn answers(self, place: &Place) -> bool {
        let mut ping = command("ip", ["netns", "exec", &place.namespace(), "ping"]);
        succeeds(ping.args(["-c", "1", "-W", "2", "-q", self.address]))
    }

    /// One request on the rig's line into it.
    pub fn ask(self, place: &Place, host: Host, request: &str, limit: Duration) -> Result<Answer> {
        line::ask(place, (host, self.port), request, limit)
    }

    fn state_within(self, place: &Place, host: Host, limit: Duration) -> Result<State> {
        let answer = self.ask(place, host, "state", limit)?;
        ensure!(
            answer.status == 0,
            "the guest cannot tell its state: {}",
            answer.text.trim_end()
        );
        Ok(State::read(&answer.text))
    }

    fn wait_for_vf(self, place: &Place, host: Host) -> Result<()> {
        wait_for("the guest's traffic on its VF", PATIENCE, || {
            Ok(self.state(place, host)?.is_on_vf().then_some(()))
        })
    }

    fn boot(self, place: &Place, host: Host) -> Result<()> {
        say(format!("starting {self} on {host}"));
        // A domain that is already stored, as after a pulled plug, keeps what Godwit wrote into it.
        if domain_state(place, host, self.name)?.is_empty() {
            let template = std::fs::read_to_string(place.assets().join("guest/web.xml"))?;
            let xml = self.fill_in(&template);
            ssh::run_with(place, host, "virsh -q define /dev/stdin", xml.as_bytes())?;
        }
        ssh::run(place, host, &format!("virsh -q start {self}"))
    }

    fn fill_in(self, template: &str) -> String {
        template
            .replace("@NAME@", self.name)
            .replace("@UUID@", self.uuid)
            .replace("@MAC@", self.mac)
            .replace("@ADDRESS@", self.address)
            .replace("@GATEWAY@", network::CLIENT)
            .replace("@PORT@", &self.port.to_string())
    }

    fn has_vf(self, place: &Place, host: Host) -> Result<bool> {
        Ok(xml(place, host, self.name, false)?.contains("<hostdev "))
    }

    /// Plugs an unused VF into the running guest; the stored one stays without.
    pub(crate) fn plug(self, place: &Place, host: Host) -> Result<()> {
        let address = ssh::output(place, host, &format!("rig-vf take {}", self.mac))?;
        let xml = vf_xml(place, address.trim())?;
        let attach = format!("virsh -q attach-device {self} /dev/stdin --live");
        ssh::run_with(place, host, &attach, xml.as_bytes()).context("cannot plug the VF")
    }

    fn set_unplugs(self, place: &Place, host: Host, word: &str) -> Result<()> {
        let line = format!("echo {word} >{UNPLUGS} && grep -q '{word}d' {UNPLUGS}");
        let answer = self.shell(place, host, &line)?;
        ensure!(
            answer.status == 0,
            "{self} does not {word} unplugs: {}",
            answer.text
        );
        Ok(())
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Guest {
    type Err = String;

    fn from_str(text: &str) -> Result<Guest, String> {
        let found = Guest::ALL.into_iter().find(|guest| guest.name == text);
        found.ok_or_else(|| format!("{text:?} is no guest; they are web-1 and web-2"))
    }
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

/// A domain's XML as it runs, or as it is stored.
pub fn xml(place: &Place, host: Host, name: &str, stored: bool) -> Result<String> {
    let option = if stored { "--inactive" } else { "" };
    ssh::output(place, host, &format!("virsh -q dumpxml {option} {name}"))
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
