//! Stories of VFs, PFs and disks that fail.

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Migration};
use godwit_rig::guest::WEB_1;
use godwit_rig::vf::NUMVFS;
use godwit_rig::{Host, ready, ssh};

use crate::stage::{PATIENCE, Stage, refused};

/// All VFs are taken from the PF while the guest has one: the kernel waits until the guest has let go of it. When there
/// are some again the guest gets one, and nobody asks.
pub(crate) fn vfs_taken_from_the_pf(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    let had = stage.on(host, &format!("cat {NUMVFS}"))?;
    let waits = taken_from_the_pf(stage, host);
    // Also for the next stories.
    stage.on(host, &format!("echo {} >{NUMVFS}", had.trim()))?;
    let migration = stage.migration(host, &waits?.id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    stage.guest_is_accelerated_on(host)
}

/// After a boot a PF has no VFs. The daemon makes them, also of a PF that the configuration names by its address; and changes
/// nothing while a guest has one.
pub(crate) fn vfs_made_at_the_start(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    let had = stage.on(host, &format!("cat {NUMVFS}"))?;
    let had: u32 = had.trim().parse()?;
    stage.configure(host, &format!("vfs = {}\n", had + 1))?;
    stage.guest_is_accelerated_on(host)?;
    stage.on(host, "tail -n 50 /var/log/godwitd.log | grep 'pf0 should have'")?;
    let now = stage.on(host, &format!("cat {NUMVFS}"))?;
    ensure!(now.trim() == had.to_string(), "the guest's PF has {now} VFs now");
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    let anew = format!(
        "rig-service stop godwitd && echo 0 >{NUMVFS} && pf=$(basename $(readlink /sys/class/net/pf0/device)) && \
         sed -i -e \"s/^pfs = .*pf0.*/pfs = [\\\"$pf\\\"]/\" -e 's/^vfs = .*/vfs = {had}/' /etc/godwit/godwitd.toml && \
         rig-service start godwitd && cat {NUMVFS}"
    );
    let made = stage.on(host, &anew)?;
    ensure!(
        made.trim() == had.to_string(),
        "pf0 has {made} VFs, and should have {had}"
    );
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()?;
    stage.guest_is_accelerated_on(host)
}

/// What the host says of its guest then.
fn taken_from_the_pf(stage: &Stage, host: Host) -> Result<Migration> {
    let mut taking = ssh::command(&stage.place, host, &format!("echo 0 >{NUMVFS}")).spawn()?;
    let taken = wait_for("the end of the VFs", PATIENCE, || Ok(taking.try_wait()?))?;
    ensure!(taken.success(), "the kernel refuses to take the VFs");
    wait_for("the guest on its standby", PATIENCE, || {
        Ok(WEB_1.state(&stage.place, host)?.is_on_standby().then_some(()))
    })?;
    let waits = wait_for("what alpha says of it", PATIENCE, || {
        let all = godwit::migrations(&stage.place, host)?.into_iter();
        Ok(all
            .filter(|migration| migration.guest == WEB_1.name)
            .find(|migration| !migration.ended && migration.settled))
    })?;
    ensure!(waits.reason() == Some("NO_POOL"), "{waits:?}");
    stage.guest_is_on_standby_on(host)?;
    Ok(waits)
}

/// The PF of a guest that is on its VF is switched off and on again. The bond itself takes the standby; its host puts the
/// guest back on its VF.
pub(crate) fn pf_off_and_on(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    stage.on(host, "ip link set pf0 down")?;
    let lowered = wait_for("the guest on its standby", PATIENCE, || {
        Ok(WEB_1.state(&stage.place, host)?.is_on_standby().then_some(()))
    })
    .and_then(|()| stage.guest_is_on_standby_on(host));
    stage.on(host, "ip link set pf0 up")?;
    lowered?;
    stage.guest_is_accelerated_on(host)
}

/// The destination's PF is switched off while memory is copied. The guest arrives on its standby, says why, and is on its VF
/// when the PF is up again.
pub(crate) fn pf_down_on_arrival(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    stage.on(Host::Beta, "ip link set pf0 down")?;
    stage.transfer_ends()?;
    let finished = moving.finish(PATIENCE).and_then(|(code, said)| {
        ensure!(code == 3, "exit code {code} instead of 3: {said}");
        stage.guest_is_on_standby_on(Host::Beta)?;
        stage.migration(Host::Beta, &id, |migration| migration.failure.is_some())
    });
    stage.on(Host::Beta, "ip link set pf0 up")?;
    let migration = finished?;
    ensure!(
        migration.acceleration == "standby"
            && !migration.needs_person
            && migration.reason() == Some("PF_DOWN"),
        "{migration:?}"
    );
    let migration = stage.migration(Host::Beta, &id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The PF of the guest's own host is switched off while the guest is away from its VF, and the move is cancelled: on the way back the
/// guest waits on its standby, says why, and is on its VF when the PF is up again.
pub(crate) fn pf_down_on_the_way_back(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    stage.on(host, "ip link set pf0 down")?;
    let rests = stage
        .godwit(&format!("cancel {id}"))
        .and_then(|answer| answer.done())
        .and_then(|()| moving.finish(PATIENCE))
        .and_then(|(code, said)| {
            ensure!(code == 4, "exit code {code} instead of 4: {said}");
            stage.guest_is_on_standby_on(host)?;
            stage.migration(host, &id, |migration| migration.reason() == Some("PF_DOWN"))
        });
    stage.on(host, "ip link set pf0 up")?;
    let rests = rests?;
    ensure!(
        rests.moved == "no" && rests.acceleration == "standby" && !rests.needs_person,
        "{rests:?}"
    );
    let migration = stage.migration(host, &id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    stage.guest_is_accelerated_on(host)
}

/// All VFs of the destination's PF go while memory is copied, the one that was held too. The guest arrives on its standby, and is on
/// a VF when there are some again.
pub(crate) fn vfs_gone_on_arrival(stage: &Stage) -> Result<()> {
    let host = Host::Beta;
    let had = stage.on(host, &format!("cat {NUMVFS}"))?;
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    stage.on(host, &format!("echo 0 >{NUMVFS}"))?;
    stage.transfer_ends()?;
    let finished = moving.finish(PATIENCE).and_then(|(code, said)| {
        ensure!(code == 3, "exit code {code} instead of 3: {said}");
        stage.guest_is_on_standby_on(host)?;
        stage.migration(host, &id, |migration| migration.failure.is_some())
    });
    // Also for the next stories.
    stage.on(host, &format!("echo {} >{NUMVFS}", had.trim()))?;
    let migration = finished?;
    ensure!(
        migration.moved == "yes" && migration.acceleration == "standby" && !migration.needs_person,
        "{migration:?}"
    );
    let migration = stage.migration(host, &id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    stage.guest_is_accelerated_on(host)
}

/// QEMU cannot open the VF that was held for the guest: it is quarantined, and the guest gets the other one.
pub(crate) fn vf_that_cannot_be_opened(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    let held = held(stage, Host::Beta)?;
    // What vfio calls the VF goes away under QEMU; the VF has to be vfio's for that.
    let hide = format!(
        "vf=/sys/bus/pci/devices/{held}; echo vfio-pci >$vf/driver_override; \
         [ -e $vf/driver ] || echo {held} >/sys/bus/pci/drivers_probe; \
         group=/dev/vfio/$(basename $(readlink $vf/iommu_group)) && mv $group $group.away && echo $group"
    );
    let group = stage.on(Host::Beta, &hide)?;
    stage.transfer_ends()?;
    let told = moving.finish(PATIENCE).and_then(|(code, said)| {
        ensure!(code == 0 || code == 3, "exit code {code}: {said}");
        stage.migration(Host::Beta, &id, |migration| migration.ended)
    });
    let group = group.trim();
    stage.on(Host::Beta, &format!("mv {group}.away {group}"))?;
    let migration = told?;
    ensure!(
        migration.acceleration == "accelerated" && migration.failures("plug") >= 1,
        "{migration:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)?;
    let vfs = godwit::run(&stage.place, Host::Beta, "vfs")?.out;
    let line = vfs.lines().find(|line| line.contains(&held));
    ensure!(
        line.is_some_and(|line| line.contains("quarantined")),
        "{held} is not in quarantine:\n{vfs}"
    );
    // It stays so until somebody says that it is mended.
    let released = godwit::run(&stage.place, Host::Beta, &format!("vfs release {held}"))?;
    released.done()?;
    ensure!(released.out.contains("free"), "{}", released.out);
    Ok(())
}

/// As when libvirtd ends inside a plug: QEMU has the VF, and the domain has not. Nothing is begun with such a guest, and
/// what is told helps.
pub(crate) fn vf_that_only_the_emulator_has(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    let xml = stage.live_xml()?;
    let [vf, bus] = vf_in(&xml).context("the guest has no VF")?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    let plug = format!(
        "prlimit --memlock=unlimited --pid $(cat /run/libvirt/qemu/{WEB_1}.pid) && \
         virsh -q qemu-monitor-command {WEB_1} --hmp 'device_add vfio-pci,host={vf},id=ua-primary0,bus={bus}'"
    );
    let said = stage.on(host, &plug)?;
    ensure!(said.trim().is_empty(), "QEMU does not take {vf}: {said}");
    let about = format!("{vf} is in the emulator");
    let answer = stage.godwit(&format!("accelerate {WEB_1} --wait"))?;
    refused(&answer, &about)?;
    refused(&stage.godwit(&format!("migrate {WEB_1} beta --wait"))?, &about)?;
    stage.guest_is_on_standby_on(host)?;
    let hint = answer.err.lines().find_map(|line| line.strip_prefix("Hint: "));
    stage.on(host, hint.context("no hint")?)?;
    wait_for("that the guest may have a VF", PATIENCE, || {
        let answer = stage.godwit(&format!("accelerate {WEB_1} --wait"))?;
        Ok((answer.code == 0).then_some(()))
    })?;
    stage.guest_is_accelerated_on(host)
}

/// The guest's VF, by its address on the host and QEMU's name of the bus that it is on.
pub(crate) fn vf_in(xml: &str) -> Option<[String; 2]> {
    let (_, hostdev) = xml.split_once("<hostdev ")?;
    let number = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}='0x"))?;
        u32::from_str_radix(rest.split_once('\'')?.0, 16).ok()
    };
    let mut places = hostdev.lines().filter(|line| line.contains("<address "));
    let (there, here) = (places.next()?, places.next()?);
    let [domain, bus, slot, function] = ["domain", "bus", "slot", "function"].map(|name| number(there, name));
    let vf = format!("{:04x}:{:02x}:{:02x}.{}", domain?, bus?, slot?, function?);
    Some([vf, format!("pci.{}", number(here, "bus")?)])
}

/// The disk under alpha's journal is full to the last byte while memory is copied: what is under way is written to its
/// end, and a new move is refused until there is room.
pub(crate) fn full_disk(stage: &Stage) -> Result<()> {
    let disk = SmallDisk::under_the_journal(stage)?;
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    disk.fill()?;
    stage.transfer_ends()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    stage.guest_is_accelerated_on(Host::Beta)?;
    stage.migration(Host::Alpha, &id, |migration| {
        migration.ended && migration.moved == "yes"
    })?;
    stage.on(Host::Alpha, "grep 'the disk is full' /var/log/godwitd.log")?;
    // The way back needs a journal on alpha.
    disk.fill()?;
    let back = godwit::run(&stage.place, Host::Beta, &format!("migrate {WEB_1} alpha --wait"))?;
    refused(&back, "on alpha: journal")?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    disk.empty()?;
    // The refused way back owes alpha a word that alpha could not write down.
    wait_for("the end of the refused move", PATIENCE, || {
        Ok(ready::nothing_is_open(&stage.place)?.then_some(()))
    })?;
    ready::move_to(&stage.place, Host::Alpha)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// A file system of 32 MiB for alpha's journal, until it is dropped.
struct SmallDisk<'a> {
    stage: &'a Stage,
}

impl<'a> SmallDisk<'a> {
    fn under_the_journal(stage: &'a Stage) -> Result<SmallDisk<'a>> {
        stage.daemon(Host::Alpha, "stop")?;
        let line = "mount -t tmpfs -o size=32m small /var/lib/godwit";
        stage.on(Host::Alpha, line)?;
        let disk = SmallDisk { stage };
        stage.daemon(Host::Alpha, "start")?;
        Ok(disk)
    }

    fn fill(&self) -> Result<()> {
        let line = "! dd if=/dev/zero of=/var/lib/godwit/filler bs=4096 2>/dev/null";
        self.stage.on(Host::Alpha, line).map(drop)
    }

    fn empty(&self) -> Result<()> {
        self.stage.on(Host::Alpha, "rm /var/lib/godwit/filler").map(drop)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let line = "rig-service stop godwitd; umount /var/lib/godwit; rig-service start godwitd";
        if let Err(error) = self.stage.on(Host::Alpha, line) {
            godwit_rig::say(format!("alpha's journal is not back on its disk: {error:#}"));
        }
    }
}

/// The VF that a host has set aside for the guest.
fn held(stage: &Stage, host: Host) -> Result<String> {
    let text = godwit::run(&stage.place, host, "--json holds")?.out;
    let holds: serde_json::Value = serde_json::from_str(&text)?;
    let vf = holds["holds"][0]["vf"].as_str();
    vf.map(Into::into)
        .with_context(|| format!("{host} holds nothing: {text}"))
}
