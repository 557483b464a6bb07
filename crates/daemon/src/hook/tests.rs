//! The real hook's program text against the real door, on a host whose libvirt must not be asked.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use godwit_api::{
    peer::v1::ListMacsResponse,
    v1::{self as api, host_service_server::HostService},
};
use godwit_coordinator::{Deadlines, History, HostDesk, Job, Journal, Limits};
use godwit_hook::{
    call::Call,
    frame::{Answer, Question},
    run::{Verdict, run},
    settings::Policy as Say,
};
use godwit_migration::{
    Brief, Event, Guest, Policy, Sighting, VfUse, choice::Site, doctor::Diagnosis, preflight::GuestFacts,
    profile::MustMatch,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, sync::watch, time::sleep};
use tonic::Request;

use super::*;
use crate::libvirt::edit::{teamed::coming, with_metadata};

const LIVE: &str = include_str!("../libvirt/xml/web-1-live.xml");

/// A host where no guest is, and where libvirt waits for the answer: whoever asks it would wait for ever.
#[derive(Default)]
struct Waiting {
    cleaned: Mutex<Vec<PciAddress>>,
}

impl World for Waiting {
    async fn work(&self, _: Job) -> Event {
        std::future::pending().await
    }

    async fn abort(&self, _: &Brief) -> Result<(), Cause> {
        panic!("libvirt was asked")
    }

    async fn guests(&self, _: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        panic!("libvirt was asked")
    }

    async fn adopt(&self, _: &Guest, _: &[Pair], _: Policy) -> Result<(), Cause> {
        panic!("libvirt was asked")
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        panic!("libvirt was asked")
    }

    async fn clean(&self, vf: PciAddress) -> Result<(), Cause> {
        self.cleaned.lock().unwrap().push(vf);
        Ok(())
    }

