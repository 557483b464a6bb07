//! What looking on and delivering costs, and at which rates nothing is lost: through the daemons' own door and TLS, on this machine alone.

use std::{
    fs,
    io::Write,
    net::UdpSocket,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use godwit_server::{Audit, Door, Files, Gate, Keys, Known, Limits, and_kept_frames};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use tokio::{net::TcpListener, sync::watch};
use tonic::{service::Routes, transport::Channel};

use super::{
    place::{Place, in_a_network},
    *,
};
use crate::{config::Config, peers::Peers};

/// The guest runs, looked on at, for so long, and then stands still for so long.
const RUNS: Duration = Duration::from_secs(2);
const STANDS: Duration = Duration::from_secs(1);

/// The thread of who sends: what that costs is no cost of ours.
const SENDER: &str = "sends";

/// `cargo test -p godwitd -- --ignored --nocapture keep::tests::measure`. It fails where a frame is lost, or comes twice or out of its order,
/// and prints the rest.
#[test]
#[ignore = "a measurement"]
fn what_looking_on_and_delivering_cost() {
    let name = "keep::tests::measure::what_looking_on_and_delivering_cost";
    let told = in_a_network(name, async || {
        println!(
            "figure | sent a second | sent | kept | after it ran | CPU, ms for 1,000: looking on | keeping and delivering | memory, KiB | oldest, ms late | median | all read, ms after it ran |"
        );
        println!("figure |---|---|---|---|---|---|---|---|---|---|");
        for rate in [500, 2000, 10_000] {
            at(rate).await;
        }
    });
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    println!("load {}", load.trim_end());
    for line in told.lines().filter_map(|line| line.strip_prefix("figure ")) {
        println!("{line}");
    }
}

/// A move under so many frames a second.
async fn at(rate: u32) {
    let place = Place::behind(secured).await;
    let (mut source, mut destination) = (place.guest("vnet0"), place.guest("vnet1"));
    place.wire();
    place.is_deep("vnet0");
    // Nothing is said of a frame until all is over: a pipe's other end would be counted, too.
    source.say("quiet");
    destination.say("stop");
    let keeper = place.keeper(false);
    pass(300).await;
    let (sends, begun) = (Sends::begin(rate), cpu());
    tokio::time::sleep(RUNS).await;
    let (looked_on, mut memory) = (cpu() - begun, vec![resident()]);
    source.say("stop");
    place.events.send(suspended()).unwrap();
    tokio::time::sleep(STANDS).await;
    memory.push(resident());
    let (sent, rate) = sends.end();
    destination.say("quiet");
    let resumed = monotonic();
    let kept = keeper.end(true).await;
    let all = cpu() - begun;
    pass(1000).await;
    source.say("tell");
    destination.say("tell");
    pass(500).await;
    let (at_source, after) = (source.came(), destination.came());
    let numbers: Vec<u32> = after.iter().map(|came| came.number).collect();
    let whole: Vec<u32> = at_source
        .iter()
        .map(|came| came.number)
        .chain(numbers.iter().copied())
        .collect();
    assert_eq!(
        whole,
        Vec::from_iter(0..sent),
        "in their order, and each once: {kept:?}"
    );
    assert_eq!((kept.lost, kept.no_room), (0, 0), "{kept:?}");
    assert_eq!(kept.delivered, numbers.len() as u64, "{kept:?}");
    let mut late: Vec<u64> = after.iter().map(|came| came.late_us).collect();
    late.sort_unstable();
    let last = after.iter().map(|came| came.at_us).max().unwrap_or(resumed);
    // What was looked on at until the guest stopped, and the rest until all was told.
    let seen = at_source.len() as f64 / 1000.0;
    let share = |cpu: Duration, frames: f64| cpu.as_secs_f64() * 1000.0 / frames;
    println!(
        "figure | {rate} | {} | {} | {} | {:.1} | {:.1} | {} | {} | {} | {} |",
        sent,
        kept.frames,
        kept.late,
        share(looked_on, seen),
        share(all - looked_on, kept.frames as f64 / 1000.0),
        (memory[1].saturating_sub(memory[0])) / 1024,
        late.last().copied().unwrap_or_default() / 1000,
        late.get(late.len() / 2).copied().unwrap_or_default() / 1000,
        last.saturating_sub(resumed) / 1000,
    );
}

/// The daemon's own door for other hosts, and a peer's channel to it.
async fn secured(files: &Path, desk: KeepDesk<place::Empty>) -> Channel {
    let authority = Authority::new();
    let [alpha, beta] = ["alpha", "beta"].map(|name| Arc::new(authority.keys(files, name)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let limits = Limits::default();
    let gate = Gate::new(and_kept_frames(Routes::default(), desk), Audit::to_log(), &limits);
    let known = Known {
        peers: vec!["beta".into()],
        operators: Vec::new(),
    };
    tokio::spawn(async move {
        let door = Door::new(gate, limits, stopped);
        door.network(listener, alpha, Arc::new(known)).await;
        drop(stop);
    });
    let config = format!(
        "host = 'beta'\n[[peer]]\nname = 'alpha'\naddress = '{address}'\nmigrate_uri = 'qemu+tls://alpha/system'\n"
    );
    let config: Config = toml::from_str(&config).unwrap();
    let peers = Peers::new(&config, Some(&beta)).unwrap();
    peers.channel("alpha").unwrap()
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    fn keys(&self, directory: &Path, name: &str) -> Keys {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |what: &str, text: &str| -> PathBuf {
            let path = directory.join(format!("{name}.{what}"));
            let mut open = fs::OpenOptions::new();
            let mut made = open.create_new(true).write(true).mode(0o600).open(&path).unwrap();
            made.write_all(text.as_bytes()).unwrap();
            path
        };
        let files = Files {
            ca: file("ca", &self.pem),
            certificate: file("pem", &certificate.pem()),
            key: file("key", &key.serialize_pem()),
            crl: None,
        };
        Keys::read(files).unwrap()
    }
}

/// Datagrams with number and time.
struct Sends {
    end: Arc<AtomicBool>,
    work: std::thread::JoinHandle<u32>,
    begun: std::time::Instant,
}

impl Sends {
    fn begin(rate: u32) -> Sends {
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        let begun = std::time::Instant::now();
        let work = std::thread::Builder::new().name(SENDER.into()).spawn(move || {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            let mut sent: u32 = 0;
            while !told.load(Ordering::Relaxed) {
                // As many as are due, so that a turn that came late changes no rate.
                let due = begun.elapsed().as_secs_f64() * f64::from(rate);
                while f64::from(sent) < due {
                    let datagram = [&sent.to_be_bytes()[..], &monotonic().to_be_bytes()[..]].concat();
                    socket.send_to(&datagram, "10.0.0.2:9999").unwrap();
                    sent += 1;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            sent
        });
        Sends {
            end,
            work: work.unwrap(),
            begun,
        }
    }

    /// How many were sent, and how many a second that was.
    fn end(self) -> (u32, u64) {
        self.end.store(true, Ordering::Relaxed);
        let sent = self.work.join().unwrap();
        (
            sent,
            (f64::from(sent) / self.begun.elapsed().as_secs_f64()) as u64,
        )
    }
}

/// Microseconds of the clock that the guest has as well.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// Of this process without who sends: on the CPU so far.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let each = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let spent = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ours = name.trim() != SENDER;
        ours.then(|| spent.split(' ').next()?.parse::<u64>().ok())
            .flatten()
    });
    Duration::from_nanos(each.sum())
}

/// Memory of this process, bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
