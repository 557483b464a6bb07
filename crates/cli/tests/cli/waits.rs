//! Waiting: what ctrl-C asks at a terminal, and how long it waits; who wants to hear little; who stops listening.

use std::process::{Child, Stdio};

use crate::fake::{Answer, Daemon, Script, Step};
use crate::story::{
    ID, Run, accelerated, accepted, command, failure, finish, guest, interrupt, operation, place,
    rolled_back, run, say, stayed, transferring,
};
use crate::terminal::{Screen, terminal};
use godwit_api::v1::{Acceleration, Role};
use tonic::Code;

const QUESTION: &str = "Leave the migration running, cancel it, or watch on? [l/c/w] (ctrl-C leaves it) ";

/// A migration in its transfer for ever; watched anew, it is so.
fn hangs_then(end: Option<godwit_api::v1::Migration>) -> Script {
    let hangs = vec![say(transferring()), Step::Hang];
    let watch = match end {
        Some(end) => vec![hangs, vec![say(transferring()), say(end)]],
        None => vec![hangs; 8],
    };
    Script {
        create: vec![Answer::Yes(accepted())],
        get: vec![Answer::Yes(transferring())],
        watch,
        ..Script::default()
    }
}

/// At a terminal, in its transfer, interrupted once.
fn asked(socket: &std::path::Path, arguments: &[&str]) -> (Child, Screen) {
    let (screen, ours) = terminal(100);
    let child = command(socket, arguments)
        .stdin(Stdio::from(ours.try_clone().unwrap()))
        .stdout(Stdio::from(ours))
        .spawn()
        .unwrap();
    let mut screen = Screen::new(screen);
    screen.wait_for("MiB/s");
    interrupt(&child);
    screen.wait_for(QUESTION);
    (child, screen)
}

#[test]
fn at_a_terminal_ctrl_c_asks_and_cancel_is_an_answer() {
    let (_dir, socket) = place();
    let mut script = hangs_then(Some(rolled_back()));
    script.cancel = vec![Answer::Yes(transferring())];
    let daemon = Daemon::start(&socket, script);
    let (child, mut screen) = asked(&socket, &["migrate", "web-1", "beta", "--wait"]);
    screen.type_in("what?\n");
    screen.wait_for(QUESTION);
    screen.type_in("c\n");
    daemon.wait_for(&format!("cancel {ID}"));
    let run = finish(child);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.err.starts_with("Error: the transfer to beta failed\n"),
        "{run:?}"
    );
    let seen = screen.rest();
    assert!(seen.contains("web-1 stays on alpha.\r\n"), "{seen:?}");
    // What was told before the question is not told again.
    assert!(!seen.contains("reserve"), "{seen:?}");
}

#[test]
fn at_a_terminal_a_second_ctrl_c_leaves_and_says_how_to_come_back() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, hangs_then(None));
    let (child, mut screen) = asked(&socket, &["watch", "0198"]);
    interrupt(&child);
    screen.wait_for(&format!("To wait again: godwit watch {ID}\r\n"));
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (130, ""));
    assert!(!daemon.asked().iter().any(|asked| asked.starts_with("cancel")));
}

#[test]
fn at_a_terminal_no_answer_leaves_it_after_half_a_minute() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, hangs_then(None));
    let (child, mut screen) = asked(&socket, &["watch", "0198"]);
    screen.wait_for("No longer watched: the migration goes on.\r\n");
    assert_eq!(finish(child).code, 130);
    assert!(!daemon.asked().iter().any(|asked| asked.starts_with("cancel")));
}

#[test]
fn at_a_terminal_watching_is_taken_up_again_and_a_refused_cancel_is_told() {
    let (_dir, socket) = place();
    let mut script = hangs_then(None);
    script.watch.truncate(2);
    script.watch.push(vec![say(accelerated())]);
    let late = failure("TOO_LATE_TO_CANCEL", "the guest has left", "godwit watch");
    script.cancel = vec![Answer::No(Code::FailedPrecondition, late)];
    let _daemon = Daemon::start(&socket, script);
    let (child, mut screen) = asked(&socket, &["migrate", "web-1", "beta", "--wait"]);
    screen.type_in("w\n");
    screen.wait_for("MiB/s");
    interrupt(&child);
    screen.wait_for(QUESTION);
    screen.type_in("cancel\n");
    let run = finish(child);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.starts_with("Error: the guest has left\n"), "{run:?}");
    assert!(screen.rest().contains("web-1 runs on beta.\r\n"));
}

