//! The last question before a VF is asked for: is the traffic still on the standby? A guest that was rebooted since its fail over
//! has a bond that prefers the VF again. Only then the agent is told to let go of it.

use std::{path::Path, time::Duration};

use godwit_coordinator::{Job, retry::Policy};
use godwit_migration::{MacAddress, Pair, State};
use tokio::time::Instant;
use tracing::debug;

use super::{RealWorld, Work, channel_in, failed};
use crate::agent::{AgentError, Agents, Switched};

impl RealWorld {
    /// Just before the unplug.
    pub(super) async fn let_go(&self, job: &Job, pair: &Pair) -> Work<()> {
        let devices = self.devices(&job.brief).await?;
        let path = channel_in(&devices, &job.brief)?;
        let tally = self.tally(job, pair, &devices).await;
        let sees = async { self.sees_on_standby(job, pair, &tally).await.map(drop) };
        confirmed(&self.agents, &path, pair.mac, job.deadline / 2, sees).await?;
        // A driver in the guest that was taken down may have put its MAC on again: igbvf does, at its reset.
        self.steer_away(job, pair).await.map(drop)
    }

    /// Asked again of a guest that reboots meanwhile.
    pub(super) async fn to_standby(
        &self,
        path: &Path,
        mac: MacAddress,
        within: Duration,
    ) -> Result<Switched, AgentError> {
        to_standby(&self.agents, path, mac, within).await
    }
}

async fn to_standby(
    agents: &Agents,
    path: &Path,
    mac: MacAddress,
    within: Duration,
) -> Result<Switched, AgentError> {
    let end = Instant::now() + within;
    let ask = || {
        let left = end.saturating_duration_since(Instant::now());
        agents.fail_over(path, mac, left)
    };
    Policy::NEAR.retry(within, AgentError::is_forgotten, ask).await
}

/// The agent confirms the standby once more, this host `sees` the traffic there too, and then the primary is let go of.
async fn confirmed(
    agents: &Agents,
    path: &Path,
    mac: MacAddress,
    within: Duration,
    sees: impl Future<Output = Work<()>>,
) -> Work<()> {
    let told = |what: &str, error| failed("UNPLUG", format!("{what} pair {mac} before the unplug"), &error);
    to_standby(agents, path, mac, within)
        .await
        .map_err(|error| told("the agent did not confirm the standby of", error))?;
    sees.await?;
    agents
        .release(path, mac, within)
        .await
        .map_err(|error| told("the agent did not let go of the primary of", error))
}

