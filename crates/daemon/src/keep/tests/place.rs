//! A network namespace with two taps, a daemon that takes kept frames, and a guest on its way to it.

use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use godwit_api::{
    peer::v1::{
        ListMacsResponse, ReserveRequest, WantedPair, keep_service_server::KeepServiceServer,
        peer_service_server::PeerService,
    },
    v1 as api,
};
use godwit_coordinator::{
    Caller, Coordinator, Deadlines, Expiry, History, Job, Journal, Limits, PeerDesk, Settings as Host, World,
};
use godwit_migration::{
    Brief, Cause, Event, Guest as Named, Pair, PciAddress, Phase, Policy, Report, Sighting, Vf,
    doctor::Diagnosis, preflight::GuestFacts, profile::MustMatch,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Notify, broadcast},
    task,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request,
    transport::{Channel, Endpoint, Server},
};

use super::*;

pub(super) const MAC: &str = "52:54:00:aa:00:10";
pub(super) const GUEST: &str = "60d01700-0000-4000-8000-000000000010";
pub(super) const MIGRATION: &str = "0198c0de-1111-7222-8333-444455556666";

/// Says to the child that it is in a namespace of its own.
const INSIDE: &str = "GODWIT_TEST_KEEP";

/// Runs the story in the namespace, as the only test of this program; what it said.
pub(crate) fn in_a_network(name: &str, story: impl AsyncFnOnce()) -> String {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.unwrap().block_on(story());
        return String::new();
    }
    let within = |then: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c"]);
        command.args([
            "mount -t sysfs sysfs /sys && ip link set lo up && exec \"$@\"",
            "sh",
        ]);
        command.args(then).env(INSIDE, "1").stdin(Stdio::null()).output()
    };
    if !within(&["ip", "tuntap", "add", "dev", "vnet9", "mode", "tap"])
        .is_ok_and(|tried| tried.status.success())
    {
        eprintln!("skipped: this user may not have a network namespace with a tap");
        return String::new();
    }
    let program = std::env::current_exe().unwrap();
    let alone = ["--exact", name, "--nocapture", "--include-ignored"];
    let told = within(&[&[program.to_str().unwrap()], alone.as_slice()].concat()).unwrap();
    let words = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && words.contains("1 passed"), "{words}");
    words
}

pub(crate) fn ip(words: &str) {
    run("ip", words);
}

pub(crate) fn run(program: &str, words: &str) {
    let status = Command::new(program).args(words.split(' ')).status();
    assert!(status.unwrap().success(), "{program} {words}");
}

/// Waits until it is so, twenty seconds at most: what is asserted then says what is missing.
pub(super) async fn until(so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Nobody but the peer asks it for anything.
#[derive(Default)]
pub(super) struct Empty {
    arrived: Arc<Notify>,
}

impl World for Empty {
    async fn work(&self, job: Job) -> Event {
        if job.state.phase() == Some(Phase::Await) {
            self.arrived.notified().await;
        }
        Event::Done(Report::of("so it is"))
    }
    async fn abort(&self, _: &Brief) -> Result<(), Cause> {
        Ok(())
    }
    async fn guests(&self, _: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        Ok(Vec::new())
    }
    async fn adopt(&self, _: &Named, _: &[Pair], _: Policy) -> Result<(), Cause> {
        Ok(())
    }
    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        Ok(Vec::new())
    }
    async fn clean(&self, _: PciAddress) -> Result<(), Cause> {
        Ok(())
    }
    async fn sight(&self, _: &str) -> Sighting {
        Sighting::Absent
    }
    async fn plan(&self, _: godwit_coordinator::Planning<'_>) -> Result<godwit_coordinator::Planned, Cause> {
        Ok(godwit_coordinator::Planned::default())
    }
    async fn greet(&self, _: &str) -> Result<api::Host, Cause> {
        Err(Cause::default())
    }
    async fn macs(&self, _: &str) -> Result<ListMacsResponse, Cause> {
        Err(Cause::default())
    }
    async fn record(&self, _: &Brief) -> Result<Option<godwit_api::v1::Migration>, Cause> {
        Ok(None)
    }

    async fn doctor(&self, _: Option<&GuestFacts>) -> Diagnosis {
        Diagnosis::default()
    }
}

pub(super) struct Place {
    files: TempDir,
    /// The guest comes.
    pub(super) arrived: Arc<Notify>,
    pub(super) events: broadcast::Sender<crate::libvirt::Event>,
    pub(super) channel: Channel,
}

impl Place {
    /// The host `alpha` awaits a guest from `beta`, and has little room; everybody who comes is `caller`.
    pub(super) async fn new(caller: &'static str) -> Place {
        Place::with(60_000, async |_, desk| plain(caller, desk).await).await
    }

