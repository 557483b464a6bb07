//! `godwit vfs check`.

use godwit_api::v1::{Failure, Vf, VfCheck, VfUsage};
use tonic::Code;

use crate::fake::{Answer, Daemon, Script};
use crate::story::{place, run};

const VF: &str = "0000:01:10.4";

fn clean() -> VfCheck {
    VfCheck {
        vf: Some(Vf {
            address: VF.into(),
            pool: "blue".into(),
            pf: "enp1s0f0".into(),
            usage: VfUsage::Free.into(),
            ..Vf::default()
        }),
        ..VfCheck::default()
    }
}

fn left() -> VfCheck {
    VfCheck {
        mac: "52:54:00:00:00:01".into(),
        wrong: vec!["MAC 52:54:00:00:00:01".into(), "VLAN 100 with priority 0".into()],
        fix: format!("`godwit vfs check {VF} --clean`"),
        ..clean()
    }
}

fn script(answer: Answer<Vec<VfCheck>>) -> Script {
    Script {
        checks: vec![answer],
        ..Script::default()
    }
}

#[test]
fn as_text_and_json_with_the_code_of_what_is_wrong() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, script(Answer::Yes(vec![left()])));
    let text = run(&socket, &["vfs", "check"]);
    assert_eq!((text.code, text.err.as_str()), (3, ""));
    insta::assert_snapshot!(text.out, @"
    VF            PF        USE   FOUND
    0000:01:10.4  enp1s0f0  free  carries MAC 52:54:00:00:00:01, VLAN 100 with priority 0
                                  fix: `godwit vfs check 0000:01:10.4 --clean`
    ");
    let json = run(&socket, &["vfs", "check", VF, "--json"]);
    assert_eq!((json.code, json.json().len()), (3, 1));
    insta::assert_snapshot!(json.out, @r#"
    {"vfs":[{"address":"0000:01:10.4","pool":"blue","pf":"enp1s0f0","usage":"free","by":"","profile":null,"mac":"52:54:00:00:00:01","wrong":["MAC 52:54:00:00:00:01","VLAN 100 with priority 0"],"fix":"`godwit vfs check 0000:01:10.4 --clean`","not_checked":""}]}
    "#);
    assert_eq!(daemon.asked(), ["check ".to_owned(), format!("check {VF}")]);
}

#[test]
fn nothing_is_wrong() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, script(Answer::Yes(vec![clean()])));
    let text = run(&socket, &["vfs", "check"]);
    assert_eq!(text.code, 0);
    insta::assert_snapshot!(text.out, @"
    VF            PF        USE   FOUND
    0000:01:10.4  enp1s0f0  free  clean
    ");
    drop(_daemon);
    let _daemon = Daemon::start(&socket, script(Answer::Yes(Vec::new())));
    let none = run(&socket, &["vfs", "check"]);
    assert_eq!(
        (none.code, none.out.as_str()),
        (0, "The pools of this host have no VFs.\n")
    );
}

#[test]
fn cleaned_on_request_of_one_vf() {
    let (_dir, socket) = place();
    assert_eq!(run(&socket, &["vfs", "check", "--clean"]).code, 2, "of which VF?");
    {
        let daemon = Daemon::start(&socket, script(Answer::Yes(vec![clean()])));
        assert_eq!(run(&socket, &["vfs", "check", VF, "--clean"]).code, 0);
        assert_eq!(daemon.asked(), [format!("clean {VF}")]);
    }
    let no = Failure {
        reason: "VF_NOT_FREE".into(),
        message: format!("VF {VF} of alpha is not cleaned: guest `web-1` has it"),
        hint: "on alpha: `godwit vfs` lists them".into(),
        ..Failure::default()
    };
    let _daemon = Daemon::start(&socket, script(Answer::No(Code::FailedPrecondition, no)));
    let refused = run(&socket, &["vfs", "check", VF, "--clean"]);
    assert_eq!(refused.code, 1);
    insta::assert_snapshot!(refused.err, @"
    Error: VF 0000:01:10.4 of alpha is not cleaned: guest `web-1` has it
    Hint: on alpha: `godwit vfs` lists them
    ");
}

#[test]
fn a_hosts_words_cannot_command_the_terminal() {
    let (_dir, socket) = place();
    let mut hostile = left();
    hostile.wrong = vec!["\x1b[2J".into()];
    hostile.fix = "x\r\nError: \u{9b}2J".into();
    let _daemon = Daemon::start(&socket, script(Answer::Yes(vec![hostile])));
    for json in [&["vfs", "check"][..], &["vfs", "check", "--json"]] {
        let run = run(&socket, json);
        assert!(
            !run.out.contains(|c: char| c.is_control() && c != '\n'),
            "{run:?}"
        );
    }
}
