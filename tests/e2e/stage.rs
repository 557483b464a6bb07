//! What the stories say and see.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Answer, Migration, Move};
use godwit_rig::guest::{self, Guest, WEB_1};
use godwit_rig::vf::NUMVFS;
use godwit_rig::{Host, Place, Rig, faults, modular, network, ready, ssh};

/// How long anything may take that is not a measurement: on a busy machine everything is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The rig, with the guest on alpha, accelerated and adopted.
pub(crate) struct Stage {
    pub(crate) place: Place,
}

impl Stage {
    /// Sets it, whatever the story before left.
    pub(crate) fn set(&self) -> Result<()> {
        self.clear()?;
        ready::on(&self.place, Host::Alpha).context("the story cannot begin")?;
        self.begin(Host::Alpha)
    }

    /// The same, with the guest on the host where it happens to be: for stories to which it is all one.
    pub(crate) fn set_anywhere(&self) -> Result<()> {
        self.clear()?;
        let host = ready::anywhere(&self.place).context("the story cannot begin")?;
        self.begin(host)
    }

    fn clear(&self) -> Result<()> {
        network::part(&self.place, false)?;
        for host in Host::ALL {
            faults::none(&self.place, host)?;
            modular::switch_off(&self.place, host)?;
            self.on(host, &usual_vfs())?;
        }
        self.usual_configuration()
    }

    fn begin(&self, host: Host) -> Result<()> {
        self.policy(host, "require")?;
        self.transfer_speed(host, FULL_SPEED)
    }

    /// Runs `godwit ...` on alpha.
    pub(crate) fn godwit(&self, arguments: &str) -> Result<Answer> {
        godwit::run(&self.place, Host::Alpha, arguments)
    }

    /// Begins a move of the guest from alpha to beta.
    pub(crate) fn begin_move(&self) -> Result<Move> {
        Move::begin(&self.place, Host::Alpha, WEB_1.name, "beta")
    }

    /// Begins a move and follows it into its transfer, which then takes long enough to do something meanwhile.
    pub(crate) fn begin_slow_move(&self) -> Result<Move> {
        self.slow_transfer()?;
        let mut moving = self.begin_move()?;
        moving.until("the transfer", PATIENCE, |migration| {
            migration.has_begun("transfer")
        })?;
        self.memory_moves()?;
        Ok(moving)
    }

    /// Waits for a transfer's work: the phase is written before that starts.
    pub(crate) fn memory_moves(&self) -> Result<()> {
        let copying = "virsh -q domjobinfo web-1 | grep -q 'Data processed'";
        wait_for("the transfer's first bytes", PATIENCE, || {
            self.on(Host::Alpha, copying).map(Some)
        })
        .map(drop)
    }

    /// The guest's next transfer takes long enough to do something meanwhile.
    pub(crate) fn slow_transfer(&self) -> Result<()> {
        self.transfer_speed(Host::Alpha, 2)
    }

    /// The transfer that was made slow goes on as fast as it can.
    pub(crate) fn transfer_ends(&self) -> Result<()> {
        self.transfer_speed(Host::Alpha, FULL_SPEED)
    }

    /// Starts, stops, kills or restarts a host's daemon.
    pub(crate) fn daemon(&self, host: Host, action: &str) -> Result<()> {
        self.on(host, &format!("rig-service {action} godwitd")).map(drop)
    }

    /// The same for its libvirtd.
    pub(crate) fn libvirtd(&self, host: Host, action: &str) -> Result<()> {
        self.on(host, &format!("rig-service {action} libvirtd")).map(drop)
    }

    /// Adds tables to the configuration of a host's daemon, until the next story.
    pub(crate) fn configure(&self, host: Host, tables: &str) -> Result<()> {
        let line = format!(
            "[ -e {USUAL} ] || cp {CONFIGURATION} {USUAL}; cat >>{CONFIGURATION} && rig-service restart godwitd"
        );
        ssh::run_with(&self.place, host, &line, tables.as_bytes())
    }

