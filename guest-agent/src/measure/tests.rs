//! The probes themselves, through a veth pair between two network namespaces of the test's own.

use std::process::Command;

use godwit_api::agent::v1::ProbeKind;
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
