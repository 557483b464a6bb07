//! The migration of the tests, moment by moment, and the binary that is told about it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use godwit_api::v1::*;
use serde_json::Value;

use crate::fake::Step;

pub(crate) const ID: &str = "0198c0de-1111-7222-8333-444455556666";
const MIB: u64 = 1 << 20;

pub(crate) fn time(ms: i64) -> Option<prost_types::Timestamp> {
    let ms = 1_767_323_045_067 + ms;
    let nanos = i32::try_from(ms % 1000 * 1_000_000).unwrap();
    Some(prost_types::Timestamp {
        seconds: ms / 1000,
        nanos,
    })
}

pub(crate) fn phase(host: &str, phase: Phase, started: i64, ended: Option<i64>) -> PhaseRecord {
    PhaseRecord {
        host: host.into(),
        phase: phase.into(),
        started: time(started),
        ended: ended.and_then(time),
        ..PhaseRecord::default()
    }
}

/// Accepted; nothing done yet.
pub(crate) fn accepted() -> Migration {
    Migration {
        id: ID.into(),
        guest: "web-1".into(),
        guest_uuid: "11111111-2222-3333-4444-555555555555".into(),
        source: "alpha".into(),
        destination: "beta".into(),
        role: Role::Source.into(),
        phase: Phase::Reserve.into(),
        moved: Moved::Undecided.into(),
        acceleration: Acceleration::Accelerated.into(),
        created: time(0),
        pairs: vec![PairStatus {
            mac: "52:54:00:00:00:01".into(),
            pool: "blue".into(),
            source_vf: "0000:01:10.0".into(),
            destination_vf: "0000:01:10.2".into(),
        }],
        ..Migration::default()
    }
}

pub(crate) fn transferring() -> Migration {
    Migration {
        phase: Phase::Transfer.into(),
        acceleration: Acceleration::Standby.into(),
        timeline: vec![
            phase("alpha", Phase::Reserve, 0, Some(400)),
            phase("alpha", Phase::Transfer, 400, None),
        ],
        progress: Some(TransferProgress {
            memory_total_bytes: 512 * MIB,
            memory_processed_bytes: 200 * MIB,
            memory_remaining_bytes: 256 * MIB,
            bytes_per_second: 100 * MIB,
            elapsed_ms: 2_000,
            downtime_ms: None,
            iteration: 1,
        }),
        ..accepted()
    }
}

pub(crate) fn accelerated() -> Migration {
    let mut migration = Migration {
        phase: Phase::FailBack.into(),
        moved: Moved::Yes.into(),
        acceleration: Acceleration::Accelerated.into(),
        settled: true,
        ended: true,
        timeline: vec![
            phase("alpha", Phase::Reserve, 0, Some(400)),
            phase("alpha", Phase::Transfer, 400, Some(5_400)),
            phase("beta", Phase::Plug, 5_500, Some(7_000)),
        ],
        ..transferring()
    };
    migration.progress.as_mut().unwrap().downtime_ms = Some(214);
    migration
}

pub(crate) fn on_standby() -> Migration {
    Migration {
        acceleration: Acceleration::Standby.into(),
        standby_since: time(7_000),
        because: "the guest's driver did not take the VF".into(),
        ended: false,
        failure: Some(failure("DRIVER", "the VF was not taken", "godwit guests")),
        ..accelerated()
    }
}

pub(crate) fn rolled_back() -> Migration {
    Migration {
        moved: Moved::No.into(),
        settled: true,
        ended: true,
        acceleration: Acceleration::Accelerated.into(),
        failure: Some(failure(
            "TRANSFER_FAILED",
            "the transfer to beta failed",
            "ping beta",
        )),
        ..transferring()
    }
}

pub(crate) fn lost() -> Migration {
    Migration {
        moved: Moved::Unknown.into(),
        acceleration: Acceleration::Unknown.into(),
        needs_person: true,
        settled: true,
        failure: Some(failure(
            "GUEST_NOT_LOCATED",
            "neither host could say where web-1 is",
            "virsh list",
        )),
        ..transferring()
    }
}

