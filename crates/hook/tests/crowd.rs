//! Many guests that come at once: each program has the answer to its own question, whole.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use godwit_hook::frame::{Answer, Question};
use godwit_hook::settings::{ELSEWHERE, Policy, Settings};

/// As many as a host may get when another is drained.
const GUESTS: usize = 10;

/// More than a pipe and a socket hold, so that each program is half-way while the others are.
const LARGE: usize = 1 << 20;

fn xml(number: usize) -> String {
    let filler = "x".repeat(LARGE);
    format!(
        "<domain><name>web-{number}</name><teaming type='transient' persistent='ua-net0'/><!--{filler}--></domain>\n"
    )
}

#[test]
fn ten_at_once_have_each_its_own_answer() {
    let place = tempfile::tempdir().unwrap();
    let (socket, conf) = (place.path().join("hook.sock"), place.path().join("hook.conf"));
    let settings = Settings {
        policy: Policy::Refuse,
        socket: socket.clone(),
        deadline: Duration::from_secs(60),
    };
    settings.write(&conf).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    // No answer before all have asked, and the last one first.
    let served = std::thread::spawn(move || {
        let ask = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let question = Question::read(&mut stream).unwrap();
            (stream, question)
        };
        let all: Vec<_> = (0..GUESTS).map(ask).collect();
        for (mut stream, question) in all.into_iter().rev() {
            let text = String::from_utf8(question.xml).unwrap();
            let other = text.replace("<!--", &format!("<!--{}", question.call.guest));
            Answer::Rewritten(other.into()).write(&mut stream).unwrap();
        }
    });
    let begin = |number: usize| -> Child {
        let mut hook = Command::new(env!("CARGO_BIN_EXE_godwit-hook"));
        hook.args([&format!("web-{number}"), "migrate", "begin", "-"]);
        hook.env(ELSEWHERE, &conf)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = hook.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(xml(number).as_bytes())
            .unwrap();
        child
    };
    let children: Vec<Child> = (0..GUESTS).map(begin).collect();
    let ends = children
        .into_iter()
        .map(|child| std::thread::spawn(move || child.wait_with_output().unwrap()));
    let ends: Vec<_> = ends.collect();
    for (number, end) in ends.into_iter().enumerate() {
        let output = end.join().unwrap();
        assert!(output.status.success(), "web-{number}: {:?}", output.status);
        let expected = xml(number).replace("<!--", &format!("<!--web-{number}"));
        assert!(
            output.stdout == expected.as_bytes(),
            "web-{number} has another's answer"
        );
    }
    served.join().unwrap();
}
