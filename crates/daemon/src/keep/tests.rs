//! From one guest's tap to another's, with the kernel's own taps in a network namespace of the test's own.

mod measure;
pub(crate) mod place;
mod stragglers;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use godwit_api::peer::v1::{KeepRequest, KeptFrame, KeptFrames, keep_service_client::KeepServiceClient};
use tokio::time::sleep;
use tonic::Code;

use self::place::{GUEST, MAC, MIGRATION, Place, in_a_network, until};
use super::*;
use crate::libvirt::{Event, Lifecycle, Resumed, Suspended};

fn suspended() -> Event {
    change(Lifecycle::Suspended(Suspended::Migrated))
}

fn change(change: Lifecycle) -> Event {
    Event::Lifecycle {
        uuid: GUEST.parse().unwrap(),
        name: "web-1".into(),
        change,
    }
}

async fn pass(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// How the tap's reader stops, in the words of `guest.py`: an emulator that keeps one frame, or has thrown one away before, or the kernel.
const EMULATOR: &str = "hold";
const EMULATOR_THROWS: &str = "throw";
const KERNEL: &str = "stop";

/// Moves with a pause of so long; what was kept, and what each tap's guest got.
async fn moved(stops: &str, pause_ms: u64) {
    let emulated = stops != KERNEL;
    let place = Place::new("beta").await;
    let (mut source, mut destination) = (place.guest("vnet0"), place.guest("vnet1"));
    place.wire();
    source.say("run");
    destination.say(if emulated { "hold" } else { "stop" });
    let keeper = place.keeper(emulated);
    let sender = place.send();
    source.gets(50).await;
    source.say(stops);
    pass(20).await;
    place.events.send(suspended()).unwrap();
    let stopped = sender.sent();
    pass(pause_ms).await;
    sender.more(40).await;
    let in_pause = sender.sent() - stopped;
    destination.say("run");
    destination.gets(5).await;
    // By now it is seen to run.
    let ran = sender.sent();
    until(|| destination.got().last() > Some(&(ran + 10))).await;
    let sent = sender.end().await;
    let kept = keeper.end(true).await;
    let all = || -> BTreeSet<u32> { source.got().into_iter().chain(destination.got()).collect() };
    until(|| all().len() == sent as usize).await;
    let (before, after, all) = (source.got(), destination.got(), all());
    assert_eq!(all, BTreeSet::from_iter(0..sent), "{kept:?}");
    assert!(after.is_sorted() && after.len() >= in_pause as usize, "{after:?}");
    // An emulator's last frames may come twice: what it did with them nobody saw.
    let twice = before.len() + after.len() - all.len();
    assert!(
        twice <= 2 * usize::from(emulated),
        "{twice} came twice, {kept:?}: {before:?} and {after:?}"
    );
    assert_eq!(
        (
            kept.frames,
            kept.delivered,
            kept.lost,
            kept.no_room,
            kept.not_kept.clone()
        ),
        (after.len() as u64, after.len() as u64, 0, 0, None)
    );
    // Those of the pause were there before the guest ran; the others are stragglers. A busy machine has more of these.
    assert!(kept.frames - kept.late >= u64::from(in_pause) / 4, "{kept:?}");
    assert!(
        kept.late > 0 && u64::from(kept.longest_ms) >= pause_ms / 2,
        "{kept:?}"
    );
}

#[test]
fn what_arrives_in_the_pause_is_delivered_where_the_guest_runs_next() {
    in_a_network(
        "keep::tests::what_arrives_in_the_pause_is_delivered_where_the_guest_runs_next",
        async || moved(EMULATOR, 400).await,
    );
}

/// As it does of what it reads between the guest's stop and that of its processors.
#[test]
fn what_an_emulator_throws_away_is_delivered_too() {
    in_a_network(
        "keep::tests::what_an_emulator_throws_away_is_delivered_too",
        async || moved(EMULATOR_THROWS, 400).await,
    );
}

#[test]
fn so_it_is_where_the_kernel_reads_the_tap() {
    in_a_network(
        "keep::tests::so_it_is_where_the_kernel_reads_the_tap",
        async || {
            moved(KERNEL, 400).await;
        },
    );
}

#[test]
fn a_guest_that_goes_on_at_the_source_finds_all_there_and_nothing_twice() {
    in_a_network(
        "keep::tests::a_guest_that_goes_on_at_the_source_finds_all_there_and_nothing_twice",
        async || {
            let place = Place::new("beta").await;
            let (mut source, destination) = (place.guest("vnet0"), place.guest("vnet1"));
            place.wire();
            source.say("run");
            let keeper = place.keeper(true);
            let sender = place.send();
            source.gets(50).await;
            source.say("hold");
            let before = source.got().len() as u64;
            place.events.send(suspended()).unwrap();
            pass(300).await;
            sender.more(40).await;
            drop(destination);
            source.say("run");
            place
                .events
                .send(change(Lifecycle::Resumed(Resumed::Migrated)))
                .unwrap();
            // Many, so that a keeper that is told late on a busy machine still leaves some out.
            source.gets(source.got().len() + 600).await;
            let sent = sender.end().await;
            let kept = keeper.end(false).await;
            source.gets(sent as usize).await;
            assert_eq!(source.got(), Vec::from_iter(0..sent), "{kept:?}");
            // What comes once it runs again is none of the pause.
            assert!(
                kept.frames > 0 && before + kept.frames + 20 <= u64::from(sent),
                "{kept:?}"
            );
            assert_eq!((kept.returned, kept.lost), (kept.frames, 0), "{kept:?}");
        },
    );
}

/// The record says how many of them.
#[test]
fn what_had_no_room_in_the_taps_own_queue_does_not_come_to_a_guest_that_stays() {
    in_a_network(
        "keep::tests::what_had_no_room_in_the_taps_own_queue_does_not_come_to_a_guest_that_stays",
        async || {
            // Nothing but the datagrams comes to a tap: what it has no room for is theirs.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let place = Place::new("beta").await;
            let (mut source, _destination) = (place.guest("vnet0"), place.guest("vnet1"));
            place.wire();
            source.say("run");
            let keeper = place.keeper(true);
            place.burst(0..10).await;
            source.gets(10).await;
            // By then it has been looked at while nothing waited, and the last one is none of the guest's stop.
            pass(1100).await;
            source.say("hold");
            place.events.send(suspended()).unwrap();
            place.burst(10..1610).await;
            pass(200).await;
            // As libvirt does it whose transfer failed: it says so when the guest runs already.
            source.say("run");
            pass(200).await;
            let kept = keeper.end(false).await;
            // Behind all that the tap still had.
            source.gets(500).await;
            place.burst(1610..1611).await;
            until(|| source.got().last() == Some(&1610)).await;
            let mut got = source.got();
            assert_eq!(got.pop(), Some(1610));
            assert!(got.is_sorted() && got.len() < 1610, "{}", got.len());
            let returned = got.len() as u64 - 10;
            let lost = 1600 - returned.max(kept.delivered + kept.no_room);
            assert_eq!((kept.frames, kept.lost), (1600, lost), "{kept:?}");
            // One may have been read before the stop was known, and was not taken then.
            let counted = kept.returned..=kept.returned + 1;
            assert!(counted.contains(&returned), "{returned}: {kept:?}");
        },
    );
}

/// What the tap has counted is held against what was seen: one that is seen later would be taken for one that the guest did not get.
#[test]
fn a_frame_is_seen_before_the_runtime_has_heard_of_it() {
    in_a_network(
        "keep::tests::a_frame_is_seen_before_the_runtime_has_heard_of_it",
        async || {
            let place = Place::new("beta").await;
            let _guest = place.guest("vnet0");
            place.wire();
            // Nobody runs this one.
            let idle = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let idle = idle.unwrap();
            let within = idle.enter();
            let mut watcher = socket::Watcher::open("vnet0").unwrap();
            drop(within);
            place.burst(1..2).await;
            let mut seen = Vec::new();
            while let socket::Next::Frame(frame) = watcher.next().unwrap() {
                seen.push(frame.data);
            }
            // Its number is the last that it carries.
            assert!(
                seen.iter().any(|data| data.ends_with(&1_u32.to_be_bytes())),
                "{seen:?}"
            );
            idle.shutdown_background();
        },
    );
}

/// libvirt may call a transfer failed whose guest has gone.
#[test]
fn a_guest_whose_tap_has_gone_does_not_stay_whatever_is_said() {
    in_a_network(
        "keep::tests::a_guest_whose_tap_has_gone_does_not_stay_whatever_is_said",
        async || {
            let place = Place::new("beta").await;
            let (mut source, mut destination) = (place.guest("vnet0"), place.guest("vnet1"));
            place.wire();
            source.say("run");
            destination.say("hold");
            let keeper = place.keeper(true);
            place.burst(0..10).await;
            source.gets(10).await;
            pass(1100).await;
            let read = place.read_of("vnet0");
            source.say("hold");
            place.events.send(suspended()).unwrap();
            place.burst(10..110).await;
            until(|| place.read_of("vnet0") > read).await;
            pass(100).await;
            drop(source);
            destination.say("run");
            let kept = keeper.end(false).await;
            destination.gets(100).await;
            assert_eq!(destination.got(), Vec::from_iter(10..110), "{kept:?}");
            assert_eq!(
                (kept.frames, kept.delivered, kept.returned, kept.lost),
                (100, 100, 0, 0),
                "{kept:?}"
            );
        },
    );
}

/// A frame for that MAC with that type.
fn frame(mac: [u8; 6], kind: [u8; 2]) -> KeptFrame {
    let mut data = [mac.as_slice(), &[2; 6], &kind].concat();
    data.resize(60, 0);
    KeptFrame {
        data,
        ..KeptFrame::default()
    }
}

fn request(mac: &str, frames: Vec<KeptFrame>) -> KeepRequest {
    KeepRequest {
        migration_id: MIGRATION.into(),
        frames: vec![KeptFrames {
            mac: mac.into(),
            frames,
        }],
    }
}

#[test]
fn a_peer_reaches_no_guest_but_the_one_that_it_sends() {
    in_a_network(
        "keep::tests::a_peer_reaches_no_guest_but_the_one_that_it_sends",
        async || {
            let place = Place::new("beta").await;
            let mut guest = place.guest("vnet1");
            place.wire();
            let asked = async |requests: Vec<KeepRequest>| {
                let mut client = KeepServiceClient::new(place.channel.clone());
                let mut answers = client.keep(tokio_stream::iter(requests)).await?.into_inner();
                answers.message().await
            };
            let own = MAC.parse::<godwit_migration::MacAddress>().unwrap().bytes();
            let mut other = own;
            other[5] += 1;
            let ip = [8, 0];
            let frames = vec![
                frame(own, ip),
                frame(other, ip),
                frame([0xff; 6], ip),
                frame([0x33, 0x33, 0, 0, 0, 1], ip),
                KeptFrame::default(),
            ];
            let answer = asked(vec![request(MAC, frames)]).await.unwrap().unwrap();
            assert_eq!((answer.delivered, answer.refused), (1, 4));
            // Of an interface that it has not, or of none.
            for mac in ["52:54:00:aa:00:99", "nonsense"] {
                let answer = asked(vec![request(mac, vec![frame(own, ip)])])
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!((answer.delivered, answer.refused), (0, 1), "{mac}");
            }
            // More than a peer may bring in that time, over all its streams, however fast the guest takes it.
            guest.say("run");
            let many = || request(MAC, vec![frame(own, ip); 500]);
            let begun = Instant::now();
            let first = asked(vec![many(); 6]).await.unwrap().unwrap();
            let again = asked(vec![many(); 6]).await.unwrap().unwrap();
            let (delivered, no_room) = (first.delivered + again.delivered, first.no_room + again.no_room);
            let most = 1000.0 * (1.0 + begun.elapsed().as_secs_f64());
            assert_eq!(delivered + no_room, 6000);
            assert!(
                first.delivered >= 999 && delivered as f64 <= most,
                "{first:?} {again:?}"
            );
            // Another migration, and nobody's.
            let unknown = KeepRequest {
                migration_id: "0198c0de-0000-7000-8000-000000000000".into(),
                ..request(MAC, Vec::new())
            };
            assert_eq!(asked(vec![unknown]).await.unwrap_err().code(), Code::NotFound);
            assert!(asked(Vec::new()).await.is_err());
        },
    );
}

/// The source says that they are the guest's.
#[test]
fn a_nic_that_is_no_pairs_is_reached_if_it_is_the_guests() {
    in_a_network(
        "keep::tests::a_nic_that_is_no_pairs_is_reached_if_it_is_the_guests",
        async || {
            let place = Place::new("beta").await;
            let _own = place.emulator("vnet2", place::GUEST, 0x22);
            let _other = place.emulator("vnet3", "60d01700-0000-4000-8000-000000000099", 0x33);
            for (last, reached) in [(0x22, 1), (0x33, 0)] {
                let mac = [0x52, 0x54, 0, 0xaa, 0, last];
                let named = godwit_migration::MacAddress::new(mac).unwrap().to_string();
                let mut client = KeepServiceClient::new(place.channel.clone());
                let request = request(&named, vec![frame(mac, [8, 0])]);
                let mut answers = client
                    .keep(tokio_stream::iter([request]))
                    .await
                    .unwrap()
                    .into_inner();
                let answer = answers.message().await.unwrap().unwrap();
                assert_eq!(
                    (answer.delivered, answer.refused),
                    (reached, 1 - reached),
                    "{named}"
                );
            }
        },
    );
}

/// Also when the caller had said nothing before, and nothing here can be seen to read the tap.
#[test]
fn nothing_is_taken_for_a_guest_that_came_a_while_ago() {
    in_a_network(
        "keep::tests::nothing_is_taken_for_a_guest_that_came_a_while_ago",
        async || {
            let place = Place::new("beta").await;
            let _guest = place.guest("vnet1");
            let (sender, requests) = tokio::sync::mpsc::channel(8);
            sender.send(request(MAC, Vec::new())).await.unwrap();
            let mut client = KeepServiceClient::new(place.channel.clone());
            let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
            let mut answers = client.keep(requests).await.unwrap().into_inner();
            place.arrived.notify_one();
            let answer = tokio::time::timeout(Duration::from_secs(30), answers.message()).await;
            let answer = answer.expect("the stream ends by itself").unwrap().unwrap();
            assert_eq!(answer.delivered, 0);
            // Nor is a new one begun.
            let again = tokio_stream::iter([request(MAC, Vec::new())]);
            assert_eq!(
                client.keep(again).await.unwrap_err().code(),
                Code::InvalidArgument
            );
            drop(sender);
        },
    );
}

#[test]
fn another_host_may_not_bring_anything() {
    in_a_network("keep::tests::another_host_may_not_bring_anything", async || {
        let place = Place::new("gamma").await;
        let mut client = KeepServiceClient::new(place.channel.clone());
        let requests = tokio_stream::iter([request(MAC, Vec::new())]);
        let refused = client.keep(requests).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    });
}

#[test]
fn without_a_destination_that_answers_the_move_goes_on_and_it_is_told() {
    in_a_network(
        "keep::tests::without_a_destination_that_answers_the_move_goes_on_and_it_is_told",
        async || {
            let place = Place::new("gamma").await;
            let mut source = place.guest("vnet0");
            place.wire();
            source.say("run");
            let keeper = place.keeper(true);
            let sender = place.send();
            source.gets(50).await;
            source.say("hold");
            place.events.send(suspended()).unwrap();
            sender.more(50).await;
            sender.end().await;
            let kept = keeper.end(true).await;
            assert!(
                kept.frames > 10 && kept.lost == kept.frames && kept.delivered == 0,
                "{kept:?}"
            );
            assert!(kept.not_kept.unwrap().contains("not one from gamma"));
        },
    );
}
