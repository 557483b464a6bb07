//! Stories of libvirt's hook: guests that plain `virsh migrate` brings, with and without a daemon that answers.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit;
use godwit_rig::guest::{self, TEAM_1, WEB_1};
use godwit_rig::small::{Device, Small};
use godwit_rig::{Host, invariants, ssh};

use crate::stage::{PATIENCE, Stage};

pub(crate) const PLACE: &str = "/etc/libvirt/hooks/qemu.d/godwit";

/// The hook on both hosts, seen by libvirt. It goes when this is dropped: the other stories are told without.
pub(crate) struct Hook<'a>(&'a Stage);

impl<'a> Hook<'a> {
    pub(crate) fn install(stage: &'a Stage) -> Result<Hook<'a>> {
        let hook = Hook(stage);
        for host in Host::ALL {
            let answer = godwit::run(&stage.place, host, "hook install")?;
            answer.done()?;
            stage.libvirtd(host, "restart")?;
        }
        Ok(hook)
    }
}

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        for host in Host::ALL {
            if let Err(error) = self.0.on(host, &format!("rm -f {PLACE}")) {
                godwit_rig::say(format!("the hook stays on {host}: {error:#}"));
            }
        }
    }
}

/// `godwitd` stands still, and goes on when this is dropped.
pub(crate) struct Hung<'a>(&'a Stage, Host);

impl<'a> Hung<'a> {
    pub(crate) fn hang(stage: &'a Stage, host: Host) -> Result<Hung<'a>> {
        stage.on(host, "kill -STOP $(cat /run/rig/godwitd.pid)")?;
        Ok(Hung(stage, host))
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.on(self.1, "kill -CONT $(cat /run/rig/godwitd.pid)") {
            godwit_rig::say(format!("godwitd hangs on {}: {error:#}", self.1));
        }
    }
}

pub(crate) fn installed(stage: &Stage) -> Result<()> {
    let check = |host| godwit::run(&stage.place, host, "--json hook check");
    let missing = check(Host::Beta)?;
    ensure!(missing.code == 5, "it is there already: {}", missing.out);
    let told = godwit::run(&stage.place, Host::Beta, "hook install")?;
    ensure!(told.out.contains("systemctl restart libvirtd"), "{}", told.out);
    let _hook = Hook::install(stage)?;
    check(Host::Beta)?.done()?;
    stage.daemon(Host::Beta, "stop")?;
    let silent = check(Host::Beta)?;
    stage.daemon(Host::Beta, "start")?;
    ensure!(
        silent.code == 3,
        "exit code {} instead of 3: {}",
        silent.code,
        silent.out
    );
    // Somebody else's program is left alone.
    stage.on(Host::Beta, &format!("printf '#!/bin/sh\\n' >{PLACE}"))?;
    let refused = godwit::run(&stage.place, Host::Beta, "hook install")?;
    ensure!(
        refused.code == 1 && refused.err.contains("another program"),
        "{}",
        refused.err
    );
    Ok(())
}

pub(crate) fn from_standby(stage: &Stage) -> Result<()> {
    let _hook = Hook::install(stage)?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    let before = heard(stage, "migrate begin")?;
    stage.on(Host::Alpha, &migrate(WEB_1.name, "--persistent --undefinesource"))?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    ensure!(
        heard(stage, "migrate begin")? > before,
        "beta's daemon has not heard of it"
    );
    stage.stored_domain_is_right(Host::Beta)
}

/// A pair of libvirt's own, in a guest without a system: its emulator never shows it the VF, so the unplug ends at once, and
/// libvirt does all that it does for any other.
pub(crate) fn teamed(stage: &Stage) -> Result<()> {
    const NAME: &str = "teamed-1";
    let _hook = begin_teamed(stage)?;
    let devices = [Device::TeamedStandby, Device::TeamedVf];
    let _small = Small::start(&stage.place, Host::Alpha, NAME, &devices)?;
    move_teamed(stage, NAME, "")?;
    end_teamed(stage, NAME)
}

/// What libvirt stores at the destination is the source's definition, with the source's VF. Nobody manages such a guest, so it has
/// the one that it got.
pub(crate) fn teamed_and_stored(stage: &Stage) -> Result<()> {
    const NAME: &str = "teamed-2";
    let _hook = begin_teamed(stage)?;
    let devices = [Device::TeamedStandby, Device::TeamedVf];
    let _small = Small::start(&stage.place, Host::Alpha, NAME, &devices)?;
    let here = move_teamed(stage, NAME, "--persistent --undefinesource")?;
    let stored = guest::xml(&stage.place, Host::Beta, NAME, true)?;
    ensure!(
        host_address(&stored)? == here,
        "its VF is {here}, and the stored domain has another:\n{stored}"
    );
    end_teamed(stage, NAME)
}

/// Its emulator takes the VF out, and plugs one of beta's. What is stored has none, as of any managed guest; what was left on
/// alpha is clean, which every story's end looks at.
pub(crate) fn teamed_and_managed(stage: &Stage) -> Result<()> {
    let _hook = Hook::install(stage)?;
    crate::teamed::begin(stage)?;
    // The VF that the rig plugged is set up by libvirt; Godwit's own is a plain device.
    stage.godwit(&format!("standby {TEAM_1} --wait"))?.done()?;
    stage.godwit(&format!("accelerate {TEAM_1} --wait"))?.done()?;
    crate::teamed::is_whole(stage, Host::Alpha)?;
    stage.on(
        Host::Alpha,
        &migrate(TEAM_1.name, "--persistent --undefinesource"),
    )?;
    crate::teamed::is_whole(stage, Host::Beta)?;
    brought(stage, TEAM_1.name)?;
    let stored = guest::xml(&stage.place, Host::Beta, TEAM_1.name, true)?;
    ensure!(
        stored.contains("urn:godwit:domain:1") && !stored.contains("hostdev"),
        "the stored domain is not as it should be:\n{stored}"
    );
    invariants::hold(&stage.place)?;
    TEAM_1.stop(&stage.place)
}

fn begin_teamed(stage: &Stage) -> Result<Hook<'_>> {
    stage.configure(Host::Beta, "[hook]\npool = \"fabric\"\n")?;
    Hook::install(stage)
}

