//! The probes themselves, through a veth pair between two network namespaces of the test's own.

use std::net::UdpSocket as Socket;
use std::process::Command;

use godwit_api::agent::v1::ProbeKind;
use godwit_wire::reflect::{LENGTH, Question, Reflector};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::sysfs::Sysfs;

/// Says to the child that it is in a namespace of its own, and what it has there.
const INSIDE: &str = "GODWIT_TEST_NETWORK";

/// A router behind `v0`, its network, and an address behind it. `$P` is in the router's namespace.
const NETWORK: &str = "
    unshare --net sleep 60 & P=$!
    trap 'kill $P' EXIT
    while [ \"$(readlink /proc/$P/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
    set -e
    ip link set lo up
    ip link add v0 type veth peer name v1
    ip link set v1 netns $P
    there() { nsenter --target $P --net \"$@\"; }
    there ip link set lo up
    there ip addr add 10.0.0.1/24 dev v1
    there ip addr add fd00::1/64 dev v1 nodad
    there ip addr add 192.0.2.1/32 dev lo
    there ip link set v1 up
    ip addr add 10.0.0.2/24 dev v0
    ip addr add fd00::2/64 dev v0 nodad
    ip link set v0 up
    ip route add default via 10.0.0.1
    export GODWIT_TEST_NETWORK=$P
    \"$@\"";

fn in_a_network(name: &str, story: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(story());
    }
    let within = |then: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", NETWORK, "sh"]);
        command.args(then).output()
    };
    if !within(&["true"]).is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: this user may not have a network namespace with a veth pair");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let told = within(&[program.to_str().unwrap(), "--exact", name, "--nocapture"]).unwrap();
    let words = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && words.contains("1 passed"), "{words}");
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status();
    assert!(status.unwrap().success(), "ip {words}");
}

/// A record of what goes to that address through `v0`.
async fn kept(guest: &Arc<Guest>, to: &str) -> Arc<Kept> {
    let links = guest.kernel.links().await.unwrap();
    let link = links.iter().find(|link| link.name == "v0").unwrap().index;
    let surroundings = Surroundings::read(guest.kernel, None).await.unwrap();
    let target = surroundings.target(&links, link, to.parse().ok()).unwrap();
    let ask = Ask {
        per_second: 100,
        ..Ask::default()
    };
    let kept = Kept::new(&ask, Mac([2; 6]), target);
    guest.measurements.keep(Arc::clone(&kept));
    kept
}

async fn ended(kept: &Kept) -> Measured {
    kept.stop.send_replace(true);
    let mut at_work = kept.at_work.subscribe();
    let stopped = at_work.wait_for(|at_work| !at_work);
    drop(timeout(Duration::from_secs(10), stopped).await.unwrap());
    kept.told()
}

#[test]
fn each_kind_of_probe_is_answered_and_a_second_without_a_link_is_told() {
    let name = "measure::tests::each_kind_of_probe_is_answered_and_a_second_without_a_link_is_told";
    in_a_network(name, async || {
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        for (to, kind) in [
            ("10.0.0.1", ProbeKind::Arp),
            ("fd00::1", ProbeKind::Nd),
            ("192.0.2.1", ProbeKind::Echo),
        ] {
            let kept = kept(&guest, to).await;
            kept.counts().mark("before");
            Kept::go_on(&kept, &guest).unwrap();
            // The neighbours of the kernels on the way are found, and the link-local address is.
            sleep(Duration::from_millis(1500)).await;
            kept.counts().mark("down");
            ip("link set v0 down");
            sleep(Duration::from_secs(1)).await;
            ip("link set v0 up");
            ip("addr replace fd00::2/64 dev v0 nodad");
            ip("route replace default via 10.0.0.1");
            sleep(Duration::from_millis(1500)).await;
            kept.counts().mark("after");
            sleep(Duration::from_secs(1)).await;
            let told = ended(&kept).await;
            assert_eq!(
                (told.kind(), told.running, told.target.as_str()),
                (kind, false, to)
            );
            let [before, down, after] = &told.parts[..] else {
                panic!("{told:?}")
            };
            // A machine with other things to do wakes late: then fewer are sent, and none of them is lost.
            assert!(
                before.sent >= 30 && before.answered + before.lost == before.sent,
                "{told:?}"
            );
            assert!((20..=150).contains(&down.lost), "{told:?}");
            assert!((950..=2500).contains(&down.longest_gap_ms), "{told:?}");
            assert!(
                after.sent >= 20 && after.lost == 0 && after.answered == after.sent,
                "{told:?}"
            );
        }
    });
}

