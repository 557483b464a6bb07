//! The simulator as an arm: `godwit-sim` serves, `godwit` asks.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use godwit_rig::faults::Fault;
use godwit_rig::godwit::Answer;
use godwit_rig::{Host, Place, command};
use rustix::process::{Pid, Signal, kill_process};

use crate::body::{Arm, Setting};

/// Pretended durations are divided by this; the pauses between retries are not.
const SPEED: &str = "20";
/// The same where frames come. Each comes in its time, also while this machine has no time for the simulator: there is room for
/// two seconds of that.
const SPEED_WITH_FRAMES: &str = "2";

pub(crate) struct Sim {
    programs: PathBuf,
    sockets: PathBuf,
    child: Option<Child>,
}

impl Sim {
    /// Builds the two programs.
    pub(crate) fn new() -> Result<Sim> {
        let place = Place::from_environment()?;
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.current_dir(&place.checkout);
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "godwit-sim",
            "--package",
            "godwit",
        ]);
        command::show(&mut build)?;
        Ok(Sim {
            programs: place.target().join("debug"),
            sockets: std::env::temp_dir().join(format!("godwit-conformance-{}", std::process::id())),
            child: None,
        })
    }

    /// Ends it; an error if one of its rules was broken.
    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = Pid::from_raw(child.id().try_into()?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let status = command::wait_for("the simulator's end", Duration::from_secs(20), || {
            Ok(child.try_wait()?)
        })?;
        ensure!(
            status.success(),
            "the simulator says that a rule of its world was broken"
        );
        Ok(())
    }
}

impl Arm for Sim {
    fn begin(&mut self, faults: &[(Host, Fault)], setting: Setting) -> Result<()> {
        self.stop()?;
        let (guests, vfs, speed) = match setting {
            Setting::Usual => ("1", "8", SPEED),
            // A second guest has beta's only VF.
            Setting::Full => ("2", "1", SPEED),
            // In its transfers the network sends to a guest by itself.
            Setting::Busy => ("1", "8", SPEED_WITH_FRAMES),
        };
        let mut sim = Command::new(self.programs.join("godwit-sim"));
        sim.args([
            "--plain",
            "--check",
            "--speed",
            speed,
            "--guests",
            guests,
            "--vfs",
            vfs,
            "--sockets",
        ]);
        sim.arg(&self.sockets);
        for (host, fault) in faults {
            let (phase, kind) = match fault {
                Fault::Die(_, phase) => (*phase, "crash".to_owned()),
                Fault::Fail(phase, times) => (*phase, format!("fail:{times}")),
                Fault::Silent => ("unplug", "silent".to_owned()),
                Fault::Refused | Fault::NoAgent(_) | Fault::NoVf(_) | Fault::Pause(..) => {
                    bail!("the simulator has no such fault as {fault:?}")
                }
            };
            sim.args(["--fault", &format!("{phase}@{host}={kind}")]);
        }
        sim.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(sim.spawn().context("cannot run godwit-sim")?);
        let ready = || Ok((self.godwit(Host::Beta, "--json guests")?.code == 0).then_some(()));
        command::wait_for("the simulator's sockets", Duration::from_secs(20), ready)
    }

    fn godwit(&self, host: Host, arguments: &str) -> Result<Answer> {
        let mut godwit = Command::new(self.programs.join("godwit"));
        godwit
            .arg("--socket")
            .arg(self.sockets.join(format!("{host}.sock")));
        let output = command::finish(godwit.args(arguments.split(' ')))?;
        Ok(Answer {
            code: output.status.code().context("godwit was killed")?,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn end(&mut self) -> Result<()> {
        self.stop()
    }

    fn broke(&self) -> Option<String> {
        None
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.stop();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}