    async fn sight(&self, _: &str) -> Sighting {
        panic!("libvirt was asked")
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

fn vf(n: u8) -> Vf {
    Vf {
        address: format!("0000:3b:{:02x}.{}", n / 8, n % 8).parse().unwrap(),
        pool: "fabric".into(),
        pf: "pf0".into(),
        usage: VfUse::Free,
        profile: None,
        site: Site::default(),
        mac: None,
    }
}

struct Host {
    place: TempDir,
    world: Arc<Waiting>,
    coordinator: Coordinator<Waiting>,
    settings: Settings,
    _stop: watch::Sender<bool>,
    wake: Arc<Notify>,
}

/// What a test makes other than usual.
struct Usual {
    vfs: u8,
    pool: Option<&'static str>,
    deadline: Duration,
    ready: Ready,
}

impl Default for Usual {
    fn default() -> Usual {
        Usual {
            vfs: 16,
            pool: Some("fabric"),
            deadline: Duration::from_secs(20),
            ready: Box::new(|_| Box::pin(async { Ok(()) })),
        }
    }
}

impl Host {
    async fn with(usual: Usual) -> Host {
        let place = tempfile::tempdir().unwrap();
        let world = Arc::new(Waiting::default());
        let settings = godwit_coordinator::Settings {
            host: "beta".into(),
            peers: Vec::new(),
            deadlines: Deadlines::new([]),
            limits: Limits::default(),
            history: History::default(),
            must_match: MustMatch::default(),
            pools: vec!["fabric".into()],
            certificate: Default::default(),
            unasked: Default::default(),
        };
        let journal = Journal::open(place.path()).unwrap();
        let coordinator = Coordinator::start(settings, Arc::clone(&world), journal)
            .await
            .unwrap();
        let settings = Settings {
            policy: Say::Refuse,
            socket: place.path().join("hook.sock"),
            deadline: usual.deadline,
        };
        let wake = Arc::new(Notify::new());
        let hooks = Hooks {
            coordinator: coordinator.clone(),
            look: Box::new(move || Box::pin(async move { Ok((0..usual.vfs).map(vf).collect()) })),
            prepare: usual.ready,
            pool: usual.pool.map(str::to_owned),
            settings: settings.clone(),
            wake: Arc::clone(&wake),
        };
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(hooks.serve(bind(&settings.socket).unwrap(), stopped));
        Host {
            place,
            world,
            coordinator,
            settings,
            _stop: stop,
            wake,
        }
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("hook.sock")
    }

    /// As libvirt calls the hook.
    async fn call(&self, call: &str, xml: &str) -> Verdict {
        let settings = self.settings.clone();
        let (call, xml) = (Call::of(call.split(' ').map(str::to_owned)), xml.to_owned());
        let called = tokio::task::spawn_blocking(move || run(call, xml.as_bytes(), || settings));
        called.await.unwrap()
    }

    async fn comes(&self, xml: &str) -> Verdict {
        self.call("web-1 migrate begin -", xml).await
    }

    /// How many VFs are held now.
    async fn held(&self) -> usize {
        let desk = HostDesk(self.coordinator.clone());
        let answer = desk
            .list_holds(Request::new(api::ListHoldsRequest::default()))
            .await;
        answer.unwrap().into_inner().holds.len()
    }

    /// Until so many VFs are held.
    async fn holds(&self, count: usize) {
        let begun = Instant::now();
        while self.held().await != count {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{} are held",
                self.held().await
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn vfs_in(verdict: &Verdict) -> Vec<PciAddress> {
    let Verdict::Rewritten(xml) = verdict else {
        panic!("{verdict:?}")
    };
    let read = coming(str::from_utf8(xml).unwrap()).unwrap();
    read.teamed.into_iter().map(|one| one.vf).collect()
}

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// `web-1` as another guest.
fn guest(n: usize) -> String {
    let uuid = format!("7d2f3c6e-52ab-4a0e-9f6e-{n:012}");
    let xml = LIVE.replace("7d2f3c6e-52ab-4a0e-9f6e-0c5a4b1d2e3f", &uuid);
    xml.replace("52:54:00:aa:00:10", &format!("52:54:00:aa:01:{n:02x}"))
}

fn managed(version: &str) -> String {
    let wish = format!(
        "<godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"{version}\"><godwit:pair pool=\"blue\">\
         <godwit:standby mac=\"52:54:00:aa:00:10\" alias=\"ua-net0\"/><godwit:primary mac=\"52:54:00:aa:00:10\" \
         alias=\"ua-godwit-0\"/></godwit:pair></godwit:guest>"
    );
    with_metadata(LIVE, &wish).unwrap()
}

#[tokio::test]
async fn a_teamed_guest_gets_a_vf_of_this_host() {
    let prepared: Arc<Mutex<Vec<Prepare>>> = Arc::default();
    let seen = Arc::clone(&prepared);
    let ready: Ready = Box::new(move |asked| {
        seen.lock().unwrap().push(asked);
        Box::pin(async { Ok(()) })
    });
    let host = Host::with(Usual {
        ready,
        ..Usual::default()
    })
    .await;
    let verdict = host.comes(LIVE).await;
    assert_eq!(vfs_in(&verdict), [vf(0).address]);
    let Verdict::Rewritten(xml) = &verdict else {
        unreachable!()
    };
    let old = "<address type='pci' domain='0x0000' bus='0x02' slot='0x10' function='0x2'/>";
    let new = "<address type='pci' domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>";
    assert_eq!(*xml, LIVE.replace(old, new).into_bytes(), "and nothing else");
    assert_eq!(host.held().await, 1);
    let prepared = prepared.lock().unwrap();
    assert_eq!(
        (prepared[0].vf, prepared[0].set_by_libvirt),
        (vf(0).address, true)
    );
}

#[tokio::test]
async fn ten_guests_at_once_get_ten_vfs() {
    let host = Host::with(Usual::default()).await;
    let guests: Vec<String> = (0..10).map(guest).collect();
    let verdicts = futures_util::future::join_all(guests.iter().map(|xml| host.comes(xml))).await;
    let mut vfs: Vec<_> = verdicts.iter().flat_map(vfs_in).collect();
    vfs.sort();
    vfs.dedup();
    assert_eq!((vfs.len(), host.held().await), (10, 10));
}

#[tokio::test]
async fn without_a_vf_it_stays_where_it_is_and_is_told_why() {
    let host = Host::with(Usual {
        vfs: 0,
        ..Usual::default()
    })
    .await;
    let verdict = host.comes(LIVE).await;
    let told = why(&verdict);
    assert!(
        told.starts_with("godwit on beta: guest `web-1`: ") && told.contains("fabric"),
        "{told}"
    );
    // Its metadata names a pool that this host has not.
    let host = Host::with(Usual::default()).await;
    assert!(why(&host.comes(&managed("1")).await).contains("blue"));
    let host = Host::with(Usual {
        pool: None,
        ..Usual::default()
    })
    .await;
    assert!(why(&host.comes(LIVE).await).contains("`pool` of [hook]"));
    assert_eq!(host.held().await, 0);
}

#[tokio::test]
async fn a_vf_that_cannot_be_prepared_is_held_no_longer() {
    let fails: Ready =
        Box::new(|_| Box::pin(async { Err(crate::cause::cause("PLUG", "VF could not be prepared")) }));
    let host = Host::with(Usual {
        ready: fails,
        ..Usual::default()
    })
    .await;
    assert!(why(&host.comes(LIVE).await).contains("could not be prepared"));
    assert_eq!(host.held().await, 0);
    assert_eq!(*host.world.cleaned.lock().unwrap(), [vf(0).address]);

    let hangs: Ready = Box::new(|_| Box::pin(std::future::pending()));
    let host = Host::with(Usual {
        ready: hangs,
        deadline: Duration::from_millis(500),
        ..Usual::default()
    })
    .await;
    let verdict = host.comes(LIVE).await;
    assert!(why(&verdict).contains("is not taken here"), "{verdict:?}");
    host.holds(0).await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_holds_nothing() {
    let slow: Ready = Box::new(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(700)).await;
            Ok(())
        })
    });
    let host = Host::with(Usual {
        ready: slow,
        ..Usual::default()
    })
    .await;
    // A hook that is killed while it waits.
    let question = Question {
        call: Call::of(["web-1", "migrate", "begin", "-"].map(str::to_owned)),
        waits: true,
        xml: LIVE.into(),
    };
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    question.write(&mut stream).unwrap();
    host.holds(1).await;
    drop(stream);
    host.holds(0).await;
    assert_eq!(*host.world.cleaned.lock().unwrap(), [vf(0).address]);
}

#[tokio::test]
async fn a_managed_guest_on_its_standby_comes_as_it_is_and_is_looked_after() {
    let host = Host::with(Usual::default()).await;
    let xml = LIVE.replace("transient", "transitory");
    for version in ["1", "9"] {
        let xml = managed(version).replace("<teaming type='transient' persistent='ua-net0'/>", "");
        let woken = host.wake.notified();
        assert_eq!(host.comes(&xml).await, Verdict::Untouched);
        tokio::time::timeout(Duration::from_secs(10), woken)
            .await
            .unwrap();
    }
    assert_eq!(host.comes(&xml).await, Verdict::Untouched, "not asked at all");
    // Of a later Godwit, and with a VF that it says more of than is understood here.
    let verdict = host.comes(&managed("9")).await;
    assert!(why(&verdict).contains("version `9`"), "{verdict:?}");
    assert_eq!(host.held().await, 0);
}

#[tokio::test]
async fn other_calls_are_heard_and_change_nothing() {
    let host = Host::with(Usual::default()).await;
    for call in [
        "prepare begin -",
        "start begin -",
        "started begin -",
        "release end migrated",
        "reconnect begin -",
    ] {
        assert_eq!(
            host.call(&format!("web-1 {call}"), LIVE).await,
            Verdict::Untouched,
            "{call}"
        );
    }
    assert_eq!(host.held().await, 0);
}

#[tokio::test]
async fn an_xml_of_a_megabyte_is_answered() {
    let host = Host::with(Usual::default()).await;
    let large = LIVE.replace("<devices>", &format!("<!--{}--><devices>", "x".repeat(1 << 20)));
    assert_eq!(vfs_in(&host.comes(&large).await), [vf(0).address]);
}

#[tokio::test]
async fn what_is_no_question_is_closed_and_disturbs_nobody() {
    let host = Host::with(Usual::default()).await;
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"GWQ9\0\0\0\x04abcd",
        b"GWQ1\xff\xff\xff\xff",
        b"GWQ1\0\0\0\x04\0\0\0\x09",
    ] {
        let mut stream = tokio::net::UnixStream::connect(host.socket()).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
        // Closed without a word: by an end, or by a reset where something was left unread.
        let _ = tokio::time::timeout(Duration::from_secs(10), ended)
            .await
            .unwrap();
        assert_eq!(answer, b"");
    }
    // Half a question: it is not waited for by the others.
    let mut half = tokio::net::UnixStream::connect(host.socket()).await.unwrap();
    half.write_all(b"GWQ1\0\0").await.unwrap();
    assert_eq!(vfs_in(&host.comes(LIVE).await), [vf(0).address]);
    // An XML that libvirt would not have read either.
    let odd = "<teaming type='transient'".repeat(3);
    assert!(why(&host.comes(&odd).await).contains("cannot be read"));
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    let question = Question {
        call: Call::of(["web-1", "migrate", "begin", "-"].map(str::to_owned)),
        waits: true,
        xml: b"\xff<teaming transient".to_vec(),
    };
    let answer = tokio::task::spawn_blocking(move || {
        question.write(&mut stream).unwrap();
        Answer::read(&mut stream).unwrap()
    });
    assert!(matches!(answer.await.unwrap(), Answer::Undecided(_)));
}
