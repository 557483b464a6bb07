//! The program as libvirt runs it, against sockets that answer, hang, lie or are not there.

// A test's helpers may fail as loudly as its tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use godwit_hook::{
    frame::{Answer, MOST_XML, Question},
    settings::{ELSEWHERE, Policy, Settings},
};
use tempfile::TempDir;

const MANAGED: &str = "<domain type='kvm'><name>web-1</name><metadata><godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" \
     version=\"1\"/></metadata></domain>\n";
const TEAMED: &str = "<domain><devices><interface type='hostdev'><teaming type='transient' persistent='ua-net0'/>\
     </interface></devices></domain>\n";
const OTHER: &str = "<domain type='kvm'><name>db-1</name></domain>\n";

/// A hook whose settings name a socket of the test.
struct Hook {
    place: TempDir,
}

impl Hook {
    fn new(policy: Policy, deadline: Duration) -> Hook {
        let place = tempfile::tempdir().unwrap();
        let hook = Hook { place };
        let settings = Settings {
            policy,
            socket: hook.socket(),
            deadline,
        };
        settings.write(&hook.settings()).unwrap();
        hook
    }

    fn refusing() -> Hook {
        Hook::new(Policy::Refuse, Duration::from_secs(20))
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("hook.sock")
    }

    fn settings(&self) -> PathBuf {
        self.place.path().join("hook.conf")
    }

    /// Serves one connection.
    fn serve(&self, work: impl FnOnce(UnixStream) + Send + 'static) -> thread::JoinHandle<()> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || work(listener.accept().unwrap().0))
    }

    fn answer(&self, answer: Answer) -> thread::JoinHandle<()> {
        self.serve(move |mut stream| {
            Question::read(&mut stream).unwrap();
            answer.write(&mut stream).unwrap();
        })
    }

    fn call(&self, call: &str, xml: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_godwit-hook"))
            .args(call.split(' '))
            .env(ELSEWHERE, self.settings())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Like libvirt: who does not read all is not to blame.
        let _ = child.stdin.take().unwrap().write_all(xml);
        child.wait_with_output().unwrap()
    }
}

fn comes(hook: &Hook, xml: &str) -> Output {
    hook.call("web-1 migrate begin -", xml.as_bytes())
}

fn untouched(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b""[..], &b""[..]));
}

/// One line, and what it says.
fn refused(output: &Output, says: &str) {
    let told = str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    assert!(told.contains(says) && told.lines().count() == 1, "{told}");
}

#[test]
fn what_the_daemon_says_is_done() {
    let hook = Hook::refusing();
    let served = hook.answer(Answer::Untouched);
    untouched(&comes(&hook, MANAGED));
    served.join().unwrap();

    let hook = Hook::refusing();
    let _served = hook.answer(Answer::Rewritten(b"<domain>other</domain>\n".to_vec()));
    let output = comes(&hook, TEAMED);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"<domain>other</domain>\n");

    let hook = Hook::new(Policy::Pass, Duration::from_secs(20));
    let _served = hook.answer(Answer::Refused("no VF of pool `fabric` is free\non beta".into()));
    refused(&comes(&hook, TEAMED), "no VF of pool `fabric` is free on beta");
}

#[test]
fn the_question_is_what_libvirt_said() {
    let hook = Hook::refusing();
    let served = hook.serve(|mut stream| {
        let question = Question::read(&mut stream).unwrap();
        assert_eq!(question.call.guest, "web-1");
        assert_eq!(
            (question.call.operation.as_str(), question.call.more.as_str()),
            ("migrate", "-")
        );
        assert!(question.waits);
        assert_eq!(question.xml, MANAGED.as_bytes());
        Answer::Untouched.write(&mut stream).unwrap();
    });
    untouched(&comes(&hook, MANAGED));
    served.join().unwrap();
}

