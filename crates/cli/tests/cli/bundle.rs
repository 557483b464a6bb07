//! `godwit support-bundle`, against a pretend host: read again, and searched for what must not be in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use godwit_sim::Layout;
use godwit_sim::serve::{Options, Sim};
use tokio::sync::oneshot;

use crate::story::{Run, command, finish, run};

/// What must be nowhere in a bundle.
const SECRET: &str = "hunter2";

/// Pretend hosts, a configuration, logs, and programs that say what the test wants.
struct Stage {
    directory: tempfile::TempDir,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stage {
    fn new() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (told, socket) = std::sync::mpsc::channel();
        let sockets = directory.path().join("sockets");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let options = Options {
                    layout: Layout::new(2, 1),
                    // Deadlines are divided by it as well: a busy machine has to keep them.
                    speed: 5.0,
                    faults: Vec::new(),
                    ills: Vec::new(),
                    sockets,
                    state: None,
                    network: None,
                };
                let sim = Sim::start(options).await.unwrap();
                told.send(sim.socket(0)).unwrap();
                let _ = stopped.await;
                sim.stop();
            });
            runtime.shutdown_background();
        });
        let stage = Stage {
            socket: socket.recv().unwrap(),
            directory,
            stop: Some(stop),
            thread: Some(thread),
        };
        stage.furnish();
        stage
    }

    fn furnish(&self) {
        let audit = self.path("audit.jsonl");
        fs::write(&audit, format!("{{\"who\":\"root\",\"token\":\"{SECRET}\"}}\n")).unwrap();
        let config = format!(
            "host = \"alpha\"\nstate = \"{0}/state\"\n[audit]\nfile = \"{0}/audit.jsonl\"\n[tls]\nca = \"{0}/ca.pem\"\n\
             certificate = \"{0}/host.pem\"\nkey = \"{0}/host.key\"\n[[peer]]\nname = \"beta\" # {SECRET}\n\
             migrate_uri = \"qemu+tcp://root:{SECRET}@beta/system\"\npassword = \"{SECRET}\"\n",
            self.directory.path().display()
        );
        fs::write(self.path("godwitd.toml"), config).unwrap();
        for name in ["host.key", "host.pem", "ca.pem"] {
            fs::write(
                self.path(name),
                format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"),
            )
            .unwrap();
        }
        self.program(
            "journalctl",
            &format!(
                "echo \"$@\"; echo 'password={SECRET}'; cat {}",
                self.path("host.key").display()
            ),
        );
        self.program("virsh", "exec sleep 1000");
        self.program("libvirtd", "echo libvirtd 11.3.0");
        self.program("qemu-system-x86_64", "echo QEMU 10.0");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program that is found before the system's.
    fn program(&self, name: &str, script: &str) {
        let directory = self.path("bin");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn bundle(&self, socket: &Path, arguments: &[&str]) -> Run {
        let config = self.path("godwitd.toml");
        let all = [
            &["support-bundle", "--config", config.to_str().unwrap()],
            arguments,
        ]
        .concat();
        let mut command = command(socket, &all);
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command.env("PATH", path).current_dir(self.directory.path());
        finish(command.spawn().unwrap())
    }

    /// Unpacked by the system's tar: the directory in it.
    fn unpacked(&self, file: &Path) -> PathBuf {
        let into = self.path("unpacked");
        let _ = fs::remove_dir_all(&into);
        fs::create_dir(&into).unwrap();
        let tar = Command::new("tar")
            .arg("-xzf")
            .arg(file)
            .arg("-C")
            .arg(&into)
            .status()
            .unwrap();
        assert!(tar.success());
        let inside: Vec<_> = fs::read_dir(&into)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(inside.len(), 1, "{inside:?}");
        inside[0].clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn texts(directory: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    let mut all: Vec<_> = files.map(read).collect();
    all.sort();
    all
}

#[test]
fn all_that_is_needed_is_in_it_and_no_secret() {
    let stage = Stage::new();
    let moved = run(&stage.socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    let file = stage.path("bundle.tar.gz");
    let run = stage.bundle(&stage.socket, &["web-1", "--output", file.to_str().unwrap()]);
    // It was written, and says that something is missing.
    assert_eq!((run.code, run.err.as_str()), (3, ""), "{run:?}");
    assert!(
        run.out
            .contains("Not collected: virsh.txt: virsh did not end within 10 s\n"),
        "{run:?}"
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let all = texts(&stage.unpacked(&file));
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "README",
            "audit.jsonl",
            "doctor.json",
            "godwitd.log",
            "godwitd.toml",
            "guests.json",
            "holds.json",
            "hosts.json",
            "kernel.txt",
            "libvirtd.txt",
            "migrations.json",
            "pools.json",
            "qemu.txt",
            "records.json",
            "vfs.json"
        ]
    );
    for (name, text) in &all {
        assert!(!text.contains(SECRET), "{name}: {text}");
        assert!(!text.contains("BEGIN"), "{name}: {text}");
        if name.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(text)
                .unwrap_or_else(|why| panic!("{name}: {why}: {text}"));
        }
    }
    let text = |wanted: &str| &all.iter().find(|(name, _)| name == wanted).unwrap().1;
    let records: serde_json::Value = serde_json::from_str(text("records.json")).unwrap();
    assert_eq!(records["migrations"][0]["guest"], "web-1");
    assert!(
        records["migrations"][0]["timeline"].as_array().unwrap().len() > 3,
        "{records}"
    );
    assert!(
        text("godwitd.toml").contains("host = \"alpha\"") && text("godwitd.toml").contains("(left out)@beta")
    );
    assert!(text("audit.jsonl").contains("\"who\":\"root\""));
    assert!(
        text("godwitd.log").starts_with("--unit=godwitd --lines=5000 "),
        "{}",
        text("godwitd.log")
    );
    // A program that hangs is named, and keeps nobody waiting.
    assert_eq!(text("libvirtd.txt"), "libvirtd 11.3.0\n");
    assert!(
        text("README").contains("\n  virsh.txt: virsh did not end within 10 s\n"),
        "{}",
        text("README")
    );
    assert!(
        text("README").contains("\n  records.json\n"),
        "{}",
        text("README")
    );
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    let stage = Stage::new();
    stage.program("virsh", "echo none");
    let file = stage.path("bundle.tar.gz");
    let link = stage.path("link.tar.gz");
    fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for taken in [&file, &link] {
        let refused = stage.bundle(&stage.socket, &["--json", "--output", taken.to_str().unwrap()]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert_eq!(refused.json()[0]["error"]["reason"], "BUNDLE");
        assert!(
            refused
                .err
                .ends_with("Hint: it is never overwritten: name another with --output\n"),
            "{refused:?}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let nowhere = stage.bundle(&stage.socket, &["--output", "/nowhere/bundle.tar.gz"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    // By itself it takes a name with the host and the time.
    let named = stage.bundle(&stage.socket, &["--json"]);
    let told = &named.json()[0];
    let name = told["file"].as_str().unwrap();
    assert!(
        name.starts_with("godwit-support-alpha-20") && stage.path(name).exists(),
        "{told}"
    );
}

#[test]
fn without_a_daemon_it_has_what_is_there_and_names_what_is_not() {
    let stage = Stage::new();
    stage.program("virsh", "exit 1");
    stage.program("libvirtd", "exit 1");
    stage.program("journalctl", "exit 1");
    fs::write(stage.path("godwitd.toml"), "password = hunter2").unwrap();
    let file = stage.path("bundle.tar.gz");
    let run = stage.bundle(
        Path::new("/nowhere"),
        &["web-1", "--json", "--output", file.to_str().unwrap()],
    );
    assert_eq!(run.code, 3, "{run:?}");
    let told = &run.json()[0];
    let missing: Vec<(&str, &str)> = told["missing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["part"].as_str().unwrap(), one["why"].as_str().unwrap()))
        .collect();
    for (part, why) in [
        ("doctor.json", "godwitd cannot be reached at /nowhere"),
        ("records.json", "godwitd cannot be reached at /nowhere"),
        (
            "godwitd.toml",
            "it is no TOML, and so cannot be cleared of secrets",
        ),
        ("godwitd.log", "journalctl: exit status: 1"),
    ] {
        assert!(missing.contains(&(part, why)), "{part}: {missing:?}");
    }
    assert!(
        missing.iter().any(|(part, _)| *part == "offline-migrations.json"),
        "{missing:?}"
    );
    let all = texts(&stage.unpacked(&file));
    let (_, readme) = all.iter().find(|(name, _)| name == "README").unwrap();
    assert!(
        readme.contains("\n  doctor.json: godwitd cannot be reached at /nowhere\n"),
        "{readme}"
    );
    assert!(all.iter().all(|(_, text)| !text.contains(SECRET)), "{all:?}");
}
