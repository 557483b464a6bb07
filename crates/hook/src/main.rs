//! `godwit-hook`: libvirt runs it from `/etc/libvirt/hooks/qemu.d/`. What it does is in the library, [`godwit_hook`].

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use godwit_hook::{
    call::Call,
    run::{Verdict, run},
    settings::{self, Settings},
};

fn main() -> ExitCode {
    let arguments = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    let call = Call::of(arguments);
    if let Some(text) = about_itself(&call) {
        let _ = io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let read = || {
        let path = env::var_os(settings::ELSEWHERE).map_or(settings::PATH.into(), PathBuf::from);
        Settings::read(&path)
    };
    match run(call, io::stdin().lock(), read) {
        Verdict::Untouched => ExitCode::SUCCESS,
        Verdict::Rewritten(xml) => match io::stdout().write_all(&xml).and_then(|()| io::stdout().flush()) {
            Ok(()) => ExitCode::SUCCESS,
            // Half an XML is none.
            Err(error) => refuse(&format!(
                "godwit: the changed XML could not be handed over: {error}"
            )),
        },
        Verdict::Refused(why) => refuse(&why),
    }
}

/// What a person asked for: libvirt names an operation, whatever its guest's name is.
fn about_itself(call: &Call) -> Option<String> {
    match call.guest.as_str() {
        _ if !call.operation.is_empty() => None,
        "--version" => Some(format!("godwit-hook {}\n", env!("CARGO_PKG_VERSION"))),
        "--man" => Some(include_str!("godwit-hook.8").into()),
        _ => None,
    }
}

fn refuse(why: &str) -> ExitCode {
    let line: String = why
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // Without a place for the sentence the refusal stands all the same.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::FAILURE
}
