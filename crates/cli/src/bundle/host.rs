//! What this host says of itself. Each look has a deadline and a bound.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{LARGEST, Part, redact};

/// A program that was asked is given up on after this.
const DEADLINE: Duration = Duration::from_secs(10);
/// A configuration is no larger.
const CONFIG: u64 = 1 << 20;
/// The end of godwitd's log.
const LOG: [&str; 6] = [
    "--unit=godwitd",
    "--lines=5000",
    "--no-pager",
    "--quiet",
    "--utc",
    "--output=short-iso-precise",
];

/// Configuration, logs, kernel and libvirt of this host.
pub(crate) async fn parts(config: &Path) -> Vec<Part> {
    let read = read(config, CONFIG);
    let table: Option<toml::Table> = read.as_ref().ok().and_then(|text| text.parse().ok());
    let audit = match table.as_ref() {
        None => Err("the configuration, which says where it is, was not read".into()),
        Some(table) => match audit_file(table) {
            Some(path) => last(&path),
            None => Err("the configuration has none ([audit] file); it is in godwitd.log".into()),
        },
    };
    let (log, daemon, virsh, qemu) = tokio::join!(
        asked("journalctl", &LOG),
        libvirtd(),
        asked("virsh", &["--readonly", "--connect", "qemu:///system", "version"]),
        asked("qemu-system-x86_64", &["--version"])
    );
    vec![
        Part::new("godwitd.toml", read.and_then(|text| redact::config(&text))),
        Part::new("kernel.txt", kernel()),
        Part::new("libvirtd.txt", daemon),
        Part::new("virsh.txt", virsh),
        Part::new("qemu.txt", qemu),
        Part::new("audit.jsonl", audit),
        Part::new("godwitd.log", log),
    ]
}

/// Names of all of them, for who asks another host.
pub(crate) const PARTS: [&str; 7] = [
    "godwitd.toml",
    "kernel.txt",
    "libvirtd.txt",
    "virsh.txt",
    "qemu.txt",
    "audit.jsonl",
    "godwitd.log",
];

/// Directory of the journal by the configuration, or the usual one.
pub(crate) fn state(config: &Path) -> PathBuf {
    let table: Option<toml::Table> = read(config, CONFIG).ok().and_then(|text| text.parse().ok());
    let named = table
        .as_ref()
        .and_then(|table| Some(table.get("state")?.as_str()?.into()));
    named.unwrap_or_else(|| "/var/lib/godwit".into())
}

fn audit_file(table: &toml::Table) -> Option<PathBuf> {
    Some(table.get("audit")?.as_table()?.get("file")?.as_str()?.into())
}

fn kernel() -> Result<String, String> {
    let files = [
        "/proc/version",
        "/proc/cmdline",
        "/etc/os-release",
        "/proc/modules",
    ];
    let read = files.map(|path| match read(Path::new(path), CONFIG) {
        Ok(text) => format!("{path}:\n{text}\n"),
        Err(why) => format!("{path}: {why}\n"),
    });
    Ok(read.concat())
}

/// Which libvirt: one daemon, or the one of several that is for QEMU.
async fn libvirtd() -> Result<String, String> {
    match tokio::join!(
        asked("libvirtd", &["--version"]),
        asked("virtqemud", &["--version"])
    ) {
        (Ok(one), Ok(other)) => Ok(one + &other),
        (Err(_), Ok(one)) | (Ok(one), Err(_)) => Ok(one),
        (Err(why), Err(_)) => Err(why),
    }
}

/// What a program prints.
async fn asked(program: &'static str, arguments: &'static [&'static str]) -> Result<String, String> {
    let asked = tokio::task::spawn_blocking(move || ask(program, arguments, DEADLINE));
    asked
        .await
        .unwrap_or_else(|error| Err(format!("{program}: {error}")))
}

/// The program is ended at the deadline. What it started itself may live on; it is not waited for.
pub(crate) fn ask(program: &str, arguments: &[&str], deadline: Duration) -> Result<String, String> {
    let why = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(why)?;
    let (told, heard) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let most = 2 * LARGEST as u64;
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = stdout.take(most).read_to_end(&mut text).map(|_| text);
            // Nobody listens any more when the deadline is over.
            let _ = told.send(read);
        });
    }
    let heard = heard.recv_timeout(deadline);
    // It has closed its output, or is too slow, or has more to say than anybody wants.
    let ended = match heard.is_ok() {
        true => ended(&mut child),
        false => None,
    };
    let status = match ended {
        Some(status) => Some(status),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    };
    match (heard, status) {
        (Ok(read), Some(status)) if status.success() => {
            Ok(String::from_utf8_lossy(&read.map_err(why)?).into_owned())
        }
        (Ok(_), Some(status)) => Err(format!("{program}: {status}")),
        _ => Err(format!("{program} did not end within {} s", deadline.as_secs())),
    }
}

/// How it ended, a moment after its output did.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..100 {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// A regular file, which nobody can make us wait for.
fn open(path: &Path) -> Result<File, String> {
    let why = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = std::fs::metadata(path).map_err(why)?;
    match found.is_file() {
        true => File::open(path).map_err(why),
        false => Err(format!("{} is no file", path.display())),
    }
}

fn read(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(most).read_to_end(&mut bytes);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a file.
fn last(path: &Path) -> Result<String, String> {
    let why = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = open(path)?;
    let size = file.metadata().map_err(why)?.len();
    let skipped = size.saturating_sub(LARGEST as u64);
    file.seek(SeekFrom::Start(skipped)).map_err(why)?;
    let mut bytes = Vec::new();
    file.take(LARGEST as u64).read_to_end(&mut bytes).map_err(why)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match (skipped > 0, text.split_once('\n')) {
        // The first line was cut.
        (true, Some((_, rest))) => Ok(rest.into()),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_given_up_on_and_ended() {
        let second = Duration::from_secs(1);
        let said = |program: &str, arguments: &[&str]| ask(program, arguments, second);
        assert_eq!(said("echo", &["all is well"]), Ok("all is well\n".into()));
        assert_eq!(
            said("sleep", &["1000"]),
            Err("sleep did not end within 1 s".into())
        );
        assert_eq!(said("false", &[]), Err("false: exit status: 1".into()));
        assert!(
            said("/nowhere/to-be-found", &[])
                .unwrap_err()
                .contains("No such file")
        );
    }

    #[test]
    fn a_log_is_read_from_its_end_and_nothing_else_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, format!("cut{}\nlast\n", "x".repeat(LARGEST))).unwrap();
        assert_eq!(last(&path).unwrap(), "last\n");
        assert!(last(dir.path()).unwrap_err().ends_with("is no file"));
        assert!(
            read(Path::new("/dev/zero"), 10)
                .unwrap_err()
                .ends_with("is no file")
        );
    }
}
