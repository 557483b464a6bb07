//! Any bytes on the hook's socket, in its file, and as the XML that libvirt gives it.

// Helper functions outside #[test] are not covered by clippy.toml.
#![allow(clippy::unwrap_used)]
use std::{fs, path::Path, time::Duration};

use godwit_fuzz::Target;
use godwit_hook::{
    call::{Call, Right},
    frame::{Answer, Question},
    run::{Verdict, run},
    search,
    settings::{Policy, Settings},
};

fn call(operation: &str) -> Call {
    Call::of(["web-1", operation, "begin", "-"].map(str::to_owned))
}

#[test]
fn fuzz_hook_frames() {
    let target = Target {
        name: "hook-frames",
        words: &[
            "GWQ1",
            "GWA1",
            "untouched",
            "rewritten",
            "refused",
            "undecided",
            "migrate",
            "begin",
            "\0\0\0\x01",
        ],
        most: 4096,
    };
    let mut question = Vec::new();
    let xml = b"<domain/>".to_vec();
    let asked = Question {
        call: call("migrate"),
        waits: true,
        xml,
    };
    asked.write(&mut question).unwrap();
    let mut seeds = vec![question];
    for answer in [
        Answer::Untouched,
        Answer::Rewritten(b"<domain/>".to_vec()),
        Answer::Refused("no".into()),
    ] {
        let mut frame = Vec::new();
        answer.write(&mut frame).unwrap();
        seeds.push(frame);
    }
    target.run(seeds, |input| {
        let question = Question::read(&mut &input[..]);
        if let Ok(question) = &question {
            let mut again = Vec::new();
            question.write(&mut again).unwrap();
            assert_eq!(&Question::read(&mut &again[..]).unwrap(), question);
            assert!(input.starts_with(&again), "there is one way to write it");
        }
        let answer = Answer::read(&mut &input[..]);
        if let Ok(answer) = &answer {
            let mut again = Vec::new();
            answer.write(&mut again).unwrap();
            assert_eq!(&Answer::read(&mut &again[..]).unwrap(), answer);
        }
        (
            question
                .map(|question| question.call.right())
                .map_err(|error| error.to_string()),
            answer
                .map(|answer| std::mem::discriminant(&answer))
                .map_err(|error| error.to_string()),
        )
    });
}

#[test]
fn fuzz_hook_settings() {
    let place = tempfile::tempdir().unwrap();
    let (file, written) = (place.path().join("hook.conf"), place.path().join("again.conf"));
    let target = Target {
        name: "hook-settings",
        words: &[
            "policy=",
            "pass",
            "refuse",
            "socket=/",
            "deadline-ms=",
            "\n",
            "=",
            "#",
        ],
        most: 1024,
    };
    Settings::default().write(&file).unwrap();
    target.run(
        [
            fs::read(&file).unwrap(),
            b"policy=pass\nsocket=/x\ndeadline-ms=3\n".to_vec(),
        ],
        |input| {
            fs::write(&file, input).unwrap();
            let settings = Settings::read(&file);
            assert!(settings.socket.is_absolute());
            assert!((Duration::from_millis(1)..=Settings::LONGEST).contains(&settings.deadline));
            if settings.policy == Policy::Pass {
                assert!(
                    String::from_utf8_lossy(input).contains("policy=pass"),
                    "the careful way"
                );
            }
            settings.write(&written).unwrap();
            assert_eq!(Settings::read(&written), settings);
            (
                settings.policy,
                settings.socket.as_os_str().len(),
                settings.deadline.as_millis().ilog2(),
            )
        },
    );
}

/// No daemon is there: what is not Godwit's passes, what is follows the policy, and only `migrate begin` refuses.
#[test]
fn fuzz_hook_calls() {
    let target = Target {
        name: "hook-calls",
        words: &[
            "urn:godwit:domain:1",
            "<teaming",
            "transient",
            "migrate",
            "reconnect",
            "release",
            "<metadata>",
        ],
        most: 2048,
    };
    let seeds = [
        &b"migrate\n<domain><metadata xmlns='urn:godwit:domain:1'/></domain>"[..],
        b"reconnect\n<domain><teaming type='transient'/></domain>",
        b"stopped\n<domain/>",
    ];
    target.run(seeds.map(<[u8]>::to_vec), |input| {
        let cut = input
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(input.len());
        let (operation, xml) = input.split_at(cut);
        let call = call(&String::from_utf8_lossy(operation));
        let settings = || Settings {
            socket: Path::new("/nonexistent/hook.sock").into(),
            ..Settings::default()
        };
        let right = call.right();
        let verdict = run(call, xml, settings);
        let ours = search::concerns(xml);
        match &verdict {
            Verdict::Untouched => assert!(right != Right::Decide || !ours),
            Verdict::Refused(why) => {
                assert!(right == Right::Decide && ours);
                assert!(!why.contains('\n'), "one sentence: {why}");
            }
            Verdict::Rewritten(_) => panic!("by whom?"),
        }
        (right, ours)
    });
}
