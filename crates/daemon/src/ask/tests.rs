//! Bridges of the kernel's, and a neighbour with a kernel's stack of its own, in network namespaces of the test's own.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::keep::tests::place::{in_a_network, ip, run};

const GATEWAY: &str = "52:54:00:77:00:01";
const GUEST: &str = "52:54:00:aa:00:10";

/// A neighbour beyond the uplink `up0` of the bridge `br0`. It has 10.77.0.1 and fd00::1.
pub(crate) struct Fabric(Child);

impl Fabric {
    pub(crate) fn new() -> Fabric {
        let end = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut end = end.unwrap();
        // It is in its namespace when it says something.
        let mut line = [0];
        std::io::Read::read_exact(end.stdout.as_mut().unwrap(), &mut line).unwrap();
        let fabric = Fabric(end);
        ip("link add br0 type bridge");
        ip("link set br0 address 52:54:00:be:00:01 mtu 1500 up");
        ip("link add up0 type veth peer name eth0");
        ip("link set up0 master br0 up");
        ip(&format!("link set eth0 netns {}", fabric.0.id()));
        fabric.there(&format!("ip link set eth0 address {GATEWAY} up"));
        fabric.there("ip addr add 10.77.0.1/24 dev eth0");
        fabric.there("ip addr add fd00::1/64 dev eth0 nodad");
        fabric
    }

    /// It has 10.100.0.1 in VLAN 100, too; false: this kernel has no VLANs.
    pub(crate) fn has_vlan(&self) -> bool {
        let made = self.try_there("ip link add link eth0 name eth0.100 type vlan id 100");
        if made {
            self.there("ip link set eth0.100 up");
            self.there("ip addr add 10.100.0.1/24 dev eth0.100");
            self.there("sysctl -q -w net.ipv4.conf.all.arp_ignore=1");
        }
        made
    }

    fn try_there(&self, words: &str) -> bool {
        let pid = self.0.id().to_string();
        let tried = Command::new("nsenter")
            .args(["-t", &pid, "-n"])
            .args(words.split(' '))
            .status();
        tried.is_ok_and(|status| status.success())
    }

    /// Runs it where the neighbour is.
    pub(crate) fn there(&self, words: &str) {
        run("nsenter", &format!("-t {} -n {words}", self.0.id()));
    }

    fn told(&self, words: &str) -> String {
        let pid = self.0.id().to_string();
        let told = Command::new("nsenter")
            .args(["-t", &pid, "-n"])
            .args(words.split(' '))
            .output();
        String::from_utf8(told.unwrap().stdout).unwrap()
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn question(ip: &str, mac: &str, vlan: u32) -> Question {
    Question {
        ip: ip.parse().unwrap(),
        mac: mac.parse().ok(),
        tags: VlanTag::new(0x8100, vlan).into_iter().collect(),
    }
}

async fn asked(interface: &str, questions: &[Question]) -> Fact<Vec<Heard>> {
    ask(interface, 1500, &[GUEST.parse().unwrap()], questions).await
}

async fn one(interface: &str, ip: &str, mac: &str, vlan: u32) -> Heard {
    asked(interface, &[question(ip, mac, vlan)]).await.unwrap()[0]
}

fn same(long: bool) -> Heard {
    Heard::Same {
        long: Some((1500, long)),
    }
}

#[test]
fn a_neighbour_answers_through_the_bridge() {
    in_a_network("ask::tests::a_neighbour_answers_through_the_bridge", async || {
        let fabric = Fabric::new();
        let begun = Instant::now();
        assert_eq!(one("br0", "10.77.0.1", GATEWAY, 0).await, same(true));
        assert!(
            begun.elapsed() < Duration::from_millis(300),
            "who answers is not waited for"
        );
        assert_eq!(one("br0", "fd00::1", GATEWAY, 0).await, same(true));
        let other = "52:54:00:77:00:02";
        let gateway = GATEWAY.parse().unwrap();
        assert_eq!(one("br0", "10.77.0.1", other, 0).await, Heard::Other(gateway));
        assert_eq!(one("br0", "fd00::1", other, 0).await, Heard::Other(gateway));
        assert_eq!(one("br0", "10.77.0.1", "", 0).await, Heard::Somebody(gateway));
        // As below a macvtap.
        ip("link set up0 nomaster");
        assert_eq!(one("up0", "10.77.0.1", GATEWAY, 0).await, same(true));
        // Whoever was asked remembers nothing of it, and no switch has learned anything of a guest.
        let neighbours = fabric.told("ip neigh show");
        assert!(!neighbours.contains("lladdr"), "{neighbours}");
    });
}

#[test]
fn one_network_answers_for_itself_alone() {
    in_a_network("ask::tests::one_network_answers_for_itself_alone", async || {
        ip("link add br0 type bridge");
        ip("link set br0 address 52:54:00:be:00:01 up");
        ip("link add up0 type veth peer name wire0");
        ip("link set up0 master br0 up");
        ip("link set wire0 up");
        // Beyond the uplink somebody answers for 10.77.0.1 without a tag, and for 10.100.0.1 in VLAN 100.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(answers());
        });
        let all = [
            question("10.77.0.1", GATEWAY, 0),
            question("10.77.0.1", GATEWAY, 100),
            question("10.100.0.1", GATEWAY, 100),
            question("10.100.0.1", GATEWAY, 101),
            question("10.100.0.1", GATEWAY, 0),
        ];
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        let heard = asked("br0", &all).await.unwrap();
        let none = Heard::Nobody;
        assert_eq!(heard, [same(true), none, same(true), none, none]);
        let took = begun.elapsed();
        assert!((900..4000).contains(&took.as_millis()), "{took:?}");
    });
}

