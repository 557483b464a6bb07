//! `godwit hook install` and `godwit hook check`. Neither asks libvirt.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use godwit_api::v1::Failure;
use godwit_hook::call::Call;
use godwit_hook::frame::{Answer, Question};
use godwit_hook::settings::Settings;

use crate::args::HookAct;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

/// Below libvirt's directory of hooks: one program of several for guests of QEMU.
const PLACE: &str = "qemu.d/godwit";

/// A daemon that is there answers at once.
const ANSWERS: Duration = Duration::from_secs(3);

/// What is at the hook's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Current,
    OtherVersion,
    Foreign,
}

pub(super) fn hook(act: &HookAct, out: &mut Output) -> Result<u8, Error> {
    match act {
        HookAct::Install { from, hooks } => install(from.as_deref(), hooks, out),
        HookAct::Check { from, hooks, state } => check(from.as_deref(), hooks, state, out),
    }
}

fn install(from: Option<&Path>, hooks: &Path, out: &mut Output) -> Result<u8, Error> {
    let (from, place) = (program(from), hooks.join(PLACE));
    let program = fs::read(&from).map_err(|error| failed("cannot be read", &from, &error))?;
    if !is_ours(&program) {
        return Err(refused(
            format!("{} is not godwit-hook", from.display()),
            "name it: `godwit hook install --from PATH`",
        ));
    }
    let found = found(&place, &program)?;
    if found == Found::Foreign {
        let hint = format!("look at it, then move it away: `file {}`", place.display());
        return Err(refused(
            format!("{} is another program: it is left alone", place.display()),
            &hint,
        ));
    }
    let alone = found == Found::Nothing && !has_others(hooks);
    put(hooks, &place, &program).map_err(|error| failed("could not be written", &place, &error))?;
    if out.is_json() {
        out.json(&json::HookInstalled {
            path: &place.display().to_string(),
            restart_libvirt: alone,
        })?;
        return Ok(exit::DONE);
    }
    out.line(&format!("{} is installed.", place.display()))?;
    if alone {
        out.line("libvirt has not seen it if it had no hook when it started: `systemctl restart libvirtd` (or virtqemud, where that runs guests); guests run on.")?;
    }
    Ok(exit::DONE)
}

/// Beside the program that runs.
fn program(from: Option<&Path>) -> PathBuf {
    let beside = || {
        std::env::current_exe()
            .ok()?
            .parent()
            .map(|place| place.join("godwit-hook"))
    };
    from.map(Path::to_owned)
        .or_else(beside)
        .unwrap_or_else(|| "godwit-hook".into())
}

/// A script that only names it is somebody's own.
fn is_ours(program: &[u8]) -> bool {
    let mark = godwit_hook::MARK.as_bytes();
    program.starts_with(b"\x7fELF") && program.windows(mark.len()).any(|text| text == mark)
}

fn found(place: &Path, program: &[u8]) -> Result<Found, Error> {
    match fs::read(place) {
        Ok(there) if there == program => Ok(Found::Current),
        Ok(there) if is_ours(&there) => Ok(Found::OtherVersion),
        Ok(_) => Ok(Found::Foreign),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed("cannot be read", place, &error)),
    }
}

/// libvirt may be running it at this moment, so it is never half there, nor is there another program beside it meanwhile.
fn put(hooks: &Path, place: &Path, program: &[u8]) -> io::Result<()> {
    fs::create_dir_all(place.parent().unwrap_or(hooks))?;
    let draft = hooks.join(".godwit-hook.new");
    fs::write(&draft, program)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o755))?;
    fs::rename(&draft, place)
}

/// Another hook of guests is there already, so libvirt looks into the directory if that is older than it.
fn has_others(hooks: &Path) -> bool {
    let listed = fs::read_dir(hooks.join("qemu.d")).into_iter().flatten().flatten();
    let mut all = listed.map(|entry| entry.path()).chain([hooks.join("qemu")]);
    all.any(|path| !path.ends_with(PLACE) && is_executable(&path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn check(from: Option<&Path>, hooks: &Path, state: &Path, out: &mut Output) -> Result<u8, Error> {
    let (place, from) = (hooks.join(PLACE), program(from));
    let found = found(&place, &fs::read(from).unwrap_or_default())?;
    let executable = is_executable(&place);
    let settings = Settings::read(&state.join("hook.conf"));
    let answers = answer(&settings);
    let checked = json::HookChecked {
        path: &place.display().to_string(),
        installed: matches!(found, Found::Current | Found::OtherVersion),
        current: found == Found::Current,
        executable,
        policy: settings.policy.name(),
        deadline_ms: settings.deadline.as_millis() as u64,
        socket: &settings.socket.display().to_string(),
        answers: answers.is_ok(),
        because: answers.as_ref().err().map_or("", String::as_str),
    };
    let code = match (
        checked.installed && executable,
        checked.current && checked.answers,
    ) {
        (false, _) => exit::NEEDS_PERSON,
        (true, false) => exit::ON_STANDBY,
        (true, true) => exit::DONE,
    };
    if out.is_json() {
        out.json(&checked)?;
        return Ok(code);
    }
    let program = match found {
        Found::Nothing => "not there: `godwit hook install`",
        Found::Foreign => "another program, which is left alone: look at it, and move it away",
        _ if !executable => "not executable: `godwit hook install`",
        Found::Current => "there, and of this version",
        Found::OtherVersion => "there, of another version than this godwit: `godwit hook install`",
    };
    out.line(&format!("{}: {program}", checked.path))?;
    match &answers {
        Ok(()) => out.line(&format!("godwitd answers at {}", checked.socket))?,
        Err(why) => out.line(&format!("godwitd does not answer at {}: {why}", checked.socket))?,
    }
    out.line(&format!(
        "without an answer within {} ms: {} guests of Godwit's",
        checked.deadline_ms, checked.policy
    ))?;
    Ok(code)
}

/// As the hook asks, about no guest.
fn answer(settings: &Settings) -> Result<(), String> {
    let words = |error: io::Error| error.to_string();
    let mut stream = UnixStream::connect(&settings.socket).map_err(words)?;
    let waits = settings.deadline.min(ANSWERS);
    stream.set_read_timeout(Some(waits)).map_err(words)?;
    stream.set_write_timeout(Some(waits)).map_err(words)?;
    let question = Question {
        call: Call::of(["-", "check", "begin", "-"].map(str::to_owned)),
        waits: true,
        xml: Vec::new(),
    };
    question.write(&mut stream).map_err(words)?;
    Answer::read(&mut stream).map(drop).map_err(words)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let mut failure = failure(format!("{} {what}", path.display()), "godwit hook install --help");
    failure.causes.push(error.to_string());
    Error::Refused {
        failure: Box::new(failure),
    }
}

fn refused(message: String, hint: &str) -> Error {
    let failure = Box::new(failure(message, hint));
    Error::Refused { failure }
}

fn failure(message: String, hint: &str) -> Failure {
    Failure {
        reason: "HOOK".into(),
        message,
        causes: Vec::new(),
        hint: hint.into(),
    }
}