    /// The same with the room that hosts have, behind that door.
    pub(super) async fn behind(door: impl AsyncFnOnce(&Path, KeepDesk<Empty>) -> Channel) -> Place {
        Place::with(Settings::default().room, door).await
    }

    async fn with(room: usize, door: impl AsyncFnOnce(&Path, KeepDesk<Empty>) -> Channel) -> Place {
        let files = tempfile::tempdir().unwrap();
        // Each host sees its own tap, and its bridge with that.
        let own = [
            ("source", ["vnet0", "br0", "up0"].as_slice()),
            (
                "destination",
                ["vnet1", "br1", "up1", "vnet2", "vnet3"].as_slice(),
            ),
        ];
        for (host, interfaces) in own {
            let folder = files.path().join(host).join("sys/class/net");
            std::fs::create_dir_all(&folder).unwrap();
            for interface in interfaces {
                symlink(format!("/sys/class/net/{interface}"), folder.join(interface)).unwrap();
            }
            symlink("/proc", files.path().join(host).join("proc")).unwrap();
        }
        let (coordinator, arrived) = coordinator(&files).await;
        let mut asked = Request::new(ReserveRequest {
            migration_id: MIGRATION.into(),
            guest: "web-1".into(),
            guest_uuid: GUEST.into(),
            policy: api::Policy::StandbyOnly.into(),
            pairs: vec![WantedPair {
                mac: MAC.into(),
                primary_mac: MAC.into(),
                pool: "fabric".into(),
                alias: "ua-vf".into(),
                profile: None,
            }],
            ..ReserveRequest::default()
        });
        asked.extensions_mut().insert(Caller("beta".into()));
        PeerDesk(coordinator.clone()).reserve(asked).await.unwrap();
        let settings = Settings {
            root: files.path().join("destination"),
            room,
            ..Settings::default()
        };
        let desk = KeepDesk::new(coordinator, settings);
        let channel = door(files.path(), desk).await;
        Place {
            files,
            arrived,
            events: broadcast::channel(16).0,
            channel,
        }
    }

    /// Whoever reads that tap. It gets an address as libvirt gives it.
    pub(super) fn guest(&self, tap: &'static str) -> Guest {
        self.emulator(tap, GUEST, 0x10)
    }

    /// The emulator of a guest, with a NIC whose MAC ends so.
    pub(super) fn emulator(&self, tap: &str, guest: &str, mac: u8) -> Guest {
        let emulator = Guest::new(tap, guest);
        ip(&format!("link set {tap} address fe:54:00:aa:00:{mac:02x}"));
        ip(&format!("link set {tap} up"));
        emulator
    }

    /// A guest that reads slowly loses nothing in that tap's queue.
    pub(super) fn is_deep(&self, tap: &str) {
        ip(&format!("link set {tap} txqueuelen 50000"));
    }

    /// What is for the guest goes to the source's tap.
    pub(super) fn wire(&self) {
        if std::path::Path::new("/sys/class/net/vnet0").exists() {
            ip("addr add 10.0.0.1/24 dev vnet0");
            ip(&format!("neigh add 10.0.0.2 lladdr {MAC} dev vnet0"));
        }
    }

    /// The taps are ports of their hosts' bridges, which a network joins.
    pub(super) fn fabric(&self) {
        ip("link add fab type bridge");
        ip("link set fab up");
        for (tap, host) in [("vnet0", 0), ("vnet1", 1)] {
            ip(&format!("link add br{host} type bridge"));
            ip(&format!("link add up{host} type veth peer name fab{host}"));
            ip(&format!("link set fab{host} master fab up"));
            ip(&format!("link set up{host} master br{host} up"));
            ip(&format!("link set {tap} master br{host}"));
            ip(&format!("link set br{host} up"));
        }
    }

    /// What is sent for the guest goes into that interface of the network.
    pub(super) fn sends_by(&self, interface: &str) {
        ip(&format!("addr add 10.0.0.1/24 dev {interface}"));
        ip(&format!("neigh add 10.0.0.2 lladdr {MAC} dev {interface}"));
    }

    /// The network has learned that the guest is at the source.
    pub(super) fn knows_the_source(&self) {
        run("bridge", &format!("fdb add {MAC} dev fab0 master dynamic"));
    }