/// Answers what is asked for those two, each in its own network alone.
async fn answers() {
    let own = [0x52, 0x54, 0, 0xbe, 0, 1];
    let asker = [MacAddress::new(own).unwrap()];
    let mut wire = Watcher::of("wire0", &Only::Arriving(&asker)).unwrap();
    let gateway: MacAddress = GATEWAY.parse().unwrap();
    loop {
        let Next::Frame(frame) = wire.next().unwrap() else {
            wire.ready().await.unwrap();
            continue;
        };
        let tag: &[u8] = match crate::keep::tag(&frame.data) {
            Some((0x8100, 100)) => &[0x81, 0, 0, 100],
            Some(_) => continue,
            None => &[],
        };
        let ip = match tag.is_empty() {
            true => [10, 77, 0, 1],
            false => [10, 100, 0, 1],
        };
        // Whom an ARP request is about.
        if frame.data.get(tag.len() + 38..tag.len() + 42) == Some(&ip) {
            let mut answer = reply(own, gateway.bytes(), ip);
            answer.splice(12..12, tag.iter().copied());
            send(&wire, answer).unwrap();
        }
    }
}

#[test]
fn a_bridge_without_its_uplink_is_silent_and_a_narrow_one_is_told() {
    in_a_network(
        "ask::tests::a_bridge_without_its_uplink_is_silent_and_a_narrow_one_is_told",
        async || {
            let fabric = Fabric::new();
            ip("link set up0 mtu 1400");
            ip("link set br0 mtu 1500");
            assert_eq!(one("br0", "10.77.0.1", GATEWAY, 0).await, same(false));
            ip("link set up0 nomaster");
            assert_eq!(one("br0", "10.77.0.1", GATEWAY, 0).await, Heard::Nobody);
            ip("link set up0 master br0");
            // This host itself.
            ip("addr add 10.77.0.2/24 dev br0");
            assert!(matches!(
                one("br0", "10.77.0.2", "52:54:00:be:00:01", 0).await,
                Heard::Same { long: None }
            ));
            drop(fabric);
        },
    );
}

#[test]
fn where_nobody_can_be_asked_it_is_said_why() {
    in_a_network(
        "ask::tests::where_nobody_can_be_asked_it_is_said_why",
        async || {
            let fabric = Fabric::new();
            let why = async |interface: &str| {
                asked(interface, &[question("10.77.0.1", GATEWAY, 0)])
                    .await
                    .unwrap_err()
            };
            assert!(why("br7").await.contains("there is no interface br7"));
            assert_eq!(why("lo").await, "lo has no address");
            ip("link add br1 type bridge");
            let down = why("br1").await;
            assert!(down.contains("br1") && down.contains("down"), "{down}");
            ip(&format!("link set br0 address {GUEST}"));
            assert_eq!(why("br0").await, "br0 has the guest's own address");
            let neighbours = fabric.told("ip neigh show");
            assert!(!neighbours.contains(GUEST), "{neighbours}");
        },
    );
}

/// A neighbour that answers without an end, and never what was asked.
#[test]
fn who_answers_without_an_end_is_not_listened_to_without_one() {
    in_a_network(
        "ask::tests::who_answers_without_an_end_is_not_listened_to_without_one",
        async || {
            ip("link add br0 type bridge");
            ip("link set br0 address 52:54:00:be:00:01 up");
            ip("link add up0 type veth peer name wire0");
            ip("link set up0 master br0 up");
            ip("link set wire0 up");
            let own = [0x52, 0x54, 0, 0xbe, 0, 1];
            let flood = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let wire = Watcher::of("wire0", &Only::Answers).unwrap();
                    let end = Instant::now() + Duration::from_secs(4);
                    while Instant::now() < end {
                        let _ = send(&wire, reply(own, [2, 0, 0, 0, 0, 1], [10, 77, 0, 99]));
                    }
                });
            });
            let begun = Instant::now();
            assert_eq!(one("br0", "10.77.0.1", GATEWAY, 0).await, Heard::Nobody);
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(4000), "{took:?}");
            flood.join().unwrap();
        },
    );
}

/// An answer to a question of nobody in particular.
fn reply(to: [u8; 6], from: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    [&to[..], &from, &head, &from, &ip, &to, &[0; 4]].concat()
}

#[test]
fn only_an_answer_to_us_counts() {
    let own = [0x52, 0x54, 0, 0xbe, 0, 1];
    let from = [2, 0, 0, 0, 0, 1];
    let heard = |data: Vec<u8>| {
        let offload = Default::default();
        answer(&Frame { data, offload }, own)
    };
    let good = reply(own, from, [10, 77, 0, 1]);
    let (ip, mac, tags) = heard(good.clone()).unwrap();
    assert_eq!(
        (ip.to_string(), mac.bytes(), tags.len()),
        ("10.77.0.1".into(), from, 0)
    );
    assert_eq!(
        heard(reply([2, 0, 0, 0, 0, 9], from, [10, 77, 0, 1])),
        None,
        "to somebody else"
    );
    assert_eq!(
        heard(reply(own, [1, 0, 0x5e, 0, 0, 1], [10, 77, 0, 1])),
        None,
        "a group is nobody"
    );
    // Tags, of which one has a priority alone.
    let mut tagged = good.clone();
    tagged.splice(12..12, [0x88, 0xa8, 0x20, 7, 0x81, 0, 0xe0, 0, 0x81, 0, 0, 100]);
    let vlans: Vec<u16> = heard(tagged).unwrap().2.iter().map(|tag| tag.vlan).collect();
    assert_eq!(vlans, [7, 100]);
    for length in 0..42 {
        assert_eq!(heard(good[..length].to_vec()), None);
    }
}
