//! Frames that come to the source when the guest has gone, in a network that has not learned that yet.

use super::{place::Guest, *};

/// A guest at the source, one that waits at the destination, and a network between them.
async fn place() -> (Place, Guest, Guest) {
    let place = Place::new("beta").await;
    let (mut source, mut destination) = (place.guest("vnet0"), place.guest("vnet1"));
    place.fabric();
    source.say("run");
    destination.say("hold");
    (place, source, destination)
}

/// All but the emulator's last frames once, and at the destination none twice.
fn assert_whole(before: &[u32], after: &[u32], sent: u32) {
    let all: BTreeSet<u32> = before.iter().chain(after).copied().collect();
    assert_eq!(all, BTreeSet::from_iter(0..sent));
    let twice = before.len() + after.len() - all.len();
    assert!(twice <= 2, "{twice} came twice");
}

/// Waits until the guest has got one that was sent later than that one.
async fn comes_behind(guest: &Guest, number: u32) {
    until(|| guest.got().iter().any(|got| *got > number)).await;
}

#[test]
fn what_still_comes_to_the_source_follows_its_guest() {
    in_a_network(
        "keep::tests::stragglers::what_still_comes_to_the_source_follows_its_guest",
        async || follows().await,
    );
}

async fn follows() {
    let (place, mut source, mut destination) = place().await;
    place.sends_by("fab");
    place.knows_the_source();
    let keeper = place.patient_keeper(true, Duration::from_secs(9));
    let sender = place.send();
    source.gets(50).await;
    source.say("hold");
    place.events.send(suspended()).unwrap();
    pass(200).await;
    let before = source.got();
    destination.say("run");
    drop(source);
    let ending = tokio::spawn(keeper.end(true));
    comes_behind(&destination, sender.sent() + 50).await;
    // Of no conversation that its guest had here: its bridge may have kept it from the guest.
    place.burst(1_000_000..1_000_010).await;
    pass(100).await;
    destination.say("announce");
    comes_behind(&destination, sender.sent() + 50).await;
    let sent = sender.end().await;
    let kept = ending.await.unwrap();
    until(|| destination.got().last() == Some(&(sent - 1))).await;
    let after = destination.got();
    assert_whole(&before, &after, sent);
    assert!(kept.stragglers > 5 && kept.not_kept.is_none(), "{kept:?}");
    assert_eq!((kept.delivered, kept.lost), (kept.frames, 0), "{kept:?}");
    // The network brought the newest itself.
    assert!((kept.frames as usize) < after.len(), "{kept:?}");
}

/// A network that has not learned where the guest is brings everything to both hosts.
#[test]
fn what_reaches_both_hosts_comes_once() {
    in_a_network(
        "keep::tests::stragglers::what_reaches_both_hosts_comes_once",
        async || {
            let (place, mut source, mut destination) = place().await;
            place.sends_by("fab");
            let keeper = place.patient_keeper(true, Duration::from_secs(9));
            // By then the destination looks on.
            pass(1000).await;
            let sender = place.send();
            source.gets(50).await;
            source.say("hold");
            place.events.send(suspended()).unwrap();
            pass(300).await;
            destination.say("run");
            drop(source);
            let ending = tokio::spawn(keeper.end(true));
            comes_behind(&destination, sender.sent() + 50).await;
            destination.say("announce");
            comes_behind(&destination, sender.sent() + 20).await;
            let sent = sender.end().await;
            let kept = ending.await.unwrap();
            until(|| BTreeSet::from_iter(destination.got()).len() == sent as usize).await;
            let got = destination.got();
            let all: BTreeSet<u32> = got.iter().copied().collect();
            assert_eq!(all, BTreeSet::from_iter(0..sent), "{kept:?}");
            // What a busy host was too late to know again came twice, and is told so.
            assert_eq!((got.len() - all.len()) as u64, kept.delivered, "{kept:?}");
            assert!(kept.brought > kept.delivered && kept.stragglers > 5, "{kept:?}");
            assert_eq!(kept.lost, 0, "{kept:?}");
        },
    );
}

/// What a source brings is late if the destination's network has brought newer frames before, also while the guest does not run.
#[test]
fn what_stands_behind_newer_frames_is_late() {
    in_a_network(
        "keep::tests::stragglers::what_stands_behind_newer_frames_is_late",
        async || {
            let (place, _source, destination) = place().await;
            place.sends_by("fab");
            let (sender, requests) = tokio::sync::mpsc::channel(8);
            let mut client = KeepServiceClient::new(place.channel.clone());
            let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
            let answers =
                tokio::spawn(async move { client.keep(requests).await?.into_inner().message().await });
            let mac = MAC.parse::<godwit_migration::MacAddress>().unwrap().bytes();
            let seen = async |held: Duration| {
                let frame = KeptFrame {
                    held_us: held.as_micros() as u64,
                    ..frame(mac, [8, 0])
                };
                sender.send(request(MAC, vec![frame])).await.unwrap();
                pass(300).await;
            };
            seen(Duration::ZERO).await;
            place.burst(0..1).await;
            pass(300).await;
            seen(Duration::from_secs(60)).await;
            seen(Duration::ZERO).await;
            drop(sender);
            let answer = answers.await.unwrap().unwrap().unwrap();
            assert_eq!((answer.delivered, answer.late), (3, 1), "{answer:?}");
            drop(destination);
        },
    );
}