/// Where the same address is not to be had; the line of the one that it has there.
fn move_teamed(stage: &Stage, name: &str, more: &str) -> Result<String> {
    let before = guest::xml(&stage.place, Host::Alpha, name, false)?;
    let own = host_address(&before)?;
    let there = pci(&own)?;
    let kept = godwit::run(&stage.place, Host::Beta, &format!("vfs quarantine {there}"))?;
    let moved = stage.on(Host::Alpha, &migrate(name, more));
    if kept.code == 0 {
        godwit::run(&stage.place, Host::Beta, &format!("vfs release {there}"))?.done()?;
    }
    moved?;
    let after = guest::xml(&stage.place, Host::Beta, name, false)?;
    let here = host_address(&after)?;
    ensure!(here != own, "it has the address of alpha's VF:\n{after}");
    brought(stage, name)?;
    Ok(here)
}

/// The record of a guest that another tool brought has ended, with nothing held.
fn brought(stage: &Stage, name: &str) -> Result<()> {
    let record = wait_for("the record's end", PATIENCE, || {
        let all = godwit::migrations(&stage.place, Host::Beta)?;
        Ok(all.into_iter().find(|migration| {
            migration.guest == name && migration.source == "another tool" && migration.ended
        }))
    })?;
    ensure!(record.moved == "yes", "{record:?}");
    no_holds(stage, Host::Beta)
}

fn end_teamed(stage: &Stage, name: &str) -> Result<()> {
    guest::remove(&stage.place, Host::Beta, name)?;
    stage.sweep();
    Ok(())
}

pub(crate) fn unrelated(stage: &Stage) -> Result<()> {
    const NAME: &str = "other-1";
    let _hook = Hook::install(stage)?;
    let _small = Small::start(&stage.place, Host::Alpha, NAME, &[Device::Standby])?;
    stage.daemon(Host::Beta, "stop")?;
    let moved = stage.on(Host::Alpha, &migrate(NAME, ""));
    // And one that is Godwit's business is refused, with a sentence that reaches who moves it.
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    let refused = refusal(stage)?;
    stage.daemon(Host::Beta, "start")?;
    moved?;
    ensure!(
        guest::domain_state(&stage.place, Host::Beta, NAME)? == "running",
        "it has not come"
    );
    ensure!(refused.contains("godwitd is not there"), "{refused}");
    guest::remove(&stage.place, Host::Beta, NAME)?;
    stage.guest_is_on_standby_on(Host::Alpha)?;
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()
}

pub(crate) fn daemon_hangs(stage: &Stage) -> Result<()> {
    stage.configure(Host::Beta, "[hook]\ndeadline = 3\n")?;
    let _hook = Hook::install(stage)?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    {
        let _hung = Hung::hang(stage, Host::Beta)?;
        let begun = Instant::now();
        let refused = refusal(stage)?;
        ensure!(refused.contains("did not answer within 3000 ms"), "{refused}");
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "it took {:?}",
            begun.elapsed()
        );
    }
    stage.guest_is_on_standby_on(Host::Alpha)?;
    no_holds(stage, Host::Beta)?;
    // With the other policy it comes, and is accelerated as soon as the daemon goes on.
    stage.on(
        Host::Beta,
        "sed -i 's/^deadline = 3$/deadline = 3\\npolicy = \"pass\"/' /etc/godwit/godwitd.toml",
    )?;
    stage.daemon(Host::Beta, "restart")?;
    {
        let _hung = Hung::hang(stage, Host::Beta)?;
        stage.on(Host::Alpha, &migrate(WEB_1.name, "--persistent --undefinesource"))?;
    }
    stage.guest_is_accelerated_on(Host::Beta)
}

