//! The guests: bonds of a standby and a VF each, which the rig plugs by itself the first time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{command, succeeds, wait_for};
pub use crate::guests::{MACS_1, NATIVE_1, OVS_1, PAIRS_1, TAP_1, TEAM_1, VHOST_1, VLAN_1, WEB_1, WEB_2};
use crate::line::{self, Answer};
use crate::state::State;
use crate::{Host, Place, boots, network, say, ssh, vf};

/// One guest of the rig: the same on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name for libvirt and Godwit.
    pub name: &'static str,
    /// Its identity for libvirt and Godwit.
    pub uuid: &'static str,
    /// The address both ports of its first bond have, or the standby's.
    pub mac: &'static str,
    /// The VF's, where it is another: the bond then has the address of the port in use (`fail_over_mac=active`).
    pub vf_mac: Option<&'static str>,
    /// Its IP address there.
    pub address: &'static str,
    /// Its second pair.
    pub second: Option<Pair>,
    /// libvirt's name of its board.
    pub machine: &'static str,
    /// What its standbys are, as a template.
    pub standby: &'static str,
    /// libvirt, QEMU and the guest's virtio driver make one of its NICs (`<teaming>`, `net_failover`): there is no bond.
    pub teaming: bool,
    /// The TCP port of its host that leads to the rig's line into it.
    pub port: u16,
}

/// Two ports, in a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The address of both.
    pub mac: &'static str,
    /// The bond's IP address.
    pub address: &'static str,
}

/// The address of a VF that is in no pair.
const UNRELATED: &str = "52:54:00:77:0f:01";
const PATIENCE: Duration = Duration::from_secs(120);
/// While it boots, what is asked too early is lost and asked again.
const EARLY: Duration = Duration::from_secs(2);

/// A guest that is alive answers long before, however busy the machine is.
const HANGS: Duration = Duration::from_secs(30);
/// In the guest, the switch of the interrupt by which QEMU's q35 tells of PCI devices that come and go.
const UNPLUGS: &str = "/sys/firmware/acpi/interrupts/gpe01";

impl Guest {
    /// All its pairs, the first one first.
    pub fn pairs(self) -> impl Iterator<Item = Pair> {
        let first = Pair {
            mac: self.mac,
            address: self.address,
        };
        [Some(first), self.second].into_iter().flatten()
    }

