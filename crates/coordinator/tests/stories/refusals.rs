//! What is not begun: the reason, the sentence, the hint and the code of each, and nothing written down.

use godwit_migration::{Phase, Sighting, preflight::GuestFacts};
use tonic::Code;

use crate::{
    facts,
    host::{Host, No, Two},
    world::{Call, cause},
};

/// What is expected: code, reason, words of the sentence, words of the hint.
type Expected<'a> = (Code, &'a str, &'a str, &'a str);

/// That it was refused so, and that nothing came of it.
fn nothing_begun(host: &Host, no: &No, (code, reason, words, hint): Expected<'_>) {
    let failure = &no.failure;
    assert_eq!((no.code, failure.reason.as_str()), (code, reason), "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(
        failure.hint.contains(hint) && !failure.hint.is_empty(),
        "{failure:?}"
    );
    assert_eq!(host.peek().migrations(), [""; 0], "{reason}");
    assert_eq!(host.peek().holds(), [""; 0], "{reason}");
    assert_eq!(host.world.works(), [], "{reason}");
}

#[test]
fn a_guest_that_may_not_move() {
    type Fault = fn(&mut GuestFacts);
    let faults: [(Fault, &str, &str, &str); 8] = [
        (
            |facts| (facts.running, facts.state) = (false, "shut off".into()),
            "GUEST_NOT_RUNNING",
            "guest `web-1` is shut off, not running",
            "virsh start web-1",
        ),
        (
            |facts| facts.managed = false,
            "GUEST_NOT_MANAGED",
            "`web-1` is not managed",
            "godwit adopt web-1",
        ),
        (
            |facts| facts.pairs.clear(),
            "GUEST_WITHOUT_VF",
            "guest `web-1` has no VF",
            "virsh dumpxml web-1",
        ),
        (
            |facts| (facts.managed, facts.pairs[0].vf) = (false, None),
            "GUEST_WITHOUT_VF",
            "guest `web-1` has no VF",
            "docs/guests.md",
        ),
        (
            |facts| facts.pairs[0].pool = None,
            "GUEST_WITHOUT_VF",
            "is in no pool",
            "docs/guests.md",
        ),
        (
            |facts| facts.pairs[0].standby = None,
            "GUEST_WITHOUT_STANDBY",
            "has no standby",
            "docs/guests.md",
        ),
        (
            |facts| facts.agent = Err("nobody listens".into()),
            "GUEST_WITHOUT_AGENT",
            "the agent in guest `web-1` does not answer: nobody listens",
            "systemctl status godwit-agent",
        ),
        (
            |facts| facts.agent = Ok(Vec::new()),
            "GUEST_PAIR_UNKNOWN_TO_AGENT",
            "does not see the pair 52:54:00:aa:00:01",
            "/proc/net/bonding",
        ),
    ];
    for (fault, reason, words, hint) in faults {
        let host = Host::source();
        host.world.set(|knobs| fault(&mut knobs.guests[0]));
        let no = host.live(async |alpha| alpha.migrate("web-1", "beta").await.unwrap_err());
        nothing_begun(&host, &no, (Code::FailedPrecondition, reason, words, hint));
    }
}

#[test]
fn a_guest_or_a_host_that_nobody_knows() {
    let cases = [
        (
            "web-9",
            "beta",
            Code::NotFound,
            "GUEST_UNKNOWN",
            "guest `web-9` is not known on alpha",
            "godwit guests",
        ),
        (
            "' OR 1=1",
            "beta",
            Code::NotFound,
            "GUEST_UNKNOWN",
            "`' OR 1=1`",
            "godwit guests",
        ),
        (
            "web-1",
            "delta",
            Code::NotFound,
            "HOST_UNKNOWN",
            "its peers are: beta, gamma",
            "[[peer]] named `delta`",
        ),
        (
            "web-1",
            "alpha",
            Code::FailedPrecondition,
            "HOST_IS_SOURCE",
            "is on alpha already",
            "another host",
        ),
    ];
    for (guest, destination, code, reason, words, hint) in cases {
        let host = Host::source();
        let no = host.live(async |alpha| alpha.migrate(guest, destination).await.unwrap_err());
        nothing_begun(&host, &no, (code, reason, words, hint));
    }
}

#[test]
fn names_that_are_none() {
    let long = "x".repeat(256);
    let huge = "x".repeat(1024 * 1024);
    let names = ["", "web\n1", "web\u{1b}[31m", "web\0", "web\u{85}", &long, &huge];
    let host = Host::source();
    host.live(async |alpha| {
        for name in names {
            for (guest, destination) in [(name, "beta"), ("web-1", name)] {
                let no = alpha.migrate(guest, destination).await.unwrap_err();
                nothing_begun(
                    &host,
                    &no,
                    (
                        Code::InvalidArgument,
                        "INVALID",
                        "1 to 255 printable bytes",
                        "godwit",
                    ),
                );
                assert!(no.failure.message.len() < 200);
            }
            assert_eq!(alpha.adopt(name).await.unwrap_err().code, Code::InvalidArgument);
        }
        let no = alpha
            .migrate_as("web-1", "beta", &"r".repeat(129))
            .await
            .unwrap_err();
        nothing_begun(
            &host,
            &no,
            (
                Code::InvalidArgument,
                "INVALID",
                "longer than 128 bytes",
                "godwit",
            ),
        );
        assert_eq!(alpha.world.knobs().asked_guests, 0, "the world was not asked");
    });
}