/// Somebody ends the hook while beta's daemon is asked for a VF. libvirt refuses the migration with the signal's number, before
/// anything was done to the guest, and the daemon holds nothing for it; asked again, it is as if that had not been.
pub(crate) fn killed_half_way(stage: &Stage) -> Result<()> {
    stage.configure(Host::Beta, "[hook]\ndeadline = 60\n")?;
    let _hook = Hook::install(stage)?;
    crate::teamed::begin(stage)?;
    stage.godwit(&format!("standby {TEAM_1} --wait"))?.done()?;
    stage.godwit(&format!("accelerate {TEAM_1} --wait"))?.done()?;
    let line = migrate(TEAM_1.name, "--persistent --undefinesource");
    {
        let _hung = Hung::hang(stage, Host::Beta)?;
        let mut ssh = ssh::command(&stage.place, Host::Alpha, &line);
        let moving = ssh.stderr(Stdio::piped()).spawn()?;
        let asking = format!("pgrep -f '^{PLACE} {TEAM_1} migrate begin -'");
        let hook = wait_for("the hook's question", PATIENCE, || {
            stage.on(Host::Beta, &asking).map(Some)
        })?;
        stage.on(Host::Beta, &format!("kill -KILL {}", hook.trim()))?;
        let ended = moving.wait_with_output()?;
        let told = String::from_utf8_lossy(&ended.stderr);
        ensure!(!ended.status.success(), "it was taken");
        ensure!(
            told.contains("Hook script execution failed") && told.contains("signal 9"),
            "{told}"
        );
    }
    crate::teamed::is_whole(stage, Host::Alpha)?;
    let there = guest::domain_state(&stage.place, Host::Beta, TEAM_1.name)?;
    ensure!(there.is_empty(), "on beta it is {there:?}");
    crate::calls::nothing_is_held(stage)?;
    stage.on(Host::Alpha, &line)?;
    crate::teamed::is_whole(stage, Host::Beta)?;
    brought(stage, TEAM_1.name)?;
    invariants::hold(&stage.place)?;
    TEAM_1.stop(&stage.place)
}

/// libvirt kills a running guest whose hook fails when it connects to it again.
pub(crate) fn libvirtd_restarted(stage: &Stage) -> Result<()> {
    let _hook = Hook::install(stage)?;
    for action in ["stop", "start"] {
        stage.libvirtd(Host::Alpha, "restart")?;
        stage.daemon(Host::Alpha, action)?;
    }
    {
        let _hung = Hung::hang(stage, Host::Alpha)?;
        stage.libvirtd(Host::Alpha, "restart")?;
    }
    stage.guest_is_accelerated_on(Host::Alpha)
}

pub(crate) fn migrate(name: &str, more: &str) -> String {
    let to = Host::Beta.address();
    format!("virsh -q migrate --live --p2p {more} {name} qemu+tcp://{to}/system")
}

/// What whoever moves the guest is told when it is not taken.
fn refusal(stage: &Stage) -> Result<String> {
    let line = migrate(WEB_1.name, "--persistent --undefinesource");
    let output = ssh::command(&stage.place, Host::Alpha, &line).output()?;
    ensure!(!output.status.success(), "it was taken");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How often beta's daemon was told so, since its host is new.
pub(crate) fn heard(stage: &Stage, what: &str) -> Result<u32> {
    let line = format!("grep -c \"libvirt's hook: {what}\" /var/log/godwitd.log || true");
    Ok(stage.on(Host::Beta, &line)?.trim().parse()?)
}

pub(crate) fn no_holds(stage: &Stage, host: Host) -> Result<()> {
    let holds = godwit::run(&stage.place, host, "--json holds")?.out;
    ensure!(holds.contains("\"holds\":[]"), "{host} holds a VF: {holds}");
    Ok(())
}

/// The host's side of the only VF, as libvirt writes it.
pub(crate) fn host_address(xml: &str) -> Result<String> {
    let start = xml
        .find("<interface type='hostdev'")
        .context("no VF in its domain")?;
    let address = xml[start..]
        .lines()
        .find(|line| line.contains("<address type='pci'"));
    Ok(address.context("a VF without an address")?.trim().to_owned())
}

/// `<address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>` as `0000:01:10.0`.
fn pci(address: &str) -> Result<String> {
    let parts: Vec<&str> = address
        .split("'0x")
        .skip(1)
        .filter_map(|part| part.split('\'').next())
        .collect();
    let [domain, bus, slot, function] = parts[..] else {
        anyhow::bail!("not an address: {address}")
    };
    Ok(format!("{domain}:{bus}:{slot}.{function}"))
}
