//! Another host over the network: a pretend host behind the real door, and everybody who should not be believed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use godwit_server::{Audit, Door, Files, Gate, Health, Keys, Known, Limits, Operator, Role, for_network};
use godwit_sim::Layout;
use godwit_sim::serve::{Options, Sim};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::story::{Run, command, finish};

/// Host alpha of the simulator behind a network door; operators `mover` and `watcher`.
struct Alpha {
    address: SocketAddr,
    directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Alpha {
    fn new() -> Alpha {
        let directory = tempfile::tempdir().unwrap();
        certs(
            directory.path(),
            "ca",
            &[
                "--host",
                "alpha",
                "--operator",
                "mover",
                "--operator",
                "watcher",
                "--operator",
                "nobody",
            ],
        );
        certs(
            directory.path(),
            "foreign",
            &["--host", "alpha", "--operator", "mover"],
        );
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let place = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let sim = Sim::start(options(&place)).await.unwrap();
                let keys = Keys::read(files(&place, "ca", "alpha")).unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let operator = |name: &str, role| Operator {
                    name: name.into(),
                    role,
                };
                let known = Known {
                    peers: vec!["beta".into()],
                    operators: vec![operator("mover", Role::Operate), operator("watcher", Role::View)],
                };
                let limits = Limits::default();
                let services = for_network(sim.coordinator(0).unwrap(), &Health::default()).await;
                let (_open, stop) = watch::channel(false);
                let door = Door::new(Gate::new(services, Audit::to_log(), &limits), limits, stop);
                tokio::select! {
                    () = door.network(listener, keys.into(), known.into()) => {}
                    _ = stopped => {}
                }
                sim.stop();
            });
            runtime.shutdown_background();
        });
        Alpha {
            address: address.recv().unwrap(),
            directory,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Without any socket, and with a configuration of its own.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(Path::new("/nowhere"), arguments);
        command
            .env_remove("GODWIT_SOCKET")
            .env("GODWIT_CONFIG", self.path("config.toml"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments).spawn().unwrap())
    }

    /// Makes a context for alpha with the keys of that operator.
    fn set(&self, context: &str, authority: &str, operator: &str) {
        let Files {
            ca, certificate, key, ..
        } = files(self.directory.path(), authority, operator);
        let [ca, certificate, key] = [ca, certificate, key].map(|path| path.to_str().unwrap().to_owned());
        let address = self.address.to_string();
        let set = self.run(&[
            "context",
            "set",
            context,
            "--address",
            &address,
            "--server-name",
            "alpha",
            "--ca",
            &ca,
            "--certificate",
            &certificate,
            "--key",
            &key,
        ]);
        assert_eq!((set.code, set.err.as_str()), (0, ""), "{set:?}");
    }

    fn error(&self, arguments: &[&str]) -> (String, String) {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, 1, "{run:?}");
        let error = &run.json().pop().unwrap()["error"];
        (error["reason"].as_str().unwrap().into(), run.err)
    }

    /// The reason, and what a person reads.
    fn refused(&self, context: &str) -> (String, String) {
        self.error(&["guests", "--context", context])
    }
}