/// An operation on a guest that stays, begun.
pub(crate) fn operation(role: Role) -> Migration {
    let vf = || String::from("0000:01:10.4");
    let up = role == Role::Accelerate;
    Migration {
        destination: "alpha".into(),
        role: role.into(),
        phase: if up { Phase::Hold } else { Phase::FailOver }.into(),
        moved: Moved::No.into(),
        acceleration: match up {
            true => Acceleration::Standby,
            false => Acceleration::Accelerated,
        }
        .into(),
        pairs: vec![PairStatus {
            mac: "52:54:00:00:00:01".into(),
            pool: "blue".into(),
            source_vf: if up { String::new() } else { vf() },
            destination_vf: if up { vf() } else { String::new() },
        }],
        policy: Policy::Prefer.into(),
        ..accepted()
    }
}

/// The operation, settled so.
pub(crate) fn stayed(role: Role, acceleration: Acceleration) -> Migration {
    let phases = match role {
        Role::Accelerate => [Phase::Hold, Phase::Plug, Phase::FailBack],
        _ => [Phase::FailOver, Phase::Unplug, Phase::Release],
    };
    let spans = phases.into_iter().zip(0..);
    Migration {
        phase: phases[2].into(),
        acceleration: acceleration.into(),
        settled: true,
        ended: true,
        timeline: spans
            .map(|(of, at)| phase("alpha", of, at * 500, Some(at * 500 + 500)))
            .collect(),
        ..operation(role)
    }
}

/// It rests on its standby, and no VF is free.
pub(crate) fn waits_for_vf() -> Migration {
    Migration {
        phase: Phase::Hold.into(),
        acceleration: Acceleration::Standby.into(),
        standby_since: time(0),
        because: "host alpha has no free VF in pool `blue` (0 of 2 free)".into(),
        ended: false,
        timeline: vec![PhaseRecord {
            failed: true,
            detail: "host alpha has no free VF in pool `blue` (0 of 2 free)".into(),
            ..phase("alpha", Phase::Hold, 0, Some(40))
        }],
        failure: Some(failure("NO_FREE_VF", "host alpha has no free VF", "godwit vfs")),
        ..stayed(Role::Accelerate, Acceleration::Standby)
    }
}

pub(crate) fn failure(reason: &str, message: &str, hint: &str) -> Failure {
    Failure {
        reason: reason.into(),
        message: message.into(),
        causes: vec!["a cause of it".into()],
        hint: hint.into(),
    }
}

pub(crate) fn guest() -> Guest {
    Guest {
        name: "web-1".into(),
        uuid: "11111111-2222-3333-4444-555555555555".into(),
        state: "running".into(),
        managed: true,
        acceleration: Acceleration::Accelerated.into(),
        agent: true,
        pairs: vec![GuestPair {
            mac: "52:54:00:00:00:01".into(),
            pool: "blue".into(),
            standby: "net0".into(),
            primary: "ua-godwit-0".into(),
            vf: "0000:01:10.0".into(),
        }],
        ..Guest::default()
    }
}

pub(crate) fn say(migration: Migration) -> Step {
    Step::Say(Box::new(migration))
}

/// A directory of its own for every test, with the socket's path.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("godwitd.sock");
    (dir, socket)
}

pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    command.args(args).env("GODWIT_SOCKET", socket);
    // Whoever runs the tests may have contexts and tastes.
    command.env("GODWIT_CONFIG", "/nowhere/config.toml");
    for variable in ["GODWIT_HOST", "GODWIT_CONTEXT", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a run of the binary gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The objects on standard output.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }
}

pub(crate) fn run(socket: &Path, args: &[&str]) -> Run {
    finish(command(socket, args).spawn().unwrap())
}

/// Reads what it tells, until that is in it.
pub(crate) fn read_up_to(child: &mut Child, end: &str) {
    let mut told = String::new();
    let out = child.stdout.as_mut().unwrap();
    while !told.contains(end) {
        let mut byte = [0];
        out.read_exact(&mut byte).unwrap();
        told.push(char::from(byte[0]));
    }
}

/// As ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// Waits for the end, 60 s at most: a command that hangs is a failed test, not a hung one.
pub(crate) fn finish(mut child: Child) -> Run {
    let read = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            stream
                .into_iter()
                .for_each(|mut stream| drop(stream.read_to_string(&mut text)));
            text
        })
    };
    let out = read(child.stdout.take().map(|out| Box::new(out) as _));
    let err = read(child.stderr.take().map(|err| Box::new(err) as _));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("still running: {:?} {:?}", out.join(), err.join());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let code = status.code().unwrap_or_else(|| panic!("{status}"));
    Run {
        code,
        out: out.join().unwrap(),
        err: err.join().unwrap(),
    }
}