    fn usual_configuration(&self) -> Result<()> {
        let line = format!(
            "[ ! -e {USUAL} ] || {{ mv {USUAL} {CONFIGURATION} && sync && rig-service restart godwitd; }}"
        );
        Host::ALL
            .into_iter()
            .try_for_each(|host| self.on(host, &line).map(drop))
    }

    /// Gives alpha's daemon a deadline for a phase, in seconds, until the next story.
    pub(crate) fn deadline(&self, phase: &str, seconds: u32) -> Result<()> {
        self.configure(Host::Alpha, &format!("[deadlines]\n{phase} = {seconds}\n"))
    }

    /// Gives the guest a policy, as a person would who edits its metadata; it takes the policy along when it moves.
    pub(crate) fn policy(&self, host: Host, policy: &str) -> Result<()> {
        let line = format!(
            "now=$(virsh -q metadata {WEB_1} urn:godwit:domain:1) && \
             new=$(echo \"$now\" | sed '1s/ policy=\"[a-z-]*\"/ policy=\"{policy}\"/') && \
             {{ [ \"$now\" = \"$new\" ] || virsh -q metadata {WEB_1} urn:godwit:domain:1 --live --config \
             --key godwit --set \"$new\"; }} && \
             virsh -q metadata {WEB_1} urn:godwit:domain:1 | grep -q 'policy=\"{policy}\"'"
        );
        self.on(host, &line)
            .map(drop)
            .with_context(|| format!("{WEB_1} has no policy {policy}"))
    }

    /// What is stored of the guest on a host has what it should have, and no VF, so that it starts anywhere.
    pub(crate) fn stored_domain_is_right(&self, host: Host) -> Result<()> {
        let stored = guest::xml(&self.place, host, WEB_1.name, true)?;
        ensure!(
            stored.contains("urn:godwit:domain:1"),
            "the stored domain lacks Godwit's metadata:\n{stored}"
        );
        ensure!(
            stored.contains("ua-standby0"),
            "the stored domain lacks the standby:\n{stored}"
        );
        ensure!(
            !stored.contains("<hostdev"),
            "the stored domain has a VF, so a cold start may fail:\n{stored}"
        );
        Ok(())
    }

    /// The hosts' power.
    pub(crate) fn rig(&self) -> Rig {
        Rig {
            place: self.place.clone(),
        }
    }

    /// What a story that failed left on unused VFs is not the next one's failure.
    pub(crate) fn sweep(&self) {
        for host in Host::ALL {
            if let Err(error) = self.on(host, "rig-vf sweep") {
                godwit_rig::say(format!("the VFs of {host} are not swept: {error:#}"));
            }
        }
    }

    /// Runs a shell command on a host.
    pub(crate) fn on(&self, host: Host, line: &str) -> Result<String> {
        ssh::output(&self.place, host, line)
    }

    /// The live domain of the guest on alpha.
    pub(crate) fn live_xml(&self) -> Result<String> {
        guest::xml(&self.place, Host::Alpha, WEB_1.name, false)
    }

    /// libvirt's word for the guest's state on a host; "" when it does not know it.
    pub(crate) fn guest_on(&self, host: Host) -> Result<String> {
        guest::domain_state(&self.place, host, WEB_1.name)
    }

    /// Starts another guest on alpha, and it is adopted.
    pub(crate) fn starts(&self, guest: Guest) -> Result<()> {
        guest.start(&self.place, Host::Alpha)?;
        wait_for(&format!("the adoption of {guest}"), PATIENCE, || {
            godwit::adopt(&self.place, Host::Alpha, guest.name).map(Some)
        })
    }

    /// Waits until the guest runs on a host, and only there, with its traffic on its VF, and answers.
    pub(crate) fn guest_is_accelerated_on(&self, host: Host) -> Result<()> {
        self.is_accelerated_on(WEB_1, host)
    }