#[test]
fn nothing_runs_when_a_record_has_ended_and_a_new_one_takes_its_place() {
    let name = "measure::tests::nothing_runs_when_a_record_has_ended_and_a_new_one_takes_its_place";
    in_a_network(name, async || {
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        let first = kept(&guest, "10.0.0.1").await;
        Kept::go_on(&first, &guest).unwrap();
        sleep(Duration::from_millis(200)).await;
        let second = kept(&guest, "10.0.0.1").await;
        Kept::go_on(&second, &guest).unwrap();
        assert_eq!(guest.measurements.lock().len(), 1);
        sleep(Duration::from_millis(200)).await;
        assert!(!first.told().running && second.told().running);
        let told = ended(&second).await;
        assert!(told.parts[0].sent > 1, "{told:?}");
        sleep(Duration::from_millis(100)).await;
        let (parts, tasks) = (told.parts, tokio::runtime::Handle::current());
        assert_eq!(
            (second.told().parts, tasks.metrics().num_alive_tasks()),
            (parts, 0)
        );
    });
}

/// Also of a target that never answers.
#[test]
fn a_record_ends_by_itself() {
    let name = "measure::tests::a_record_ends_by_itself";
    in_a_network(name, async || {
        tokio::time::pause();
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        let kept = kept(&guest, "10.0.0.77").await;
        Kept::go_on(&kept, &guest).unwrap();
        sleep(LIMIT - Duration::from_secs(1)).await;
        assert!(kept.told().running);
        sleep(Duration::from_secs(5)).await;
        let told = kept.told();
        assert!(
            !told.running && told.parts[0].lost == told.parts[0].sent,
            "{told:?}"
        );
        Kept::go_on(&kept, &guest).unwrap();
        assert!(!kept.told().running, "its time is over");
    });
}

#[test]
fn while_a_port_is_proved_nothing_is_sent_and_that_is_no_gap() {
    let name = "measure::tests::while_a_port_is_proved_nothing_is_sent_and_that_is_no_gap";
    in_a_network(name, async || {
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        let kept = kept(&guest, "10.0.0.1").await;
        Kept::go_on(&kept, &guest).unwrap();
        sleep(Duration::from_millis(1500)).await;
        let other = guest.measurements.hush(Mac([4; 6])).await;
        assert!(other.0.is_empty(), "the pair has no record");
        let hush = guest.measurements.hush(Mac([2; 6])).await;
        kept.counts().mark("hushed");
        sleep(Duration::from_millis(1500)).await;
        drop(hush);
        kept.counts().mark("after");
        sleep(Duration::from_millis(500)).await;
        let told = ended(&kept).await;
        let [before, hushed, after] = &told.parts[..] else {
            panic!("{told:?}")
        };
        assert!(before.sent > 0 && after.sent > 0, "{told:?}");
        assert_eq!(hushed.sent, 0, "{told:?}");
        assert!(
            hushed.longest_gap_ms < 1500 && after.longest_gap_ms < 1500,
            "{told:?}"
        );
        // One that was told to stop meanwhile does not begin again.
        Kept::go_on(&kept, &guest).unwrap();
        sleep(Duration::from_millis(100)).await;
        let hush = guest.measurements.hush(Mac([2; 6])).await;
        let sent = ended(&kept).await.parts[2].sent;
        drop(hush);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(kept.told().parts[2].sent, sent);
    });
}

/// Passes on what `passes` lets through, of questions and of answers, each with its number: to a reflector of its own.
async fn lossy(passes: impl Fn(bool, u64) -> bool) -> std::io::Result<()> {
    let socket = UdpSocket::bind(LOSSY).await?;
    let (mut reflector, begun) = (Reflector::default(), Instant::now());
    loop {
        let mut question = [0; 2 * LENGTH];
        let (length, from) = socket.recv_from(&mut question).await?;
        let number = Question::decode(&question[..length]).unwrap().number;
        if !passes(true, number) {
            continue;
        }
        let answer = reflector
            .answer(begun.elapsed(), from.ip(), &question[..length])
            .unwrap();
        if passes(false, number) {
            socket.send_to(&answer, from).await?;
        }
    }
}

const LOSSY: &str = "127.0.0.1:7007";

