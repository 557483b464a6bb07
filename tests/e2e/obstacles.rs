//! Stories of what a real host has in a guest's way: a plan names it while it is so, and a move does not begin.

use anyhow::{Context, Result, ensure};
use godwit_rig::guest::WEB_1;
use godwit_rig::small::{Device, Small};
use godwit_rig::{Host, say};

use crate::options::{findings, plan};
use crate::stage::{Stage, refused};

/// A change of a host that is taken back when this is dropped, whatever came of it.
struct Changed<'a> {
    stage: &'a Stage,
    host: Host,
    back: &'static str,
}

impl<'a> Changed<'a> {
    /// `back` also takes back what was changed in part.
    fn new(stage: &'a Stage, host: Host, change: &str, back: &'static str) -> Result<Changed<'a>> {
        let changed = Changed { stage, host, back };
        stage.on(host, change)?;
        Ok(changed)
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stage.on(self.host, self.back) {
            say(format!(
                "not taken back on {}: {}: {error:#}",
                self.host, self.back
            ));
        }
    }
}

/// What answers from a port of QEMU's is dropped on its way out, as a firewall does: rules of routing, because the hosts of the rig have
/// no nft.
const FIREWALL: [&str; 2] = [
    "ip rule add pref 1 ipproto tcp sport 49152-49215 blackhole",
    "ip rule del pref 1 ipproto tcp sport 49152-49215 blackhole 2>/dev/null; true",
];

/// A warning, because it may be another's word that counts: the firewall may let in who is not the daemon.
pub(crate) fn firewall(stage: &Stage) -> Result<()> {
    let open = found(stage, WEB_1.name, "MIGRATION_PORT")?;
    ensure!(open.is_none(), "there is no firewall yet: {open:?}");
    let [up, down] = FIREWALL;
    let firewall = Changed::new(stage, Host::Beta, up, down)?;
    let closed = found(stage, WEB_1.name, "MIGRATION_PORT")?.context("the firewall is not told")?;
    ensure!(
        closed["severity"] == "warning" && closed["about"] == "beta",
        "{closed}"
    );
    let what = closed["what"].as_str().unwrap_or_default();
    ensure!(what.contains("no answer within 2 s"), "{what}");
    drop(firewall);
    let open = found(stage, WEB_1.name, "MIGRATION_PORT")?;
    ensure!(open.is_none(), "there is no firewall any more: {open:?}");
    Ok(())
}

const NO_BRIDGE: [&str; 2] = [
    "ip link set br0 down && ip link set br0 name br0-away && ip link set br0-away up",
    "ip link set br0-away down 2>/dev/null; ip link set br0-away name br0 2>/dev/null; ip link set br0 up",
];

/// The bridge of the guest's standby has another name at the destination: its plan says so, and it does not set out; nor, told to in spite of
/// it, does libvirt there take it, and it is back on its VF.
pub(crate) fn no_bridge(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    let [away, back] = NO_BRIDGE;
    let bridge = Changed::new(stage, Host::Beta, away, back)?;
    let missing = found(stage, WEB_1.name, "NETWORK_MISSING")?.context("the bridge is not missed")?;
    ensure!(
        missing["severity"] == "error" && missing["about"] == "beta",
        "{missing}"
    );
    refused(&stage.godwit(&format!("migrate {WEB_1} beta --wait"))?, "br0")?;
    stage.nothing_changed(&before)?;
    let in_spite = format!("migrate {WEB_1} beta --wait --ignore NETWORK_MISSING");
    let answer = stage.godwit(&in_spite)?;
    ensure!(
        answer.code == 4,
        "exit code {} instead of 4: {}",
        answer.code,
        answer.err
    );
    stage.guest_is_accelerated_on(Host::Alpha)?;
    drop(bridge);
    let there = found(stage, WEB_1.name, "NETWORK_MISSING")?;
    ensure!(there.is_none(), "the bridge is back: {there:?}");
    Ok(())
}

const NR: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// As many huge pages as the small guest's memory takes; libvirtd looks for their file system when it starts.
const HUGE_PAGES: [&str; 2] = [
    "mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages && \
     echo 1 >/proc/sys/vm/compact_memory && \
     echo 32 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages && rig-service restart libvirtd",
    "echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages; rig-service stop libvirtd; \
     umount /dev/hugepages; rig-service start libvirtd",
];

const NO_PAGES: &str = "echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// A guest whose memory is in huge pages, and a destination that has none until it is given as many as the plan says. That the guest
/// could not move for other reasons hides nothing.
pub(crate) fn no_huge_pages(stage: &Stage) -> Result<()> {
    let [give, take] = HUGE_PAGES;
    let _pages = Changed::new(stage, Host::Alpha, give, take)?;
    has_pages(stage, Host::Alpha)?;
    let devices = [Device::Standby, Device::Channel];
    let small = Small::define(&stage.place, Host::Alpha, "huge-pages", &devices)?;
    let name = small.name;
    let huge = format!(
        "virsh -q dumpxml --inactive {name} | sed \"s#<currentMemory#<memoryBacking><hugepages><page size='2048' \
         unit='KiB'/></hugepages></memoryBacking><currentMemory#\" | virsh -q define /dev/stdin && \
         virsh -q start {name} && virsh -q dumpxml {name} | grep -q '<hugepages>'"
    );
    stage.on(Host::Alpha, &huge)?;
    let short = found(stage, name, "HUGE_PAGES_SHORT")?.context("that they are missing is not told")?;
    ensure!(
        short["severity"] == "error" && short["about"] == "beta",
        "{short}"
    );
    let fix = short["fix"].as_str().unwrap_or_default();
    let line = fix.strip_prefix("on beta: ").context("no line to type")?;
    let _given = Changed::new(stage, Host::Beta, line, NO_PAGES)?;
    has_pages(stage, Host::Beta)?;
    let enough = found(stage, name, "HUGE_PAGES_SHORT")?;
    ensure!(enough.is_none(), "they are there: {enough:?}");
    Ok(())
}

/// The kernel gives as many as it finds.
fn has_pages(stage: &Stage, host: Host) -> Result<()> {
    let has = stage.on(host, &format!("cat {NR}"))?;
    ensure!(
        has.trim() == "32",
        "{host} has no room for 32 huge pages: {}",
        has.trim()
    );
    Ok(())
}

/// What a plan says of a guest's move to beta with that reason.
fn found(stage: &Stage, guest: &str, reason: &str) -> Result<Option<serde_json::Value>> {
    let (_, plan) = plan(stage, &format!("{guest} beta"))?;
    let mut all = findings(&plan);
    Ok(all.find(|found| found["reason"] == reason).cloned())
}