    /// The same of any guest.
    pub(crate) fn is_accelerated_on(&self, guest: Guest, host: Host) -> Result<()> {
        wait_for(&format!("{guest} on its VF on {host}"), PATIENCE, || {
            Ok(guest.state(&self.place, host)?.is_on_vf().then_some(()))
        })?;
        self.runs_on(guest, host)
    }

    /// The guest runs on a host, and only there, with its traffic on its standby, and answers.
    pub(crate) fn guest_is_on_standby_on(&self, host: Host) -> Result<()> {
        self.is_on_standby_on(WEB_1, host)
    }

    /// The same of any guest.
    pub(crate) fn is_on_standby_on(&self, guest: Guest, host: Host) -> Result<()> {
        let state = guest.state(&self.place, host)?;
        ensure!(state.is_on_standby(), "{guest} is not on its standby: {state:?}");
        self.runs_on(guest, host)
    }

    fn runs_on(&self, guest: Guest, host: Host) -> Result<()> {
        let on = |host| guest::domain_state(&self.place, host, guest.name);
        ensure!(on(host)? == "running", "{guest} does not run on {host}");
        let elsewhere = on(host.other())?;
        ensure!(
            elsewhere != "running" && elsewhere != "paused",
            "{guest} is {elsewhere} on {} too",
            host.other()
        );
        wait_for("the guest's answer", PATIENCE, || {
            Ok(guest.answers(&self.place).then_some(()))
        })
    }

    /// Nothing is left of a refused or undone migration: the guest is as it was on alpha, and beta knows none.
    pub(crate) fn nothing_changed(&self, before: &str) -> Result<()> {
        self.guest_is_accelerated_on(Host::Alpha)?;
        let after = self.live_xml()?;
        ensure!(
            after == before,
            "the guest's domain has changed:\n{}",
            difference(before, &after)
        );
        ensure!(self.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
        Ok(())
    }

    /// What a host's daemon says of a migration once `reached` holds.
    pub(crate) fn migration(
        &self,
        host: Host,
        id: &str,
        reached: impl Fn(&Migration) -> bool,
    ) -> Result<Migration> {
        wait_for(&format!("migration {id}, by {host}"), PATIENCE, || {
            Ok(Some(godwit::status(&self.place, host, id)?).filter(&reached))
        })
    }

    /// MiB a second; libvirt keeps it for the domain's next transfer.
    fn transfer_speed(&self, host: Host, speed: u64) -> Result<()> {
        self.on(host, &format!("virsh -q migrate-setspeed web-1 {speed}"))
            .map(drop)
    }
}

/// Of a host's daemon.
const CONFIGURATION: &str = "/etc/godwit/godwitd.toml";
/// The same before a story changed it.
const USUAL: &str = "/etc/godwit/godwitd.toml.usual";

/// As many VFs as the host was started with, if there are none.
fn usual_vfs() -> String {
    format!("[ $(cat {NUMVFS}) != 0 ] || sed 's/.*rig.vfs=\\([0-9]*\\).*/\\1/' /proc/cmdline >{NUMVFS}")
}

/// The greatest that libvirt takes.
const FULL_SPEED: u64 = 8_796_093_022_207;

/// Whether it was refused as it should be: exit code 1, one sentence that names `about`, nothing else said.
pub(crate) fn refused(answer: &Answer, about: &str) -> Result<()> {
    let Answer { code, err, out } = answer;
    ensure!(*code == 1, "exit code {code} instead of 1: {out}{err}");
    ensure!(
        err.starts_with("Error: "),
        "no sentence begins with Error: {err:?}"
    );
    ensure!(
        err.to_lowercase().contains(&about.to_lowercase()),
        "the refusal does not speak of {about:?}: {err}"
    );
    ensure!(!err.contains("panicked"), "{err}");
    Ok(())
}

fn difference(before: &str, after: &str) -> String {
    let has = |text: &str, line: &str| text.lines().any(|other| other == line);
    let gone = before
        .lines()
        .filter(|line| !has(after, line))
        .map(|line| format!("- {line}\n"));
    let new = after
        .lines()
        .filter(|line| !has(before, line))
        .map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}