#[test]
fn a_daemon_that_is_not_there_is_a_matter_of_the_policy() {
    for xml in [MANAGED, TEAMED] {
        refused(
            &comes(&Hook::refusing(), xml),
            "guest `web-1` is not taken here: godwitd is not there",
        );
        untouched(&comes(&Hook::new(Policy::Pass, Duration::from_secs(20)), xml));
    }
    // A socket that nobody listens on any more.
    let hook = Hook::refusing();
    drop(UnixListener::bind(hook.socket()).unwrap());
    refused(&comes(&hook, MANAGED), "godwitd is not there");
    // No settings at all: the careful way.
    let hook = Hook::refusing();
    fs::remove_file(hook.settings()).unwrap();
    refused(&comes(&hook, MANAGED), "is not taken here");
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for_beyond_the_deadline() {
    let deadline = Duration::from_millis(300);
    let (refuse, pass) = (
        Hook::new(Policy::Refuse, deadline),
        Hook::new(Policy::Pass, deadline),
    );
    // It accepts nothing, reads nothing, and says nothing; more than a socket's buffers hold is asked.
    let _deaf = [
        UnixListener::bind(refuse.socket()).unwrap(),
        UnixListener::bind(pass.socket()).unwrap(),
    ];
    let large = MANAGED.replace("<name>", &format!("<!--{}--><name>", " ".repeat(1 << 20)));
    for xml in [MANAGED, &large] {
        let begun = Instant::now();
        refused(&comes(&refuse, xml), "did not answer within 300 ms");
        untouched(&comes(&pass, xml));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_line_that_is_full_is_not_waited_in() {
    let hook = Hook::new(Policy::Refuse, Duration::from_millis(300));
    let _listener = UnixListener::bind(hook.socket()).unwrap();
    // More than wait in any line: the next connection would block. They end with the test.
    let socket = hook.socket();
    thread::spawn(move || {
        let waiting: Vec<_> = (0..5000)
            .map_while(|_| UnixStream::connect(&socket).ok())
            .collect();
        thread::sleep(Duration::from_secs(60));
        drop(waiting);
    });
    thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    refused(&comes(&hook, MANAGED), "not taken here");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_answer_too_late_counts_no_more() {
    let hook = Hook::new(Policy::Refuse, Duration::from_millis(300));
    let served = hook.serve(|mut stream| {
        Question::read(&mut stream).unwrap();
        thread::sleep(Duration::from_millis(1500));
        // The daemon sees that nobody heard it.
        assert!(Answer::Rewritten(MANAGED.into()).write(&mut stream).is_err());
    });
    refused(&comes(&hook, MANAGED), "did not answer within");
    served.join().unwrap();
}

#[test]
fn an_answer_that_is_none_is_a_matter_of_the_policy() {
    let mut rewritten = Vec::new();
    Answer::Rewritten(MANAGED.into()).write(&mut rewritten).unwrap();
    let half = rewritten[..rewritten.len() / 2].to_vec();
    for answer in [
        b"".to_vec(),
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        b"GWA9\0\0\0\0".to_vec(),
        half,
        vec![0xff; 1000],
    ] {
        for policy in [Policy::Refuse, Policy::Pass] {
            let hook = Hook::new(policy, Duration::from_secs(20));
            let answer = answer.clone();
            let _served = hook.serve(move |mut stream| {
                Question::read(&mut stream).unwrap();
                stream.write_all(&answer).unwrap();
            });
            let output = comes(&hook, MANAGED);
            match policy {
                Policy::Refuse => refused(&output, "godwitd did not answer"),
                Policy::Pass => untouched(&output),
            }
        }
    }
    let hook = Hook::refusing();
    let _served = hook.answer(Answer::Undecided("godwitd has only just started".into()));
    refused(
        &comes(&hook, MANAGED),
        "not taken here: godwitd has only just started",
    );
}

#[test]
fn a_guest_that_is_none_of_ours_is_not_asked_about() {
    // No daemon, no settings: nothing is looked for.
    let hook = Hook::refusing();
    fs::remove_file(hook.settings()).unwrap();
    let large = OTHER.replace(
        "<name>",
        &format!("<!--{}--><name>", "urn:godwit teaming ".repeat(1 << 16)),
    );
    for xml in [
        OTHER.as_bytes(),
        large.as_bytes(),
        b"",
        b"\0\xff not XML",
        &vec![b'<'; MOST_XML + 10],
    ] {
        untouched(&hook.call("db-1 migrate begin -", xml));
        untouched(&hook.call("db-1 start begin -", xml));
    }
}

#[test]
fn an_xml_that_is_too_large_is_a_matter_of_the_policy() {
    let mut xml = MANAGED.as_bytes().to_vec();
    xml.resize(MOST_XML + 1, b' ');
    refused(
        &Hook::refusing().call("web-1 migrate begin -", &xml),
        "larger than 8 MiB",
    );
    untouched(&Hook::new(Policy::Pass, Duration::from_secs(20)).call("web-1 migrate begin -", &xml));
}

#[test]
fn no_other_call_fails_whatever_becomes_of_it() {
    let deaf = Hook::refusing();
    let _listener = UnixListener::bind(deaf.socket()).unwrap();
    for hook in [&Hook::refusing(), &deaf] {
        for call in [
            "web-1 reconnect begin -",
            "web-1 prepare begin -",
            "web-1 start begin -",
            "web-1 started begin -",
            "web-1 stopped end migrated",
            "web-1 release end migrated",
            "web-1 restore begin -",
            "web-1 something new -",
            "web-1",
        ] {
            let begun = Instant::now();
            for xml in [
                MANAGED.as_bytes(),
                TEAMED.as_bytes(),
                b"\xff",
                &vec![b'x'; 1 << 20],
            ] {
                untouched(&hook.call(call, xml));
            }
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{call}: {:?}",
                begun.elapsed()
            );
        }
    }
}

/// Whoever installs the hook knows it by its text.
#[test]
fn the_program_can_be_told_from_others() {
    let program = fs::read(env!("CARGO_BIN_EXE_godwit-hook")).unwrap();
    let mark = godwit_hook::MARK.as_bytes();
    assert!(program.windows(mark.len()).any(|text| text == mark));
    let output = Hook::refusing().call("--version", b"");
    assert!(output.stdout.starts_with(mark), "{output:?}");
}

#[test]
fn other_calls_are_told() {
    let hook = Hook::refusing();
    let served = hook.serve(|mut stream| {
        let question = Question::read(&mut stream).unwrap();
        assert_eq!(
            (question.call.operation.as_str(), question.call.more.as_str()),
            ("release", "migrated")
        );
        assert!(!question.waits);
    });
    untouched(&hook.call("web-1 release end migrated", MANAGED.as_bytes()));
    served.join().unwrap();
}

/// A thousand calls for a guest that is none of ours, and as many of `/bin/true`, by turns: how much longer the hook takes.
/// `cargo test --release -p godwit-hook --test hook -- --ignored --nocapture figures`; `GODWIT_HOOK_PROGRAM` names another build.
#[test]
#[ignore = "a measurement, for an optimised build and a quiet machine"]
#[allow(clippy::print_stdout, reason = "the figures are what it is run for")]
fn figures() {
    const RUNS: usize = 1000;
    let xml = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../daemon/src/libvirt/xml/web-1-live.xml"
    ))
    .unwrap();
    let xml = String::from_utf8(xml).unwrap().replace("transient", "transitory");
    let program = std::env::var("GODWIT_HOOK_PROGRAM");
    let program = program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_godwit-hook"));
    let took = |program: &str| {
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(["db-1", "migrate", "begin", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(xml.as_bytes());
        let output = child.wait_with_output().unwrap();
        let took = begun.elapsed();
        untouched(&output);
        took
    };
    let (mut hook, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        hook.push(took(program));
        nothing.push(took("/bin/true"));
    }
    let figure = |all: &mut Vec<Duration>, at: usize| {
        all.sort();
        all[all.len() * at / 100].as_secs_f64() * 1e6
    };
    for at in [50, 99] {
        let (hook, nothing) = (figure(&mut hook, at), figure(&mut nothing, at));
        println!(
            "p{at}: hook {hook:.0} us, /bin/true {nothing:.0} us, {:.2} times",
            hook / nothing
        );
    }
}