    /// The addresses that its VFs have, in the order of their pairs.
    pub fn vf_macs(self) -> impl Iterator<Item = &'static str> {
        self.pairs().map(move |pair| self.vf_mac.unwrap_or(pair.mac))
    }

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
        self.start_plain(place, host)?;
        if !self.has_vf(place, host)? {
            self.plug(place, host)?;
        }
        wait_for("the VFs in the guest", PATIENCE, || {
            let all = self.state(place, host)?.vfs() == self.pairs().count();
            Ok(all.then_some(()))
        })?;
        if !self.teaming {
            self.ask(place, host, "prefer-vf", PATIENCE)?;
        }
        self.wait_for_vf(place, host)?;
        network::forget_neighbours(place)?;
        self.wait_for_answer(place)
    }

    /// Starts it on a host, unless it runs there, and leaves it as it is stored: without a VF.
    pub fn start_plain(self, place: &Place, host: Host) -> Result<()> {
        match self.locate(place)? {
            Some(found) => ensure!(found == host, "{self} runs on {found}"),
            None => self.boot(place, host)?,
        }
        wait_for("the guest's boot", PATIENCE, || {
            self.state_within(place, host, EARLY).map(Some)
        })
        .map(drop)
    }

    /// Waits until it answers the client outside the hosts.
    pub fn wait_for_answer(self, place: &Place) -> Result<()> {
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

    /// Whether it runs and nobody answers on the rig's line to it, which no network and no agent takes part in.
    pub(crate) fn hangs(self, place: &Place) -> bool {
        let Ok(Some(host)) = self.locate(place) else {
            return false;
        };
        self.state_within(place, host, HANGS).is_err()
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

    /// Whether it answers the client outside the hosts, at all its addresses.
    pub fn answers(self, place: &Place) -> bool {
        self.pairs().all(|pair| {
            let mut ping = command("ip", ["netns", "exec", &place.namespace(), "ping"]);
            succeeds(ping.args(["-c", "1", "-W", "2", "-q", pair.address]))
        })
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

    /// Waits until its traffic is on its VF, by its own word.
    pub(crate) fn wait_for_vf(self, place: &Place, host: Host) -> Result<()> {
        wait_for("the guest's traffic on its VF", PATIENCE, || {
            Ok(self.state(place, host)?.is_on_vf().then_some(()))
        })
    }

    fn boot(self, place: &Place, host: Host) -> Result<()> {
        say(format!("starting {self} on {host}"));
        // A domain that is already stored, as after a pulled plug, keeps what Godwit wrote into it.
        if domain_state(place, host, self.name)?.is_empty() {
            let template = |name: &str| std::fs::read_to_string(place.assets().join("guest").join(name));
            let xml = self.fill_in(&template("web.xml")?, &template(self.standby)?);
            ssh::run_with(place, host, "virsh -q define /dev/stdin", xml.as_bytes())?;
        }
        ssh::run(place, host, &format!("virsh -q start {self}"))
    }

    fn fill_in(self, template: &str, standby: &str) -> String {
        let standbys = self.pairs().enumerate().map(|(index, pair)| {
            let index = index.to_string();
            standby
                .replace("@MAC@", pair.mac)
                .replace("@INDEX@", &index)
                .replace(
                    "@TEAMING@",
                    if self.teaming {
                        "<teaming type='persistent'/>"
                    } else {
                        ""
                    },
                )
        });
        let mut more = self.second.map_or(String::new(), |pair| {
            format!(
                " rig.second={},{}/24,{}",
                pair.mac,
                pair.address,
                network::CLIENT_OF_SECOND
            )
        });
        if self.teaming {
            more.push_str(" rig.teaming=1");
        }
        if self.vf_mac.is_some() {
            more.push_str(" rig.fail_over_mac=active");
        }
        template
            .replace("@NAME@", self.name)
            .replace("@UUID@", self.uuid)
            .replace("@MACHINE@", self.machine)
            .replace("@STANDBYS@", standbys.collect::<String>().trim_end())
            .replace("@ADDRESS@", self.address)
            .replace("@GATEWAY@", network::CLIENT)
            .replace("@MORE@", &more)
            .replace("@PORT@", &self.port.to_string())
    }

    fn has_vf(self, place: &Place, host: Host) -> Result<bool> {
        let xml = xml(place, host, self.name, false)?;
        Ok(xml.contains("<hostdev ") || xml.contains("<interface type='hostdev'"))
    }

    /// Plugs an unused VF for each pair into the running guest; the stored one stays without.
    pub(crate) fn plug(self, place: &Place, host: Host) -> Result<()> {
        self.vf_macs()
            .enumerate()
            .try_for_each(|(index, mac)| self.plug_vf(place, host, (index, mac)))
    }

    /// Plugs an unused VF that has nothing to do with its pairs, in the place of its first one.
    pub(crate) fn plug_unrelated(self, place: &Place, host: Host) -> Result<()> {
        self.plug_vf(place, host, (0, UNRELATED))
    }

    fn plug_vf(self, place: &Place, host: Host, (index, mac): (usize, &str)) -> Result<()> {
        let address = ssh::output(place, host, &format!("rig-vf take {mac}"))?;
        let xml = match self.teaming {
            true => teaming_xml(place, address.trim(), mac)?,
            false => vf_xml(place, address.trim(), index)?,
        };
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
        found.ok_or_else(|| {
            let names = Guest::ALL.map(|guest| guest.name).join(", ");
            format!("{text:?} is no guest; they are {names}")
        })
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

/// Switches off every guest but the first, wherever it is.
pub fn stop_others(place: &Place) -> Result<()> {
    for host in Host::ALL {
        let there = ssh::output(place, host, "virsh -q list --all --name")?;
        for guest in Guest::ALL.into_iter().filter(|guest| *guest != WEB_1) {
            if there.lines().any(|name| name.trim() == guest.name) {
                guest.stop(place)?;
            }
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

/// A domain's XML as it runs, or as it is stored.
pub fn xml(place: &Place, host: Host, name: &str, stored: bool) -> Result<String> {
    let option = if stored { "--inactive" } else { "" };
    ssh::output(place, host, &format!("virsh -q dumpxml {option} {name}"))
}

/// The device that gives a domain the VF at a PCI address, for its pair of that number.
pub fn vf_xml(place: &Place, address: &str, index: usize) -> Result<String> {
    Ok(vf_template(place, "vf.xml", address)?.replace("@INDEX@", &index.to_string()))
}

/// The same for a guest whose NICs are teamed: libvirt sets it up.
fn teaming_xml(place: &Place, address: &str, mac: &str) -> Result<String> {
    Ok(vf_template(place, "teaming.xml", address)?.replace("@MAC@", mac))
}

fn vf_template(place: &Place, name: &str, address: &str) -> Result<String> {
    let [domain, bus, slot, function] = vf::parts(address)?;
    let template = std::fs::read_to_string(place.assets().join("guest").join(name))?;
    Ok(template
        .replace("@DOMAIN@", domain)
        .replace("@BUS@", bus)
        .replace("@SLOT@", slot)
        .replace("@FUNCTION@", function))
}

#[cfg(test)]
mod tests {
    use super::{MACS_1, NATIVE_1, PAIRS_1, TEAM_1, WEB_1};

    const TEMPLATE: &str = include_str!("../rig/guest/web.xml");
    const STANDBY: &str = include_str!("../rig/guest/standby.xml");

    #[test]
    fn a_guest_has_a_standby_for_each_pair() {
        let web = WEB_1.fill_in(TEMPLATE, STANDBY);
        assert!(!web.contains('@') && !web.contains("rig.second"), "{web}");
        assert_eq!(web.matches("<interface ").count(), 1);
        let two = PAIRS_1.fill_in(TEMPLATE, STANDBY);
        assert!(!two.contains('@'), "{two}");
        assert!(two.contains(" rig.second=52:54:00:aa:00:31,10.77.1.102/24,10.77.1.1</cmdline>"));
        for (index, pair) in PAIRS_1.pairs().enumerate() {
            assert!(two.contains(&format!("<mac address='{}'/>", pair.mac)));
            assert!(two.contains(&format!("<alias name='ua-standby{index}'/>")));
        }
    }

    /// Standbys and the agent's channel take a port each, and so does each VF.
    #[test]
    fn there_is_a_port_for_each_device() {
        let ports = TEMPLATE.matches("model='pcie-root-port'").count();
        assert!(ports > 2 * PAIRS_1.pairs().count(), "{ports}");
    }

    #[test]
    fn one_guest_is_teamed() {
        let team = TEAM_1.fill_in(TEMPLATE, STANDBY);
        assert!(!team.contains('@'), "{team}");
        assert!(team.contains("<teaming type='persistent'/>") && team.contains(" rig.teaming=1</cmdline>"));
        assert!(!WEB_1.fill_in(TEMPLATE, STANDBY).contains("teaming"));
    }

    #[test]
    fn one_guest_has_an_address_for_each_port() {
        let macs = MACS_1.fill_in(TEMPLATE, STANDBY);
        assert!(macs.contains(" rig.fail_over_mac=active</cmdline>"), "{macs}");
        assert!(!WEB_1.fill_in(TEMPLATE, STANDBY).contains("fail_over_mac"));
    }

    #[test]
    fn one_guest_has_an_old_board() {
        assert!(
            NATIVE_1
                .fill_in(TEMPLATE, STANDBY)
                .contains("machine='pc-q35-6.0'")
        );
    }
}
