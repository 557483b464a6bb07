//! `godwit hook`: into a directory of the test, against a socket that answers or not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use godwit_hook::frame::{Answer, Question};
use godwit_hook::settings::{Policy, Settings};
use tempfile::TempDir;

use crate::story::{Run, run};

const HOOK: &[u8] = b"\x7fELF... godwit-hook 0.1.0\n";
const OLDER: &[u8] = b"\x7fELF... godwit-hook 0.0.9\n";

struct Host {
    place: TempDir,
}

impl Host {
    fn new() -> Host {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("godwit-hook"), HOOK).unwrap();
        let host = Host { place };
        let settings = Settings {
            policy: Policy::Pass,
            socket: host.path("hook.sock"),
            deadline: Duration::from_secs(2),
        };
        settings.write(&host.path("hook.conf")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn there(&self) -> PathBuf {
        self.path("hooks/qemu.d/godwit")
    }

    fn put(&self, program: &[u8], mode: u32) {
        fs::create_dir_all(self.path("hooks/qemu.d")).unwrap();
        fs::write(self.there(), program).unwrap();
        fs::set_permissions(self.there(), Permissions::from_mode(mode)).unwrap();
    }

    fn hook(&self, act: &[&str]) -> Run {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        let (from, hooks, state) = (path("godwit-hook"), path("hooks"), path(""));
        let mut words = vec!["hook", act[0], "--from", &from, "--hooks", &hooks];
        if act[0] == "check" {
            words.extend(["--state", &state]);
        }
        words.extend(&act[1..]);
        run(Path::new("/nowhere"), &words)
    }

    /// A daemon that answers so often.
    fn answers(&self, times: usize) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(self.path("hook.sock")).unwrap();
        std::thread::spawn(move || {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().unwrap();
                let question = Question::read(&mut stream).unwrap();
                assert!(question.waits && question.xml.is_empty());
                Answer::Untouched.write(&mut stream).unwrap();
            }
        })
    }
}

#[test]
fn installed_anew_libvirt_has_to_be_restarted() {
    let host = Host::new();
    let told = host.hook(&["install"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(told.out.contains("systemctl restart libvirtd"), "{}", told.out);
    assert_eq!(fs::read(host.there()).unwrap(), HOOK);
    let mode = fs::metadata(host.there()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(
        fs::read_dir(host.path("hooks")).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    // Again: it is there, and was before libvirt started or not.
    let again = host.hook(&["install"]);
    assert_eq!((again.code, again.out.lines().count()), (0, 1), "{}", again.out);
}

#[test]
fn an_older_one_is_replaced_and_a_foreign_one_is_not() {
    let host = Host::new();
    host.put(OLDER, 0o755);
    assert_eq!(host.hook(&["install"]).code, 0);
    assert_eq!(fs::read(host.there()).unwrap(), HOOK);
    let foreign = b"#!/bin/sh\nexec /opt/godwit-hook \"$@\"\n";
    host.put(foreign, 0o755);
    let refused = host.hook(&["install"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("is another program: it is left alone"),
        "{}",
        refused.err
    );
    assert_eq!(fs::read(host.there()).unwrap(), foreign);
    assert_eq!(
        host.hook(&["install", "--json"]).json()[0]["error"]["reason"],
        "HOOK"
    );
}

#[test]
fn what_is_no_hook_is_not_installed() {
    let host = Host::new();
    fs::write(host.path("godwit-hook"), b"#!/bin/sh\n").unwrap();
    assert!(host.hook(&["install"]).err.contains("is not godwit-hook"));
    fs::remove_file(host.path("godwit-hook")).unwrap();
    assert!(host.hook(&["install"]).err.contains("cannot be read"));
    assert!(!host.path("hooks").exists());
}

#[test]
fn another_hook_beside_it_is_noticed() {
    let host = Host::new();
    fs::create_dir_all(host.path("hooks")).unwrap();
    fs::write(host.path("hooks/qemu"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(host.path("hooks/qemu"), Permissions::from_mode(0o755)).unwrap();
    let told = host.hook(&["install", "--json"]).json()[0].clone();
    assert_eq!(told["restart_libvirt"], false, "{told}");
}

#[test]
fn a_check_says_what_is_wrong() {
    let host = Host::new();
    let missing = host.hook(&["check"]);
    assert_eq!(missing.code, 5);
    assert!(
        missing.out.contains("not there: `godwit hook install`"),
        "{}",
        missing.out
    );
    for (program, mode, code, says) in [
        (HOOK, 0o755, 3, "godwitd does not answer at"),
        (OLDER, 0o755, 3, "of another version"),
        (HOOK, 0o644, 5, "not executable"),
        (b"#!/bin/sh\n", 0o755, 5, "another program"),
    ] {
        host.put(program, mode);
        let told = host.hook(&["check"]);
        assert_eq!(told.code, code, "{}", told.out);
        assert!(told.out.contains(says), "{}", told.out);
    }
    host.put(HOOK, 0o755);
    let served = host.answers(2);
    let well = host.hook(&["check"]);
    assert_eq!((well.code, well.err.as_str()), (0, ""));
    assert!(
        well.out.contains("without an answer within 2000 ms: pass guests"),
        "{}",
        well.out
    );
    let json = host.hook(&["check", "--json"]).json()[0].clone();
    assert_eq!(
        (&json["answers"], &json["current"], &json["policy"]),
        (&true.into(), &true.into(), &"pass".into())
    );
    served.join().unwrap();
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for() {
    let host = Host::new();
    host.put(HOOK, 0o755);
    let _deaf = UnixListener::bind(host.path("hook.sock")).unwrap();
    let told = host.hook(&["check"]);
    assert_eq!(told.code, 3);
    assert!(told.out.contains("does not answer"), "{}", told.out);
}
