//! `godwit doctor`.

use godwit_api::v1::{DoctorResponse, Failure, Finding, NotChecked, Severity};
use tonic::Code;

use crate::fake::{Answer, Daemon, Script};
use crate::story::{place, run};

fn found(severity: Severity, reason: &str, what: &str) -> Finding {
    Finding {
        severity: severity.into(),
        reason: reason.into(),
        about: "pf0".into(),
        what: what.into(),
        why: "guests do not fail back to its VFs".into(),
        fix: "ip link set pf0 up".into(),
    }
}

fn script(findings: &[Finding]) -> Script {
    let answer = DoctorResponse {
        host: "alpha".into(),
        guest: String::new(),
        findings: findings.to_vec(),
        not_checked: vec![NotChecked {
            check: "/dev/kvm".into(),
            why: "permission denied".into(),
        }],
    };
    Script {
        doctor: vec![Answer::Yes(answer)],
        ..Script::default()
    }
}

fn down() -> Finding {
    found(Severity::Error, "PF_DOWN", "pf0 is switched off")
}

#[test]
fn as_text_and_as_json() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, script(&[down()]));
    let text = run(&socket, &["doctor"]);
    assert_eq!((text.code, text.err.as_str()), (5, ""));
    insta::assert_snapshot!(text.out, @"
    error: pf0 is switched off [PF_DOWN]
      why: guests do not fail back to its VFs
      fix: ip link set pf0 up

    not checked: /dev/kvm: permission denied

    alpha: 1 error, 1 check not made
    ");
    let json = run(&socket, &["doctor", "web-1", "--json"]);
    assert_eq!((json.code, json.err.as_str(), json.json().len()), (5, "", 1));
    insta::assert_snapshot!(json.out, @r#"
    {"host":"alpha","guest":"","findings":[{"severity":"error","reason":"PF_DOWN","about":"pf0","what":"pf0 is switched off","why":"guests do not fail back to its VFs","fix":"ip link set pf0 up"}],"not_checked":[{"check":"/dev/kvm","why":"permission denied"}]}
    "#);
    assert_eq!(daemon.asked(), ["doctor ", "doctor web-1"]);
}

#[test]
fn the_exit_code_says_the_worst() {
    let hint = found(Severity::Hint, "NO_LISTENER", "no listener");
    let warning = found(Severity::Warning, "POOL_UNMATCHED", "a pool is alone");
    let newer = Finding {
        severity: 99,
        ..hint.clone()
    };
    for (findings, code) in [
        (vec![], 0),
        (vec![hint.clone()], 0),
        (vec![warning.clone(), hint.clone()], 3),
        (vec![hint.clone(), down(), warning], 5),
        (vec![newer], 5),
    ] {
        let (_dir, socket) = place();
        let _daemon = Daemon::start(&socket, script(&findings));
        for json in [&["doctor"][..], &["doctor", "--json"]] {
            assert_eq!(run(&socket, json).code, code, "{findings:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_no_finding() {
    let (_dir, socket) = place();
    assert_eq!(run(&socket, &["doctor"]).code, 1, "no daemon");
    let unknown = Failure {
        reason: "GUEST_UNKNOWN".into(),
        message: "guest `nobody` is not known on alpha".into(),
        hint: "godwit guests".into(),
        ..Failure::default()
    };
    let script = Script {
        doctor: vec![Answer::No(Code::NotFound, unknown)],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let refused = run(&socket, &["doctor", "nobody"]);
    assert_eq!(refused.code, 1);
    insta::assert_snapshot!(refused.err, @"
    Error: guest `nobody` is not known on alpha
    Hint: godwit guests
    ");
    assert_eq!(run(&socket, &["doctor", ""]).code, 2);
}

#[test]
fn a_peers_words_cannot_command_the_terminal() {
    let (_dir, socket) = place();
    let hostile = Finding {
        fix: "\u{9b}2J\r\nError: x".into(),
        ..found(
            Severity::Warning,
            "\x1b[31m",
            "be\x1b[2Jta says: \x1b]0;pwned\x07",
        )
    };
    let _daemon = Daemon::start(&socket, script(&[hostile]));
    for arguments in [&["doctor"][..], &["doctor", "--json"]] {
        let run = run(&socket, arguments);
        assert!(
            !run.out.contains(|c: char| c.is_control() && c != '\n'),
            "{run:?}"
        );
    }
}