/// Of every ten questions one is lost, and of every ten answers two; then, for longer than a probe is waited for, every answer.
#[test]
fn which_way_a_probe_was_lost_is_told_where_a_reflector_runs() {
    let name = "measure::tests::which_way_a_probe_was_lost_is_told_where_a_reflector_runs";
    in_a_network(name, async || {
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        let silent = Arc::new(AtomicBool::new(false));
        let none_comes_back = Arc::clone(&silent);
        let between = tokio::spawn(lossy(move |question, number| match question {
            true => number % 10 != 3,
            false => ![5, 6].contains(&(number % 10)) && !none_comes_back.load(Relaxed),
        }));
        let target = Target {
            ip: [127, 0, 0, 1].into(),
            link: 1,
            name: "lo".to_owned(),
            mac: Mac([2; 6]),
            from: [127, 0, 0, 1].into(),
            near: true,
            reflector: Some(7007),
        };
        let ask = Ask {
            per_second: 100,
            ..Ask::default()
        };
        let kept = Kept::new(&ask, Mac([2; 6]), target);
        kept.counts().mark("before");
        Kept::go_on(&kept, &guest).unwrap();
        sleep(Duration::from_secs(2)).await;
        kept.counts().mark("silent");
        silent.store(true, Relaxed);
        sleep(Duration::from_millis(1500)).await;
        silent.store(false, Relaxed);
        kept.counts().mark("after");
        sleep(Duration::from_millis(500)).await;
        let told = ended(&kept).await;
        between.abort();
        assert_eq!(
            (told.kind(), told.target.as_str()),
            (ProbeKind::Reflector, "127.0.0.1")
        );
        let [before, silent, after] = &told.parts[..] else {
            panic!("{told:?}")
        };
        let tens = before.sent / 10;
        assert!(tens >= 5 && before.duplicated == 0, "{told:?}");
        assert!((tens..=tens + 1).contains(&before.lost_there), "{told:?}");
        assert!((2 * tens..=2 * tens + 2).contains(&before.lost_back), "{told:?}");
        // Told by the answers after it.
        assert!(silent.answered <= 2 && silent.lost_back >= 40, "{told:?}");
        assert!(silent.lost_there * 8 <= silent.lost_back, "{told:?}");
        for part in [before, silent] {
            assert_eq!(part.lost_there + part.lost_back, part.lost, "{told:?}");
        }
        // Nothing comes after the last ones.
        let untold = after.lost - after.lost_there - after.lost_back;
        assert!(untold <= 2, "{told:?}");
    });
}

/// Runs in the router's namespace, if it is told where to listen.
#[test]
fn reflects_there() {
    let Ok(at) = std::env::var("GODWIT_TEST_REFLECT") else {
        return;
    };
    let socket = Socket::bind(at).unwrap();
    let mut reflector = Reflector::default();
    loop {
        let mut question = [0; LENGTH];
        let (_, from) = socket.recv_from(&mut question).unwrap();
        let answer = reflector.answer(Duration::ZERO, from.ip(), &question).unwrap();
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn a_reflector_that_answers_is_asked_and_else_who_is_wanted() {
    let name = "measure::tests::a_reflector_that_answers_is_asked_and_else_who_is_wanted";
    in_a_network(name, async || {
        let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
        let router = std::env::var(INSIDE).unwrap();
        let there = |at: &str| {
            let mut command = Command::new("nsenter");
            command
                .args(["--target", &router, "--net"])
                .arg(std::env::current_exe().unwrap());
            command.args(["--exact", "measure::tests::reflects_there"]);
            command.env("GODWIT_TEST_REFLECT", at).spawn().unwrap()
        };
        let links = guest.kernel.links().await.unwrap();
        let link = links.iter().find(|link| link.name == "v0").unwrap().index;
        let chosen = async |named: &str| {
            let ask = Ask {
                target: "10.0.0.1".parse().ok(),
                reflector: named.parse().ok(),
                ..Ask::default()
            };
            chosen(&guest, link, &ask).await.unwrap().unwrap()
        };
        // On the link itself, by either family, and behind the router.
        for at in ["10.0.0.1:7007", "[fd00::1]:7007", "192.0.2.1:7007"] {
            let mut reflector = there(at);
            let mut found = chosen(at).await;
            for _ in 0..50 {
                if found.reflector.is_none() {
                    sleep(Duration::from_millis(100)).await;
                    found = chosen(at).await;
                }
            }
            assert_eq!(voice::kind(&found), ProbeKind::Reflector, "{at}");
            let kept = Kept::new(
                &Ask {
                    per_second: 100,
                    ..Ask::default()
                },
                Mac([2; 6]),
                found,
            );
            Kept::go_on(&kept, &guest).unwrap();
            sleep(Duration::from_millis(500)).await;
            let told = ended(&kept).await;
            reflector.kill().unwrap();
            reflector.wait().unwrap();
            assert!(
                told.parts[0].answered >= 10 && told.parts[0].lost == 0,
                "{told:?}"
            );
            // It does not answer any more.
            let instead = chosen(at).await;
            assert_eq!(
                (instead.ip.to_string().as_str(), instead.reflector),
                ("10.0.0.1", None)
            );
        }
        ip("addr flush dev v0 scope global");
        ip("addr add 10.0.0.2/24 dev v0");
        let instead = chosen("[2001:db8::9]:7007").await;
        assert_eq!(voice::kind(&instead), ProbeKind::Arp, "there is no way");
    });
}