impl Drop for Alpha {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn options(place: &Path) -> Options {
    let mut layout = Layout::new(2, 1);
    layout.guests = 1;
    layout.extras = false;
    Options {
        layout,
        // Deadlines are divided by it as well: a busy machine has to keep them.
        speed: 5.0,
        faults: Vec::new(),
        ills: Vec::new(),
        sockets: place.join("sockets"),
        state: None,
        network: None,
    }
}

/// By the program itself, as an operator makes them.
fn certs(place: &Path, authority: &str, names: &[&str]) {
    let dir = place.join(authority);
    let made = finish(
        command(
            Path::new("/nowhere"),
            &[&["certs", "init", "--dir", dir.to_str().unwrap()], names].concat(),
        )
        .spawn()
        .unwrap(),
    );
    assert_eq!(made.code, 0, "{made:?}");
}

fn files(place: &Path, authority: &str, name: &str) -> Files {
    let dir = place.join(authority);
    Files {
        ca: dir.join("ca.pem"),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
        crl: None,
    }
}

#[test]
fn a_guest_is_moved_from_another_host_by_its_context() {
    let alpha = Alpha::new();
    alpha.set("lab", "ca", "mover");
    let moved = alpha.run(&["migrate", "web-1", "beta", "--wait", "--context", "lab"]);
    assert_eq!((moved.code, moved.err.as_str()), (0, ""), "{}", moved.out);
    assert!(moved.out.contains("web-1 runs on beta.\n"), "{}", moved.out);
    // By its name it is a host as well, in the environment too; and without a word when it is in use.
    let named = alpha.run(&["list", "--host", "lab"]);
    assert!(named.code == 0 && named.out.contains("web-1"), "{named:?}");
    let environment = alpha
        .command(&["list"])
        .env("GODWIT_CONTEXT", "lab")
        .spawn()
        .unwrap();
    assert_eq!(finish(environment).out, named.out);
    assert_eq!(alpha.run(&["context", "use", "lab"]).code, 0);
    assert_eq!(alpha.run(&["list"]).out, named.out);
    // A host by its address has the keys of the context in use; but its certificate has no such name.
    let port = alpha.address.port();
    let (reason, told) = alpha.error(&["list", "--host", &format!("localhost:{port}")]);
    assert_eq!(reason, "HOST_NOT_TRUSTED");
    assert!(
        told.contains("is not known to be localhost: its certificate has another name"),
        "{told}"
    );
    // And this host is asked where that was typed.
    let (reason, _) = alpha.error(&["list", "--socket", "/nowhere"]);
    assert_eq!(reason, "DAEMON_AWAY");
}

#[test]
fn each_may_do_what_its_role_says() {
    let alpha = Alpha::new();
    for operator in ["watcher", "nobody"] {
        alpha.set(operator, "ca", operator);
    }
    assert_eq!(alpha.run(&["guests", "--context", "watcher"]).code, 0);
    let (reason, _) = alpha.error(&["migrate", "web-1", "beta", "--context", "watcher"]);
    assert_eq!(reason, "NOT_ALLOWED");
    assert_eq!(alpha.refused("nobody").0, "NOT_ALLOWED");
}

#[test]
fn who_is_not_the_host_is_asked_nothing() {
    let alpha = Alpha::new();
    alpha.set("lab", "ca", "mover");
    // The host's authority is another one.
    alpha.set("foreign", "foreign", "mover");
    let (reason, told) = alpha.refused("foreign");
    assert_eq!(reason, "HOST_NOT_TRUSTED");
    assert!(
        told.contains("its certificate is not of the authority in "),
        "{told}"
    );
    // Ours is: the authority is the host's, the certificate of another.
    let ca = alpha.path("ca/ca.pem");
    let mixed = alpha.run(&["context", "set", "foreign", "--ca", ca.to_str().unwrap()]);
    assert_eq!(mixed.code, 0, "{mixed:?}");
    let (reason, told) = alpha.refused("foreign");
    assert_eq!(reason, "CERTIFICATE_REFUSED", "{told}");
    assert!(
        told.contains("does not accept the certificate of context foreign\nCaused by: "),
        "{told}"
    );
    // Another host than the one that was meant.
    assert_eq!(
        alpha
            .run(&["context", "set", "lab", "--server-name", "beta"])
            .code,
        0
    );
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "HOST_NOT_TRUSTED");
    assert!(
        told.contains("is not known to be beta: its certificate has another name"),
        "{told}"
    );
}

#[test]
fn who_does_not_answer_is_given_up_on() {
    let alpha = Alpha::new();
    alpha.set("lab", "ca", "mover");
    // Taken in by the kernel, and never spoken to.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let set = |address: &str| {
        let set = alpha.run(&[
            "context",
            "set",
            "lab",
            "--address",
            address,
            "--server-name",
            "alpha",
        ]);
        assert_eq!(set.code, 0, "{set:?}");
    };
    set(&address);
    let begun = Instant::now();
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "DAEMON_AWAY");
    assert!(told.contains("\nCaused by: no answer within 10 s\n"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    // Nobody is there at all.
    drop(silent);
    set(&address);
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "DAEMON_AWAY");
    assert!(
        told.starts_with(&format!(
            "Error: godwitd cannot be reached at {address}\nCaused by: Connection refused"
        )),
        "{told}"
    );
    set("no-such-host.invalid");
    assert_eq!(alpha.refused("lab").0, "DAEMON_AWAY");
    // Something else than godwitd.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    set(&other.local_addr().unwrap().to_string());
    let answering = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        stream
    });
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "HOST_NOT_TRUSTED");
    assert!(told.contains("it does not speak TLS"), "{told}");
    drop(answering.join());
}

#[test]
fn keys_that_cannot_be_used_are_named_with_what_to_type() {
    let alpha = Alpha::new();
    alpha.set("lab", "ca", "mover");
    let key = alpha.path("ca/mover.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "KEYS");
    assert_eq!(
        told,
        format!(
            "Error: {0} can be read by everybody, and is not used\nHint: chmod 600 {0}\n",
            key.display()
        )
    );
    mode(0o600);
    assert_eq!(alpha.run(&["guests", "--context", "lab"]).code, 0);
    let good = fs::read(&key).unwrap();
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("no PEM", b"\xff\xfenonsense"),
        ("another's", &fs::read(alpha.path("ca/watcher.key")).unwrap()),
    ] {
        fs::write(&key, bytes).unwrap();
        let (reason, told) = alpha.refused("lab");
        assert_eq!(reason, "KEYS", "{what}: {told}");
    }
    fs::remove_file(&key).unwrap();
    let (reason, told) = alpha.refused("lab");
    assert_eq!(reason, "KEYS");
    assert!(
        told.contains(&format!(
            "Error: {} cannot be read\nCaused by: No such file",
            key.display()
        )),
        "{told}"
    );
    fs::write(&key, good).unwrap();
    mode(0o600);
    assert_eq!(alpha.run(&["guests", "--context", "lab"]).code, 0);
    fs::write(alpha.path("ca/ca.pem"), "").unwrap();
    assert_eq!(alpha.refused("lab").0, "KEYS");
    let shown = alpha.run(&["context", "show", "lab"]);
    assert!(shown.code == 1 && shown.err.contains("ca.pem"), "{shown:?}");
}