    /// That many, as fast as they go.
    pub(super) async fn burst(&self, numbers: std::ops::Range<u32>) {
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        for number in numbers {
            socket.send_to(&number.to_be_bytes(), "10.0.0.2:9999").unwrap();
            if number % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// How many frames that tap's reader has read, whosever they are.
    pub(super) fn read_of(&self, tap: &str) -> u64 {
        let file = format!("/sys/class/net/{tap}/statistics/tx_packets");
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    pub(super) fn keeper(&self, emulated: bool) -> Keeper {
        self.patient_keeper(emulated, Duration::from_millis(100))
    }

    /// One that looks for stragglers for so long.
    pub(super) fn patient_keeper(&self, emulated: bool, stragglers: Duration) -> Keeper {
        let settings = Settings {
            stragglers,
            root: self.files.path().join("source"),
            ..Settings::default()
        };
        let mac = MAC.parse().unwrap();
        let interface = Interface {
            mac,
            macs: vec![mac],
            emulated,
        };
        let migration = (MIGRATION.to_owned(), GUEST.parse().unwrap());
        let (events, channel) = (self.events.subscribe(), self.channel.clone());
        Keeper::begin(&settings, migration, vec![interface], events, channel)
    }

    /// Some 500 numbered datagrams a second.
    pub(super) fn send(&self) -> Sender {
        let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (told, count) = (Arc::clone(&end), Arc::clone(&sent));
        let work = std::thread::spawn(move || {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            while !told.load(Ordering::SeqCst) {
                let number = count.load(Ordering::SeqCst);
                socket.send_to(&number.to_be_bytes(), "10.0.0.2:9999").unwrap();
                count.store(number + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Sender { end, sent, work }
    }
}

/// A door that takes everybody for `caller`.
async fn plain(caller: &'static str, desk: KeepDesk<Empty>) -> Channel {
    let named = KeepServiceServer::with_interceptor(desk, move |mut request: Request<()>| {
        request.extensions_mut().insert(Caller(caller.into()));
        Ok(request)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    task::spawn(Server::builder().add_service(named).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}"));
    channel.unwrap().connect_lazy()
}

async fn coordinator(files: &TempDir) -> (Coordinator<Empty>, Arc<Notify>) {
    let settings = Host {
        host: "alpha".into(),
        peers: vec!["beta".into()],
        deadlines: Deadlines::new([]),
        limits: Limits::default(),
        history: History::default(),
        must_match: MustMatch::default(),
        pools: vec!["fabric".into()],
        unasked: Default::default(),
        certificate: Expiry::default(),
    };
    let journal = Journal::open(files.path()).unwrap();
    let world = Empty::default();
    let arrived = Arc::clone(&world.arrived);
    let started = Coordinator::start(settings, Arc::new(world), journal).await;
    (started.unwrap(), arrived)
}

pub(super) struct Sender {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    work: JoinHandle<()>,
}

impl Sender {
    /// How many were sent so far.
    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Waits until it has sent so many more.
    pub(super) async fn more(&self, many: u32) {
        let from = self.sent();
        until(|| self.sent() >= from + many).await;
    }

    /// How many were sent.
    pub(super) async fn end(self) -> u32 {
        self.end.store(true, Ordering::SeqCst);
        task::spawn_blocking(|| self.work.join().unwrap()).await.unwrap();
        self.sent.load(Ordering::SeqCst)
    }
}

/// A process that reads a tap as an emulator does.
pub(super) struct Guest {
    process: Child,
    orders: ChildStdin,
    told: Arc<Mutex<Vec<String>>>,
}

impl Guest {
    fn new(tap: &str, guest: &str) -> Guest {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/keep/tests/guest.py");
        let mut process = Command::new("python3")
            .args([program, tap, "-uuid", guest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push(line))
        });
        let orders = process.stdin.take().unwrap();
        let guest = Guest {
            process,
            orders,
            told,
        };
        guest.hear("ready", 0);
        guest
    }

    /// Whether it runs.
    pub(super) fn say(&mut self, order: &str) {
        let before = self.told.lock().unwrap().len();
        self.orders.write_all(format!("{order}\n").as_bytes()).unwrap();
        self.hear(&format!("mode {order}"), before);
    }

    /// Behind so many that it said before.
    fn hear(&self, line: &str, before: usize) {
        for _ in 0..4000 {
            if self.told.lock().unwrap()[before..]
                .iter()
                .any(|told| told == line)
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the guest did not say {line}");
    }

    /// Waits until it has got so many.
    pub(super) async fn gets(&self, many: usize) {
        until(|| self.got().len() >= many).await;
    }

    /// The numbers that it got, in their order.
    pub(super) fn got(&self) -> Vec<u32> {
        let told = self.told.lock().unwrap();
        let numbers = told
            .iter()
            .filter_map(|line| line.strip_prefix("got ")?.parse().ok());
        numbers.collect()
    }
}

/// A frame as a guest that kept quiet tells of it.
pub(super) struct Came {
    pub(super) number: u32,
    /// Microseconds of the monotonic clock, and since it was sent.
    pub(super) at_us: u64,
    pub(super) late_us: u64,
}

impl Guest {
    /// What it got while it was `quiet`, when it was told to `tell`.
    pub(super) fn came(&self) -> Vec<Came> {
        let told = self.told.lock().unwrap();
        let came = told.iter().filter_map(|line| line.strip_prefix("came "));
        let read = |line: &str| {
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            Came {
                number: numbers[0] as u32,
                at_us: numbers[1],
                late_us: numbers[2],
            }
        };
        came.map(read).collect()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
