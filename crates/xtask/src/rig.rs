//! `cargo xtask rig`: the rig by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use godwit_rig::guest::{Guest, WEB_1};
use godwit_rig::rig::Up;
use godwit_rig::topology::{self, Topology};
use godwit_rig::{Host, Rig, build, images, install, logs, setup, ssh};

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Everything from nothing to two hosts that run this checkout's binaries.
    Up {
        /// Start the hosts on empty disks.
        #[arg(long)]
        fresh: bool,
        /// Do without Godwit's binaries, for work on the rig itself.
        #[arg(long)]
        without_godwit: bool,
    },
    /// Switch the hosts off and remove the network; disks and images stay.
    Down,
    /// Hosts, services, VFs and guest.
    Status,
    /// Install packages and make the images, without starting anything.
    Build,
    /// Build this checkout and put it into the running hosts.
    Install,
    /// A shell on a host, or a command.
    Ssh {
        host: Host,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// A host's power switch; off pulls the plug.
    Power {
        #[arg(value_parser = ["on", "off"])]
        switch: String,
        host: Host,
    },
    /// What the standbys' bridge hangs on: a NIC of its own, or the PF.
    Topology { topology: Topology },
    /// A guest.
    Guest {
        /// web-1, or one of those for special purposes.
        #[arg(long, default_value_t = WEB_1)]
        name: Guest,
        #[command(subcommand)]
        task: GuestTask,
    },
    /// Collect the logs of hosts and guest.
    Logs {
        /// Where to.
        dir: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum GuestTask {
    /// Start it, with its traffic on a VF.
    Start {
        #[arg(default_value = "alpha")]
        host: Host,
    },
    /// Switch it off and make both hosts forget it.
    Stop,
    /// Where it runs, its NICs and its bond.
    State,
    /// Boot it again from inside.
    Reboot,
    /// Whether it hears that a device is to be unplugged; a reboot makes it hear again.
    Unplugs {
        #[arg(value_parser = ["ignore", "heed"])]
        answer: String,
    },
    /// Run a shell command in it, whatever its network does.
    Sh {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

pub(crate) fn run(task: Task) -> Result<ExitCode> {
    let rig = Rig::from_environment()?;
    match task {
        Task::Up {
            fresh,
            without_godwit,
        } => rig.up(Up {
            fresh,
            without_godwit,
            ..Up::default()
        })?,
        Task::Down => rig.down()?,
        Task::Status => print(&rig.status()?),
        Task::Build => {
            setup::install()?;
            let _lock = rig.place.lock()?;
            images::build(&rig.place)?;
        }
        Task::Install => {
            let parts = build::build(&rig.place, false)?;
            let _lock = rig.place.lock()?;
            install::install(&rig.place, &images::build(&rig.place)?, &parts)?;
        }
        Task::Ssh { host, command } => {
            let status = ssh::command(&rig.place, host, &command.join(" ")).status()?;
            return Ok(status
                .code()
                .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)));
        }
        Task::Power { switch, host } if switch == "on" => rig.power_on(host)?,
        Task::Power { host, .. } => rig.power_off(host)?,
        Task::Topology { topology } => topology::set(&rig.place, topology)?,
        Task::Guest { name, task } => return run_guest(&rig, name, task),
        Task::Logs { dir } => {
            let dir = dir.unwrap_or_else(|| rig.place.dir.join("logs/by-hand"));
            logs::collect(&rig.place, &dir)?;
            print(&format!("{}\n", dir.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_guest(rig: &Rig, guest: Guest, task: GuestTask) -> Result<ExitCode> {
    let place = &rig.place;
    let located = || {
        let hint =
            || format!("{guest} does not run; start it with `cargo xtask rig guest --name {guest} start`");
        guest.locate(place)?.with_context(hint)
    };
    match task {
        GuestTask::Start { host } => guest.start(place, host)?,
        GuestTask::Stop => guest.stop(place)?,
        GuestTask::Reboot => guest.reboot(place, located()?)?,
        GuestTask::State => {
            let host = located()?;
            let answer = guest.ask(place, host, "state", Duration::from_secs(10))?;
            print(&format!("runs on {host}\n{}", answer.text));
        }
        GuestTask::Unplugs { answer } => match answer == "heed" {
            true => guest.heed_unplugs(place, located()?)?,
            false => guest.ignore_unplugs(place, located()?)?,
        },
        GuestTask::Sh { command } => {
            let answer = guest.shell(place, located()?, &command.join(" "))?;
            print(&answer.text);
            return Ok(ExitCode::from(answer.status as u8));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "answers go to standard output")]
fn print(text: &str) {
    print!("{text}");
}