#[test]
fn contexts_are_listed_shown_used_and_removed() {
    let alpha = Alpha::new();
    alpha.set("lab", "ca", "mover");
    alpha.set("look", "ca", "watcher");
    assert_eq!(alpha.run(&["context", "use", "look"]).code, 0);
    let address = alpha.address.to_string();
    let plain = |text: &str| {
        text.replace(&address, "ADDRESS")
            .replace(alpha.directory.path().to_str().unwrap(), "DIR")
    };
    let list = alpha.run(&["context", "list"]);
    assert_eq!(list.code, 0);
    let columns: Vec<Vec<&str>> = list
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(columns[2], ["lab", &address, "alpha"]);
    assert_eq!(columns[3], ["look", &address, "alpha", "yes"]);
    // Until when depends on the day.
    let shown = alpha.run(&["context", "show"]).out;
    let (days, rest) = shown.split_once(" (valid for ").unwrap();
    let rest = rest.split_once(" days)").unwrap().1;
    insta::assert_snapshot!(plain(&format!("{days}{rest}")), @"
    Context:      look
    Address:      ADDRESS
    Server name:  alpha
    Authority:    DIR/ca/ca.pem
    Certificate:  DIR/ca/watcher.pem
    Key:          DIR/ca/watcher.key
    ");
    let json = &alpha.run(&["context", "show", "lab", "--json"]).json()[0];
    assert_eq!(
        (&json["server_name"], &json["error"]),
        (&"alpha".into(), &serde_json::Value::Null)
    );
    let mode = fs::metadata(alpha.path("config.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let removed = alpha.run(&["context", "remove", "look"]);
    assert_eq!(removed.code, 0);
    assert!(alpha.path("ca/watcher.key").exists());
    let (reason, told) = alpha.refused("look");
    assert_eq!(reason, "CONTEXT_UNKNOWN");
    assert_eq!(
        told,
        "Error: there is no context `look`\nHint: godwit context list\n"
    );
    assert_eq!(
        alpha.run(&["context", "show"]).out,
        "This host is asked, at /run/godwit/godwitd.sock.\n"
    );
}

#[test]
fn what_cannot_be_a_context_is_refused_and_nothing_is_written() {
    let alpha = Alpha::new();
    let reason = |arguments: &[&str]| alpha.error(arguments).0;
    assert_eq!(reason(&["context", "use", "lab"]), "CONTEXT_UNKNOWN");
    assert_eq!(reason(&["context", "remove", "lab"]), "CONTEXT_UNKNOWN");
    assert_eq!(
        reason(&["context", "set", "lab", "--address", "beta"]),
        "CONTEXT_INVALID"
    );
    assert_eq!(
        reason(&["context", "set", "local", "--address", "beta"]),
        "CONTEXT_INVALID"
    );
    assert_eq!(
        reason(&["context", "set", "a b", "--address", "beta"]),
        "CONTEXT_INVALID"
    );
    assert_eq!(reason(&["guests", "--host", "beta"]), "CONTEXT_UNKNOWN");
    assert!(!alpha.path("config.toml").exists());
    alpha.set("lab", "ca", "mover");
    assert_eq!(
        reason(&["context", "set", "lab", "--address", "be ta"]),
        "CONTEXT_INVALID"
    );
    assert_eq!(
        reason(&["guests", "--host", "be ta", "--context", "lab"]),
        "CONTEXT_INVALID"
    );
    let (_, told) = alpha.refused("lav");
    assert!(told.contains("Hint: is it `lab`?"), "{told}");
    let both = alpha.run(&["guests", "--socket", "/a", "--context", "lab"]);
    assert_eq!(both.code, 2, "{both:?}");
    // A file that is damaged is not written over, and nobody is asked who was not meant.
    for text in [
        "context = [",
        "uze = \"lab\"\n",
        "[context.lab]\naddress = \"beta\"\n",
        "\u{0}",
    ] {
        fs::write(alpha.path("config.toml"), text).unwrap();
        for arguments in [
            &["guests"][..],
            &["context", "list"],
            &["context", "use", "local"],
        ] {
            assert_eq!(reason(arguments), "CONTEXT_FILE", "{text:?} {arguments:?}");
        }
        assert_eq!(fs::read_to_string(alpha.path("config.toml")).unwrap(), text);
    }
    // Where it is said who is asked, the file does not count.
    assert_eq!(reason(&["guests", "--socket", "/nowhere"]), "DAEMON_AWAY");
}
