//! The flat arm: the guest alone, in a QEMU of this machine instead of on a host. Nothing is nested, so it boots in
//! seconds and takes a thousand packets a second; what stands for the VF is a whole NIC that QEMU plugs and unplugs.
//!
//! ```text
//!  a network namespace of its own on this machine
//!    br-data 10.77.0.1, the client
//!      | flat-primary           | flat-standby
//!      igb (hot-plugged) ---bond0--- virtio-net      the guest, 10.77.0.100
//! ```
//!
//! For agent and bond. Nothing of hosts can be seen here: no VF, no embedded switch, no libvirt, no transfer.

mod qmp;

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use self::qmp::Qmp;
use crate::command::wait_for;
use crate::guest::WEB_1;
use crate::images::{self, Images};
use crate::line::{self, Answer};
use crate::state::State;
use crate::{Place, build, command, host, install, network, qemu, say};

const PRIMARY_TAP: &str = "flat-primary";
const STANDBY_TAP: &str = "flat-standby";
/// QEMU's name of the NIC that stands for the VF.
const PRIMARY: &str = "primary0";
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=1 tsc=reliable random.trust_cpu=on \
    mitigations=off rig.name=web-1 rig.gateway=10.77.0.1 rig.primary=igb";
const PATIENCE: Duration = Duration::from_secs(120);

/// The guest's machine. It ends when this is dropped.
#[derive(Debug)]
pub struct Flat {
    /// Its directory and network: the rig's own are not touched.
    pub place: Place,
    /// The prober beside it.
    pub probe: PathBuf,
    machine: Child,
    qmp: Qmp,
    /// Two of it would share a network.
    _lock: File,
}

impl Flat {
    /// Boots the guest with this checkout's agent and prober, from the rig's images, with its traffic on the primary.
    pub fn up(rig: &Place) -> Result<Flat> {
        let (probe, agent) = (
            build::build_static(rig, "godwit-probe")?,
            build::build_static(rig, "godwit-agent")?,
        );
        let images = {
            let _lock = rig.lock()?;
            images::build(rig)?
        };
        let place = Place {
            checkout: rig.checkout.clone(),
            dir: rig.dir.join("flat"),
        };
        let lock = place.lock()?;
        place.make_run()?;
        end_former(&place)?;
        network::up_flat(&place, [PRIMARY_TAP, STANDBY_TAP])?;
        let tree = place.dir.join("install");
        install::start_again(&tree)?;
        install::guest_initramfs(&tree, &images, &[&probe, &agent])?;
        say("starting the flat guest");
        let machine = machine(&place, &images, &tree.join("srv/guest/guest.cpio"))?;
        let qmp = wait_for("QEMU's monitor", PATIENCE, || {
            Qmp::open(&place.run().join("qmp")).map(Some)
        })?;
        let flat = Flat {
            place,
            probe,
            machine,
            qmp,
            _lock: lock,
        };
        wait_for("the guest's boot", PATIENCE, || {
            flat.ask("state", Duration::from_secs(2)).map(Some)
        })?;
        flat.prefer_primary()?;
        wait_for("an answer of the guest", PATIENCE, || {
            Ok(WEB_1.answers(&flat.place).then_some(()))
        })?;
        Ok(flat)
    }

    /// The host's end of the agent's channel. It has one client at a time.
    pub fn channel(&self) -> PathBuf {
        self.place.run().join("agent")
    }

    /// Runs a shell command in the guest, whatever its network does.
    pub fn shell(&self, command: &str) -> Result<Answer> {
        let answer = self.ask(&format!("sh {command}"), PATIENCE)?;
        ensure!(answer.status == 0, "{command}: {}", answer.text.trim_end());
        Ok(answer)
    }

    /// What the guest says of itself.
    pub fn state(&self) -> Result<State> {
        Ok(State::read(&self.ask("state", Duration::from_secs(15))?.text))
    }

    /// Puts the traffic on the primary by the rig's own hand, without the agent.
    pub fn prefer_primary(&self) -> Result<()> {
        wait_for("the primary in the guest", PATIENCE, || {
            Ok(self.state()?.vf().map(drop))
        })?;
        self.ask("prefer-vf", PATIENCE)?;
        wait_for("the guest's traffic on its primary", PATIENCE, || {
            Ok(self.state()?.is_on_vf().then_some(()))
        })
    }

    /// What the standby sends gets nowhere, or everywhere again. The guest's kernel sees no difference.
    pub fn standby_carries(&self, carries: bool) -> Result<()> {
        network::cable(&self.place, STANDBY_TAP, carries)
    }

    /// The same of the primary.
    pub fn primary_carries(&self, carries: bool) -> Result<()> {
        network::cable(&self.place, PRIMARY_TAP, carries)
    }

