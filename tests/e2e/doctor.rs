//! Stories of `godwit doctor`: what is well is not complained of, what is broken is named, and its own fix mends it.

use anyhow::{Context, Result, ensure};
use godwit_rig::Host;
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Examination, Finding};
use godwit_rig::guest::WEB_1;
use godwit_rig::vf::NUMVFS;

use crate::hardware;
use crate::stage::{PATIENCE, Stage, refused};

/// The emulated hosts' clocks drift apart when the machine is busy.
const TRUE_THERE: [&str; 1] = ["PEER_CLOCK"];

pub(crate) fn healthy(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    for host in Host::ALL {
        let (code, found) = examined(stage, host, "")?;
        is_well(host, code, &found)?;
        ensure!(found.not_checked.is_empty(), "{host}: {:?}", found.not_checked);
        // libvirt's connections are not encrypted on the rig, which is true and no more than a hint.
        let plain = found.finding("MIGRATE_URI", host.other().name());
        ensure!(
            plain.is_some_and(|plain| plain.severity == "hint"),
            "{host}: {:?}",
            found.findings
        );
    }
    let (code, found) = examined(stage, Host::Alpha, WEB_1.name)?;
    ensure!(
        code == 0 && found.findings.is_empty() && found.not_checked.is_empty(),
        "exit code {code}: {found:?}"
    );
    let text = stage.godwit("doctor")?;
    ensure!(
        text.err.is_empty() && text.out.contains("\nalpha: "),
        "{}{}",
        text.out,
        text.err
    );
    stage.nothing_changed(&before)
}

pub(crate) fn pf_off(stage: &Stage) -> Result<()> {
    stage.on(Host::Beta, "ip link set pf0 down")?;
    let found = is_named(stage, Host::Beta, "PF_DOWN", "pf0");
    // Whatever was found: the next story needs it.
    stage.on(Host::Beta, "ip link set pf0 up")?;
    let found = found?;
    ensure!(found.fix == "ip link set pf0 up", "{found:?}");
    is_mended(stage, Host::Beta)
}

pub(crate) fn no_vfs(stage: &Stage) -> Result<()> {
    let before = stage.on(Host::Beta, &format!("cat {NUMVFS}"))?;
    let before = before.trim();
    stage.on(Host::Beta, &format!("echo 0 >{NUMVFS}"))?;
    let found = is_named(stage, Host::Beta, "PF_WITHOUT_VFS", "pf0");
    stage.on(Host::Beta, &format!("echo {before} >{NUMVFS} && rig-vf sweep"))?;
    let found = found?;
    ensure!(found.fix.contains(NUMVFS), "{found:?}");
    is_mended(stage, Host::Beta)
}

/// vfio-pci is not loaded. What the finding says to type loads it.
pub(crate) fn no_vfio(stage: &Stage) -> Result<()> {
    stage.on(Host::Beta, "rig-vf sweep && modprobe -r vfio_pci")?;
    let found = is_named(stage, Host::Beta, "VFIO_MISSING", "");
    stage.on(Host::Beta, "modprobe vfio_pci")?;
    let found = found?;
    ensure!(found.fix.contains("modprobe vfio-pci"), "{found:?}");
    is_mended(stage, Host::Beta)
}