#[test]
fn what_cannot_be_cancelled_is_left_without_a_question() {
    let (_dir, socket) = place();
    let script = Script {
        get: vec![Answer::Yes(operation(Role::Accelerate))],
        watch: vec![vec![say(operation(Role::Accelerate)), Step::Hang]],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let (screen, ours) = terminal(100);
    let child = command(&socket, &["watch", "0198"])
        .stdin(Stdio::from(ours.try_clone().unwrap()))
        .stdout(Stdio::from(ours))
        .spawn()
        .unwrap();
    let mut screen = Screen::new(screen);
    screen.wait_for("waiting for the next phase");
    interrupt(&child);
    screen.wait_for("No longer watched: the operation goes on.\r\n");
    assert_eq!(finish(child).code, 130);
}

#[test]
fn a_wait_ends_at_its_time_and_says_that_the_migration_goes_on() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, hangs_then(None));
    for arguments in [
        &["migrate", "web-1", "beta", "--wait", "--timeout", "1s"][..],
        &["watch", "0198", "--timeout", "1s"],
    ] {
        let late = run(&socket, arguments);
        assert_eq!(late.code, 124, "{late:?}");
        assert_eq!(
            late.err,
            format!(
                "Error: the migration of web-1 is not settled after 1.0 s; it goes on\nHint: to wait again: godwit watch {ID}\n"
            )
        );
    }
    let json = run(&socket, &["watch", "0198", "--timeout", "1s", "--json"]);
    assert_eq!(json.json().pop().unwrap()["error"]["reason"], "NOT_SETTLED");
    assert!(!daemon.asked().iter().any(|asked| asked.starts_with("cancel")));
}

#[test]
fn a_wait_for_the_first_answer_has_the_same_end() {
    let (_dir, socket) = place();
    let script = Script {
        create: vec![Answer::Never],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let late = run(
        &socket,
        &[
            "migrate",
            "web-1",
            "beta",
            "--wait",
            "--timeout",
            "1s",
            "--request-id",
            "mine",
        ],
    );
    assert_eq!(late.code, 124, "{late:?}");
    assert_eq!(
        late.err,
        "Error: godwitd has not answered after 1.0 s: it is not known whether the migration was accepted\n\
         Hint: godwit migrate web-1 beta --wait --request-id mine\n"
    );
}

#[test]
fn a_wait_for_several_guests_has_one_end() {
    let (_dir, socket) = place();
    let mut script = Script {
        watch: vec![
            vec![say(stayed(Role::Decelerate, Acceleration::Standby))],
            vec![say(operation(Role::Decelerate)), Step::Hang],
        ],
        ..Script::default()
    };
    let operations = vec![
        operation(Role::Decelerate),
        operation(Role::Decelerate),
        operation(Role::Decelerate),
    ];
    script.stay.pf = vec![Answer::Yes((operations, Vec::new()))];
    let _daemon = Daemon::start(&socket, script);
    let late = run(
        &socket,
        &["standby", "--pf", "enp1s0f0", "--wait", "--timeout", "2s"],
    );
    assert_eq!(late.code, 124, "{late:?}");
    assert!(
        late.out.ends_with(&format!("And web-1: godwit show {ID}\n")),
        "{late:?}"
    );
}

#[test]
fn lengths_of_time_have_a_unit_and_bounds() {
    for wrong in [
        "90",
        "",
        "soon",
        "0s",
        "-5s",
        "500ms",
        "169h",
        "99999999999999999999h",
    ] {
        let refused = run(
            "/nowhere".as_ref(),
            &["watch", "0198", &format!("--timeout={wrong}")],
        );
        assert_eq!(refused.code, 2, "{wrong}: {refused:?}");
    }
    let alone = run(
        "/nowhere".as_ref(),
        &["migrate", "web-1", "beta", "--timeout", "5m"],
    );
    assert_eq!(alone.code, 2, "{alone:?}");
    for right in ["1h30m", "90s", "168h", "2 min", "1h 5m"] {
        let asked = run("/nowhere".as_ref(), &["watch", "0198", "--timeout", right]);
        assert_eq!(asked.code, 1, "{right}: {asked:?}");
    }
}

#[test]
fn the_quiet_one_says_only_why_it_failed() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, hangs_then(None));
    let told = run(&socket, &["migrate", "web-1", "beta", "-q"]);
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, "", ""));
    let late = run(&socket, &["watch", "0198", "--quiet", "--timeout", "1s"]);
    assert_eq!((late.code, late.out.as_str()), (124, ""));
    assert!(late.err.starts_with("Error: "), "{late:?}");
    let away = run("/nowhere".as_ref(), &["guests", "--quiet", "--json"]);
    assert_eq!(away.code, 1);
    assert_eq!(away.json()[0]["error"]["reason"], "DAEMON_AWAY");
}