    /// Whether QEMU has the primary plugged.
    pub fn is_plugged(&mut self) -> Result<bool> {
        let found = self
            .qmp
            .run("qom-list", &json!({"path": "/machine/peripheral"}))?;
        let names = found.as_array().context("no list of devices")?;
        Ok(names.iter().any(|device| device["name"] == PRIMARY))
    }

    /// Plugs the primary; the guest finds it a little later.
    pub fn plug(&mut self) -> Result<()> {
        let device = json!({"driver": "igb", "id": PRIMARY, "bus": "port0", "netdev": "primary",
            "mac": WEB_1.mac, "romfile": ""});
        self.qmp.run("device_add", &device).map(drop)
    }

    /// Unplugs the primary and returns when the guest has let it go.
    pub fn unplug(&mut self) -> Result<()> {
        self.qmp.run("device_del", &json!({"id": PRIMARY}))?;
        self.qmp
            .event("DEVICE_DELETED", PATIENCE, |data| data["device"] == PRIMARY)
    }

    /// QEMU asks the guest's NICs to tell the network where they are, as after a move.
    pub fn announce(&mut self) -> Result<()> {
        let rounds = json!({"initial": 50, "max": 550, "rounds": 5, "step": 100});
        self.qmp.run("announce-self", &rounds).map(drop)
    }

    /// The client outside, which is the guest's gateway, answers ARP, or nobody's.
    pub fn gateway_answers(&self, answers: bool) -> Result<()> {
        network::answer_arp(&self.place, answers)
    }

    /// The client outside has that address for the guest, and does not check it.
    pub fn client_believes(&self, address: &str, mac: &str) -> Result<()> {
        network::set_neighbour(&self.place, address, mac)
    }

    /// The address that the client outside has for the guest.
    pub fn client_knows(&self, address: &str) -> Result<String> {
        network::neighbour(&self.place, address)
    }

    fn ask(&self, request: &str, limit: Duration) -> Result<Answer> {
        let stream = UnixStream::connect(self.place.run().join("line")).context("the guest's line")?;
        stream.set_read_timeout(Some(limit))?;
        line::talk(stream, request).context("the guest's line")
    }
}

impl Drop for Flat {
    fn drop(&mut self) {
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        if let Err(error) = network::down(&self.place) {
            say(format!("the flat guest's network is still there: {error:#}"));
        }
    }
}

/// One that a killed run left behind.
fn end_former(place: &Place) -> Result<()> {
    let file = pid_file(place);
    if let Some(pid) = host::process_of(&file) {
        kill_process(pid, Signal::KILL).context("cannot end the former flat guest")?;
        wait_for("the former flat guest's end", PATIENCE, || {
            Ok(host::process_of(&file).is_none().then_some(()))
        })?;
    }
    Ok(())
}

fn pid_file(place: &Place) -> PathBuf {
    place.run().join("flat.pid")
}

fn machine(place: &Place, images: &Images, initramfs: &Path) -> Result<Child> {
    let run = place.run();
    let mut qemu = command::command("ip", ["netns", "exec", &place.namespace(), "env"]);
    qemu::loader(&mut qemu, images, "qemu-system-x86_64");
    qemu.args([
        "-name",
        "godwit-flat",
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=multi",
    ]);
    qemu.args(["-cpu", qemu::CPU, "-smp", "1", "-m", "256"]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-device",
        "virtio-rng-pci",
    ]);
    qemu.arg("-kernel")
        .arg(images.kernel())
        .arg("-initrd")
        .arg(initramfs);
    qemu.arg("-append")
        .arg(format!("{KERNEL_LINE} rig.address={}/24", WEB_1.address));
    qemu.arg("-pidfile").arg(pid_file(place));
    qemu.arg("-serial")
        .arg(format!("file:{}", run.join("console").display()));
    for (option, id) in [("-serial", "line"), ("-qmp", "qmp")] {
        qemu.arg(option)
            .arg(format!("unix:{},server=on,wait=off", run.join(id).display()));
    }
    qemu.arg("-chardev").arg(format!(
        "socket,id=agent,path={},server=on,wait=off",
        run.join("agent").display()
    ));
    qemu.args(["-device", "virtio-serial-pci", "-device"]);
    qemu.arg("virtserialport,chardev=agent,name=org.godwit.agent.0");
    nics(&mut qemu);
    let log = File::create(run.join("qemu.log"))?;
    qemu.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot run ip")
}

/// Both ports, the primary where it can be unplugged.
fn nics(qemu: &mut Command) {
    qemu.args(["-device", "pcie-root-port,id=port0,slot=1,chassis=1"]);
    for (id, tap, device) in [
        ("standby", STANDBY_TAP, "virtio-net-pci".to_owned()),
        ("primary", PRIMARY_TAP, format!("igb,bus=port0,id={PRIMARY}")),
    ] {
        qemu.arg("-netdev")
            .arg(format!("tap,id={id},ifname={tap},script=no,downscript=no"));
        qemu.arg("-device")
            .arg(format!("{device},netdev={id},mac={},romfile=", WEB_1.mac));
    }
}