/// The host's kernel was told to leave the IOMMU alone: no VF could be given to a guest.
pub(crate) fn no_iommu(stage: &Stage) -> Result<()> {
    let rig = stage.rig();
    rig.power_off(Host::Beta)?;
    rig.power_on_with(Host::Beta, "intel_iommu=off")?;
    let found = is_named(stage, Host::Beta, "IOMMU_OFF", "");
    let refusal = stage.godwit(&format!("migrate {WEB_1} beta --wait"));
    rig.power_off(Host::Beta)?;
    rig.power_on(Host::Beta)?;
    let (found, refusal) = (found?, refusal?);
    ensure!(found.fix.contains("intel_iommu"), "{found:?}");
    refused(&refusal, "VF")?;
    is_mended(stage, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// Somebody gives a VF that nobody has the guest's own MAC, on the other host: frames for the guest would go there.
pub(crate) fn left_on_a_vf(stage: &Stage) -> Result<()> {
    let host = Host::Beta;
    let vf = stage.on(host, "basename $(readlink /sys/class/net/pf0/device/virtfn1)")?;
    let vf = vf.trim();
    stage.on(host, &format!("ip link set pf0 vf 1 mac {}", WEB_1.mac))?;
    let (code, found) = examined(stage, host, "")?;
    let left = found.finding("VF_LEFTOVER", vf);
    let left = left.with_context(|| format!("what is on {vf} is not named: {:?}", found.findings))?;
    ensure!(
        left.what.contains(WEB_1.mac) && code == 5,
        "exit code {code}: {left:?}"
    );
    let twice = found
        .findings
        .iter()
        .find(|found| found.reason == "MAC_DUPLICATE");
    ensure!(
        twice.is_some_and(|twice| twice.severity == "error" && twice.what.contains("alpha")),
        "the MAC of alpha's guest: {:?}",
        found.findings
    );
    let checked = godwit::run(&stage.place, host, "vfs check")?;
    ensure!(
        checked.code == 3 && checked.out.contains(WEB_1.mac),
        "exit code {}: {}",
        checked.code,
        checked.out
    );
    // What is told helps.
    let fix = left.fix.trim_matches('`');
    stage.on(host, fix)?;
    is_mended(stage, host)?;
    godwit::run(&stage.place, host, "vfs check")?.done()?;
    // What a guest has is not touched.
    let [taken, _] = hardware::vf_in(&stage.live_xml()?).context("the guest has no VF")?;
    let taken = stage.godwit(&format!("vfs check {taken} --clean"))?;
    ensure!(
        taken.code == 1,
        "exit code {}: {}{}",
        taken.code,
        taken.out,
        taken.err
    );
    stage.guest_is_accelerated_on(Host::Alpha)
}

pub(crate) fn peer_away(stage: &Stage) -> Result<()> {
    stage.daemon(Host::Beta, "stop")?;
    let found = is_named(stage, Host::Alpha, "HOST_UNREACHABLE", "beta");
    stage.daemon(Host::Beta, "start")?;
    let found = found?;
    ensure!(found.what.contains("beta cannot be reached"), "{found:?}");
    is_mended(stage, Host::Alpha)
}

/// Stopped, and not killed: the guest would start another two seconds later.
pub(crate) fn agent_silent(stage: &Stage) -> Result<()> {
    let agent = |signal: &str| {
        let line = format!("kill -{signal} $(cat /run/godwit-agent.pid)");
        WEB_1.shell(&stage.place, Host::Alpha, &line).map(drop)
    };
    agent("STOP")?;
    let examined_so = examined(stage, Host::Alpha, WEB_1.name);
    agent("CONT")?;
    let (code, found) = examined_so?;
    let silent = found.finding("GUEST_WITHOUT_AGENT", WEB_1.name);
    ensure!(
        code == 5 && silent.is_some_and(|silent| silent.severity == "error"),
        "exit code {code}: {found:?}"
    );
    wait_for("the agent's answer", PATIENCE, || {
        let (code, found) = examined(stage, Host::Alpha, WEB_1.name)?;
        Ok((code == 0 && found.findings.is_empty()).then_some(()))
    })?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

fn examined(stage: &Stage, host: Host, guest: &str) -> Result<(i32, Examination)> {
    godwit::doctor(&stage.place, host, guest)
}

/// The one finding, an error, and the exit code of errors.
fn is_named(stage: &Stage, host: Host, reason: &str, about: &str) -> Result<Finding> {
    let (code, found) = examined(stage, host, "")?;
    ensure!(code == 5, "exit code {code} instead of 5: {found:?}");
    let named = found.finding(reason, about).cloned();
    let named = named.with_context(|| format!("no {reason} about {about}: {found:?}"))?;
    ensure!(named.severity == "error", "{named:?}");
    Ok(named)
}

/// No longer named; a link takes a moment to come up.
fn is_mended(stage: &Stage, host: Host) -> Result<()> {
    wait_for("a healthy host", PATIENCE, || {
        let (code, found) = examined(stage, host, "")?;
        Ok(is_well(host, code, &found).is_ok().then_some(()))
    })
}

/// Nothing but hints, and what is true there.
fn is_well(host: Host, code: i32, found: &Examination) -> Result<()> {
    let is_bad =
        |finding: &&Finding| finding.severity != "hint" && !TRUE_THERE.contains(&finding.reason.as_str());
    let bad: Vec<&Finding> = found.findings.iter().filter(is_bad).collect();
    ensure!(bad.is_empty(), "{host}: {bad:?}");
    let warned = found.findings.iter().any(|finding| finding.severity == "warning");
    let expected = if warned { 3 } else { 0 };
    ensure!(
        code == expected,
        "{host}: exit code {code} instead of {expected}: {found:?}"
    );
    Ok(())
}