/// The text that a terminal gets of an error, with these variables.
fn error_with(variables: &[(&str, &str)]) -> String {
    let (screen, ours) = terminal(100);
    let mut command = command("/nowhere".as_ref(), &["guests"]);
    command.stderr(Stdio::from(ours));
    for (name, value) in variables {
        command.env(name, value);
    }
    let child = command.spawn().unwrap();
    // Its own end of the terminal would keep the screen open.
    drop(command);
    assert_eq!(finish(child).code, 1);
    Screen::new(screen).rest()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let coloured = error_with(&[("TERM", "xterm")]);
    assert!(
        coloured.starts_with("\u{1b}[1;31mError:\u{1b}[0m godwitd cannot"),
        "{coloured:?}"
    );
    for variables in [
        &[("TERM", "xterm"), ("NO_COLOR", "1")][..],
        &[("TERM", "dumb")],
        &[("TERM", "")],
    ] {
        let plain = error_with(variables);
        assert!(
            plain.starts_with("Error: godwitd cannot"),
            "{variables:?}: {plain:?}"
        );
        assert!(!plain.contains('\u{1b}'), "{variables:?}: {plain:?}");
    }
    let piped = run("/nowhere".as_ref(), &["guests"]);
    assert!(!piped.err.contains('\u{1b}'), "{piped:?}");
}

/// As `godwit ... | head -1` has it after the first line.
pub(crate) fn into_nowhere(socket: &std::path::Path, arguments: &[&str]) -> Run {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    finish(
        command(socket, arguments)
            .stdout(Stdio::from(writer))
            .spawn()
            .unwrap(),
    )
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_any_command() {
    let (_dir, socket) = place();
    let script = Script {
        list: vec![accelerated()],
        guests: vec![guest()],
        hosts: vec![godwit_api::v1::Host::default()],
        vfs: vec![godwit_api::v1::Vf::default()],
        holds: vec![godwit_api::v1::Hold::default()],
        checks: vec![Answer::Yes(vec![godwit_api::v1::VfCheck::default()])],
        doctor: vec![Answer::Yes(godwit_api::v1::DoctorResponse::default())],
        plan: vec![Answer::Yes(godwit_api::v1::PlanMigrationResponse::default())],
        adopt: vec![Answer::Yes(guest())],
        cancel: vec![Answer::Yes(transferring())],
        retry: vec![Answer::Yes(transferring())],
        resolve: vec![Answer::Yes(transferring())],
        ..hangs_then(None)
    };
    let _daemon = Daemon::start(&socket, script);
    for line in [
        "guests",
        "list",
        "history",
        "show 0198",
        "status",
        "status 0198",
        "hosts",
        "vfs",
        "vfs check",
        "holds",
        "doctor",
        "plan web-1 beta",
        "adopt web-1",
        "cancel 0198",
        "retry 0198",
        "resolve 0198 --runs-on beta",
        "migrate web-1 beta",
        "migrate web-1 beta --wait",
        "watch 0198",
        "explain",
        "explain USAGE",
        "context list",
        "context show",
        "completions bash",
        "man",
        "--help",
        "--version",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        for json in [&[][..], &["--json"]] {
            let run = into_nowhere(&socket, &[json, &arguments[..]].concat());
            let help = line.starts_with("--");
            assert_eq!(
                (run.code, run.err.as_str()),
                (if help { 0 } else { 141 }, ""),
                "{line} {json:?}"
            );
        }
    }
    let godwit = env!("CARGO_BIN_EXE_godwit");
    let piped = std::process::Command::new("bash")
        .args([
            "-c",
            &format!("set -o pipefail; {godwit} explain | head -1 | wc -l"),
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "1\n");
    assert!(piped.stderr.is_empty(), "{piped:?}");
}