#[test]
fn libvirt_does_not_answer() {
    let host = Host::source();
    host.world.set(|knobs| knobs.silent = Some(cause("LIBVIRT")));
    let no = host.live(async |alpha| alpha.migrate("web-1", "beta").await.unwrap_err());
    nothing_begun(
        &host,
        &no,
        (
            Code::Unavailable,
            "LIBVIRT",
            "libvirt went wrong",
            "look at the world",
        ),
    );
}

#[test]
fn a_second_migration_of_the_same_guest() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        // By any name of the guest, to any host.
        for (guest, destination) in [("web-1", "beta"), (facts::WEB, "gamma")] {
            let no = alpha.migrate(guest, destination).await.unwrap_err();
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::FailedPrecondition, "GUEST_BUSY")
            );
            assert_eq!(
                no.failure.message,
                format!("guest `web-1` is busy: migration {id} is at unplug")
            );
            assert_eq!(no.failure.hint, format!("godwit status {id}"));
        }
        let no = alpha.adopt("web-1").await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_BUSY");
        assert_eq!(alpha.peek().migrations(), [id]);
    });
}

#[test]
fn two_at_once_for_one_guest_begin_one() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::FailOver);
        alpha.world.hold_call(Call::Guests);
        let ask = || {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate("web-1", "beta").await })
        };
        let both = [ask(), ask()];
        alpha.world.until(|world| world.knobs().asked_guests == 2).await;
        alpha.world.free_call(Call::Guests);
        let mut begun = 0;
        for one in both {
            match one.await.unwrap() {
                Ok(_) => begun += 1,
                Err(no) => assert_eq!(no.failure.reason, "GUEST_BUSY"),
            }
        }
        assert_eq!((begun, alpha.peek().migrations().len()), (1, 1));
    });
}

#[test]
fn what_the_destination_says_reaches_the_caller_whole() {
    let two = Two::new();
    two.beta.world.set(|knobs| {
        knobs.vfs = vec![
            facts::vf(4, godwit_migration::VfUse::Guest("db-1".into())),
            facts::vf(5, godwit_migration::VfUse::Other("bound to igbvf".into())),
        ];
    });
    two.live(async |alpha, beta| {
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (Code::FailedPrecondition, "NO_FREE_VF")
        );
        assert_eq!(
            no.failure.message,
            "host beta has no free VF in pool `fabric` (0 of 2 free)"
        );
        assert!(
            no.failure.hint.starts_with("on beta: free a VF"),
            "{}",
            no.failure.hint
        );

        // Begun and undone again: it is in the history, and over.
        let id = alpha.peek().migrations().pop().unwrap();
        let view = alpha.get(&id).await.unwrap();
        assert!(view.ended && view.failure.unwrap().reason == "NO_FREE_VF");
        assert_eq!(alpha.world.phases(), [Phase::Reserve, Phase::Unreserve]);
        assert_eq!(alpha.peek().holds(), [""; 0]);
        assert_eq!(beta.peek().holds(), [""; 0]);

        beta.world.sees(facts::WEB, Sighting::Paused);
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_HAS_GUEST");
        assert!(no.failure.message.contains("(paused)"), "{}", no.failure.message);
    });
}

#[test]
fn ids_that_no_migration_has() {
    let host = Host::source();
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        let huge = "0".repeat(1024 * 1024);
        let (percent, quote) = (format!("{}%", &id[..8]), format!("{}' --", &id[..8]));
        let odd = [
            "",
            &id[..3],
            "%%%%",
            "____",
            "' OR '1'='1",
            "\0\0\0\0",
            "\u{1b}[31m",
            &huge,
            &percent,
            &quote,
        ];
        for odd in odd {
            for no in [
                alpha.get(odd).await.unwrap_err(),
                alpha.cancel(odd).await.unwrap_err(),
            ] {
                assert_eq!(
                    (no.code, no.failure.reason.as_str()),
                    (Code::NotFound, "MIGRATION_UNKNOWN")
                );
                assert_eq!(no.failure.hint, "godwit status");
                assert!(no.failure.message.len() < 200, "{}", no.failure.message);
                assert!(
                    !no.failure.message.chars().any(char::is_control),
                    "{:?}",
                    no.failure.message
                );
            }
        }
        assert_eq!(alpha.get(&id[..13]).await.unwrap().id, id);
    });
}

#[test]
fn a_beginning_that_two_ids_share() {
    let host = Host::destination();
    host.live(async |beta| {
        for m in [1, 2] {
            beta.look("alpha", facts::close(m, 1)).await.unwrap();
        }
        let no = beta.get(&facts::migration(1)[..20]).await.unwrap_err();
        assert!(
            no.failure.message.ends_with("alone: give more of it"),
            "{}",
            no.failure.message
        );
        assert!(beta.get(&facts::migration(1)).await.is_ok());
    });
}
