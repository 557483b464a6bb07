//! Stories of other pairs than `web-1`'s: two in one guest, and one whose ports have an address each. A host has two VFs, so `web-1` does without its own meanwhile.

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Move};
use godwit_rig::guest::{MACS_1, PAIRS_1, WEB_1};
use godwit_rig::state::Nic;
use godwit_rig::{Host, invariants, ready};

use crate::stage::{PATIENCE, Stage};

pub(crate) fn there_and_back(stage: &Stage) -> Result<()> {
    begin(stage)?;
    for host in [Host::Beta, Host::Alpha] {
        let id = ready::move_guest(&stage.place, PAIRS_1, host)?;
        both_on_their_vfs(stage, host)?;
        invariants::hold(&stage.place)?;
        let told = godwit::status(&stage.place, host, &id)?;
        ensure!(told.acceleration == "accelerated", "{told:?}");
    }
    end(stage)
}

/// At the destination somebody has one of the two VFs open by then, so QEMU could not have it. The other one is plugged,
/// and its pair uses it meanwhile.
pub(crate) fn one_of_two_does_not_plug(stage: &Stage) -> Result<()> {
    begin(stage)?;
    stage.on(Host::Alpha, &format!("virsh -q migrate-setspeed {PAIRS_1} 8"))?;
    let mut moving = Move::begin(&stage.place, Host::Alpha, PAIRS_1.name, Host::Beta.name())?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    let occupied = Occupied::take(stage, Host::Beta)?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 3, "exit code {code} instead of 3: {said}");
    let waits = stage.migration(Host::Beta, &moving.last.id, |migration| migration.settled)?;
    ensure!(
        waits.acceleration == "standby" && !waits.ended && !waits.needs_person,
        "{waits:?}"
    );
    ensure!(waits.reason() == Some("STRAY_VF"), "{waits:?}");
    // By the guest's own word: one bond is on a VF, the other on its standby.
    wait_for("the other pair on its VF", PATIENCE, || {
        let state = PAIRS_1.state(&stage.place, Host::Beta)?;
        let is_active = |nic: &&Nic| state.bonds.iter().any(|bond| bond.active == nic.name);
        let active: Vec<&Nic> = state.nics.iter().filter(is_active).collect();
        let on_standby = active.iter().filter(|nic| nic.is_standby()).count();
        Ok((active.len() == 2 && on_standby == 1).then_some(()))
    })?;
    ensure!(PAIRS_1.answers(&stage.place), "{PAIRS_1} does not answer");
    drop(occupied);
    let ended = stage.migration(Host::Beta, &moving.last.id, |migration| migration.ended)?;
    ensure!(ended.acceleration == "accelerated", "{ended:?}");
    both_on_their_vfs(stage, Host::Beta)?;
    invariants::hold(&stage.place)?;
    end(stage)
}

/// The VF's address is not the standby's, so the bond has that of the port in use. Only the agent knows that the two are a pair.
pub(crate) fn two_macs(stage: &Stage) -> Result<()> {
    stage.starts(MACS_1)?;
    for host in [Host::Beta, Host::Alpha] {
        ready::move_guest(&stage.place, MACS_1, host)?;
        stage.is_accelerated_on(MACS_1, host)?;
        invariants::has_all_vfs(&stage.place, MACS_1, host)?;
        let answer = MACS_1.shell(&stage.place, host, "cat /sys/class/net/bond0/address")?;
        ensure!(
            Some(answer.text.trim()) == MACS_1.vf_mac,
            "the bond has {}",
            answer.text.trim()
        );
        invariants::hold(&stage.place)?;
    }
    MACS_1.stop(&stage.place)
}

/// The guest of two pairs is on alpha, adopted, with its traffic on both its VFs.
fn begin(stage: &Stage) -> Result<()> {
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    stage.guest_is_on_standby_on(Host::Alpha)?;
    stage.starts(PAIRS_1)?;
    both_on_their_vfs(stage, Host::Alpha)
}

/// It goes, and the other guest has its VF again.
fn end(stage: &Stage) -> Result<()> {
    PAIRS_1.stop(&stage.place)?;
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// By the guest's word and by the PF's: each bond has a VF of its own, made for its address.
fn both_on_their_vfs(stage: &Stage, host: Host) -> Result<()> {
    stage.is_accelerated_on(PAIRS_1, host)?;
    invariants::has_all_vfs(&stage.place, PAIRS_1, host)?;
    for (index, pair) in PAIRS_1.pairs().enumerate() {
        let line = format!("sed -n 's/^Permanent HW addr: //p' /proc/net/bonding/bond{index}");
        let answer = PAIRS_1.shell(&stage.place, host, &line)?;
        let ports: Vec<&str> = answer.text.split_whitespace().collect();
        ensure!(
            ports == [pair.mac; 2],
            "bond{index} is not made of its own ports: {ports:?}"
        );
    }
    Ok(())
}

/// A VF that a process on a host has open. It is closed when this is dropped.
struct Occupied<'a> {
    stage: &'a Stage,
    host: Host,
    process: String,
}

impl<'a> Occupied<'a> {
    /// The last VF of the PF, which no guest has.
    fn take(stage: &'a Stage, host: Host) -> Result<Occupied<'a>> {
        let process = stage.on(host, OPEN)?.trim().to_owned();
        Ok(Occupied { stage, host, process })
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stage.on(self.host, &format!("kill {}", self.process)) {
            godwit_rig::say(format!("a VF of {} stays open: {error:#}", self.host));
        }
    }
}

/// Prints the process, which would end by itself.
const OPEN: &str = r#"
vf=$(readlink -f $(ls -d /sys/class/net/pf0/device/virtfn* | tail -n 1))
[ ! -e $vf/driver ] || [ "$(basename $(readlink $vf/driver))" = vfio-pci ] || echo ${vf##*/} >$vf/driver/unbind
echo vfio-pci >$vf/driver_override && { [ -e $vf/driver ] || echo ${vf##*/} >/sys/bus/pci/drivers_probe; }
group=/dev/vfio/$(basename $(readlink $vf/iommu_group))
for n in $(seq 50); do [ ! -c $group ] || break; sleep 0.1; done
[ -c $group ] || exit 1
sleep 600 3<>$group >/dev/null 2>&1 </dev/null &
echo $!
"#;
