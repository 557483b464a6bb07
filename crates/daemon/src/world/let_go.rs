//! The last question before a VF is asked for: is the traffic still on the standby? A guest that was rebooted since its fail over
//! has a bond that prefers the VF again. Only then the agent is told to let go of it.

use std::{path::Path, time::Duration};

use godwit_coordinator::{Job, retry::Policy};
use godwit_migration::{MacAddress, Pair};
use tokio::time::Instant;

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

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{Arc, Mutex},
    };

    use godwit_api::agent::v1::{HostFrame, Released, Switched, guest_frame, host_frame};
    use godwit_coordinator::faults::Faults;
    use godwit_migration::Event;

    use super::*;
    use crate::{
        agent::tests::{self, answer, welcome},
        cause::cause,
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
}