/// Asks for a VF, of a guest that has just let go of it and of no other: it may have been rebooted since its fail over. A request
/// that was perhaps made before may be answered yet, whatever the guest does now, so the answer is waited for all the same.
pub(super) async fn asked_for(
    job: &Job,
    lets_go: impl Future<Output = Work<()>>,
    ask: impl Future<Output = Work<()>>,
) -> Work<()> {
    let perhaps_asked = job.taken_up || matches!(job.state, State::Rest(..));
    let asked = match lets_go.await {
        Ok(()) => ask.await,
        Err(event) => Err(event),
    };
    match asked {
        Err(event) if perhaps_asked => {
            debug!(migration = %job.brief.id, ?event, "the unplug was not asked for again");
            Ok(())
        }
        asked => asked,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{Arc, Mutex},
    };

    use godwit_api::agent::v1::{HostFrame, Released, Switched, guest_frame, host_frame};
    use godwit_coordinator::faults::Faults;
    use godwit_migration::{Brief, Course, Event, Guest, Phase, Report, Role};
    use tokio::sync::watch;

    use super::*;
    use crate::{
        agent::tests::{self, answer, welcome},
        cause::cause,
        config::Config,
        libvirt::{Libvirt, XmlOf},
        peers::Peers,
        vf::Vfs,
    };

    type Asked = Arc<Mutex<Vec<&'static str>>>;

    /// A guest whose standby received so many frames after the switch, and what it was asked for.
    fn guest(frames_received: u64) -> (tempfile::TempDir, PathBuf, Asked) {
        let asked = Asked::default();
        let notes = Arc::clone(&asked);
        let told = move |frame: &HostFrame| {
            let (verb, body) = match frame.body.as_ref()? {
                host_frame::Body::FailOver(_) => (
                    "fail over",
                    guest_frame::Body::Switched(Switched {
                        active: "eth0".into(),
                        frames_received,
                        ..Switched::default()
                    }),
                ),
                host_frame::Body::ReleasePrimary(_) => {
                    ("release", guest_frame::Body::Released(Released::default()))
                }
                _ => return None,
            };
            notes.lock().unwrap().push(verb);
            Some(answer(frame, body))
        };
        let tells = move |frame: HostFrame| Vec::from_iter(welcome(&frame).or_else(|| told(&frame)));
        let (directory, path) = tests::guest(Vec::new(), tells);
        (directory, path, asked)
    }

    /// What came of it, and what the guest was asked for.
    async fn lets_go(frames_received: u64, seen: Work<()>) -> (Work<()>, Vec<&'static str>) {
        let (_kept, path, asked) = guest(frames_received);
        let agents = Agents::with(Arc::new(Faults::none()));
        let mac = "52:54:00:aa:00:10".parse().unwrap();
        let notes = Arc::clone(&asked);
        let sees = async move {
            notes.lock().unwrap().push("seen by the host");
            seen
        };
        let done = confirmed(&agents, &path, mac, Duration::from_millis(1500), sees).await;
        let asked = asked.lock().unwrap().clone();
        (done, asked)
    }

    /// However long ago it was confirmed first, by which boot of the guest that was.
    #[tokio::test]
    async fn the_standby_is_asked_for_again_and_seen_before_the_vf_is_let_go_of() {
        let (done, asked) = lets_go(3, Ok(())).await;
        assert_eq!(done, Ok(()));
        assert_eq!(asked, ["fail over", "seen by the host", "release"]);
    }

    #[tokio::test]
    async fn a_standby_that_is_not_confirmed_again_ends_it_before_the_guest_lets_go() {
        let (done, asked) = lets_go(0, Ok(())).await;
        let Err(Event::Failed(cause)) = done else {
            panic!("{done:?}")
        };
        assert_eq!(cause.reason, "UNPLUG");
        assert_eq!(asked, ["fail over"]);
    }

    #[tokio::test]
    async fn nor_does_it_on_the_agents_word_alone() {
        let refused = Event::Failed(cause("FAIL_OVER", "this host counts otherwise"));
        let (done, asked) = lets_go(3, Err(refused.clone())).await;
        assert_eq!(done, Err(refused));
        assert_eq!(asked, ["fail over", "seen by the host"]);
    }

    const UUID: &str = "60d01700-0000-4000-8000-000000000010";
    const MAC: &str = "52:54:00:aa:00:10";
    const NEW: State = State::Work(Course::Leave, Phase::Unplug);
    const RESTING: State = State::Rest(Course::Leave, Phase::Unplug);

    /// An unplug, whose only pair has its VF.
    fn unplug(state: State, taken_up: bool) -> Job {
        let guest = Guest {
            uuid: UUID.into(),
            name: "web-1".into(),
        };
        let pair = Pair {
            mac: MAC.parse().unwrap(),
            primary_mac: MAC.parse().unwrap(),
            standby: "ua-net0".into(),
            primary: "ua-godwit-0".into(),
            pool: "fabric".into(),
            source_vf: "0000:01:10.0".parse().ok(),
            destination_vf: None,
            profile: None,
        };
        let hosts = ("alpha".into(), "beta".into());
        Job {
            brief: Brief {
                role: Role::Source,
                ..Brief::arrival("m1".into(), guest, hosts, vec![pair])
            },
            state,
            taken_up,
            deadline: Duration::from_secs(1),
            progress: watch::Sender::new(None),
            place: watch::Sender::new(0),
        }
    }

    /// What comes of asking a guest that lets go, or does not, and what was done.
    async fn asks(job: &Job, lets_go: Work<()>, asked: Work<()>) -> (Work<()>, Vec<&'static str>) {
        let done = &Mutex::new(Vec::new());
        let does = |what, result: Work<()>| async move {
            done.lock().unwrap().push(what);
            result
        };
        let told = asked_for(job, does("let go", lets_go), does("ask", asked)).await;
        (told, std::mem::take(&mut *done.lock().unwrap()))
    }

    fn refused(reason: &str) -> Work<()> {
        Err(Event::Failed(cause(reason, "no")))
    }

    #[tokio::test]
    async fn a_vf_is_asked_for_when_its_guest_has_let_go_of_it_and_not_before() {
        for job in [unplug(NEW, false), unplug(NEW, true), unplug(RESTING, false)] {
            assert_eq!(asks(&job, Ok(()), Ok(())).await, (Ok(()), vec!["let go", "ask"]));
        }
        let job = unplug(NEW, false);
        let no = refused("UNPLUG_REFUSED");
        assert_eq!(asks(&job, Ok(()), no.clone()).await, (no, vec!["let go", "ask"]));
        let no = refused("UNPLUG");
        assert_eq!(asks(&job, no.clone(), Ok(())).await, (no, vec!["let go"]));
    }

    /// Nor a second time: its guest may have been rebooted, and be on it again.
    #[tokio::test]
    async fn one_that_was_perhaps_asked_for_is_waited_for() {
        for job in [unplug(NEW, true), unplug(RESTING, false)] {
            let (told, done) = asks(&job, refused("UNPLUG"), Ok(())).await;
            assert_eq!((told, done), (Ok(()), vec!["let go"]));
            let (told, done) = asks(&job, Ok(()), refused("UNPLUG_REFUSED")).await;
            assert_eq!((told, done), (Ok(()), vec!["let go", "ask"]));
        }
    }

    /// The phase's work on libvirt's test driver: what came of it, what the guest was asked for, and whether it has its VF then.
    /// Older drivers refuse an unplug, newer ones do it.
    async fn unplugs(frames_received: u64, job: &Job) -> (Work<Report>, Vec<&'static str>, bool) {
        let (kept, path, asked) = guest(frames_received);
        let domain = format!(
            "<node><domain type='test'><name>web-1</name><uuid>{UUID}</uuid><memory>65536</memory><os><type>hvm</type></os>
             <devices><hostdev mode='subsystem' type='pci' managed='no'>
             <source><address domain='0' bus='1' slot='16' function='0'/></source><alias name='ua-godwit-0'/></hostdev>
             <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='{}'/></channel>
             </devices></domain></node>",
            path.display(),
            crate::agent::CHANNEL,
        );
        let file = kept.path().join("host.xml");
        std::fs::write(&file, domain).unwrap();
        let libvirt = Libvirt::start(&format!("test://{}", file.display()));
        libvirt.connected(Duration::from_secs(10)).await.unwrap();
        let config: Config = toml::from_str("host = \"alpha\"").unwrap();
        let peers = Peers::new(&config, None).unwrap();
        let agents = Agents::with(Arc::new(Faults::none()));
        let world = RealWorld::new(
            "alpha".into(),
            libvirt.clone(),
            Vfs::new(Vec::new()),
            peers,
            agents,
        );
        let done = world.unplug(job).await;
        let devices = libvirt.xml(UUID.parse().unwrap(), XmlOf::Live).await.unwrap();
        let asked = asked.lock().unwrap().clone();
        (done, asked, devices.contains("ua-godwit-0"))
    }

    fn reason(done: Work<Report>) -> String {
        match done {
            Err(Event::Failed(cause) | Event::Silent(cause)) => cause.reason,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn libvirt_is_asked_for_the_vf_of_a_guest_that_has_let_go_of_it() {
        let (done, asked, has_it) = unplugs(3, &unplug(NEW, false)).await;
        assert_eq!(asked, ["fail over", "release"]);
        assert!(!has_it || reason(done) == "UNPLUG_REFUSED");
    }

    #[tokio::test]
    async fn libvirt_is_not_asked_for_that_of_one_that_has_not() {
        let (done, asked, has_it) = unplugs(0, &unplug(NEW, false)).await;
        assert_eq!((reason(done).as_str(), has_it), ("UNPLUG", true));
        assert_eq!(asked, ["fail over"]);
        // It may leave all the same, where it was asked for before.
        let (done, asked, has_it) = unplugs(0, &unplug(RESTING, false)).await;
        assert_eq!((reason(done).as_str(), has_it), ("UNPLUG_PENDING", true));
        assert_eq!(asked, ["fail over"]);
    }
}
