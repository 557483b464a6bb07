//! From a question to its answer.

use std::time::Duration;

use futures_util::future::try_join_all;
use godwit_coordinator::{Expected, Refused, World};
use godwit_hook::{
    call::Right,
    frame::{Answer, Question},
};
use godwit_migration::{Cause, Pair, PciAddress};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use super::{Hooks, Prepare};
use crate::libvirt::edit::teamed::{Coming, Teamed, coming, with_vfs};

/// What the answer is, and what is held with it.
pub(super) struct Reply {
    pub(super) answer: Answer,
    /// The operation that ends if nobody hears the answer.
    pub(super) held: Option<String>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        Reply { answer, held: None }
    }
}

impl<W: World> Hooks<W> {
    /// What is only told: for the log, and for whoever looks after guests.
    pub(super) fn note(&self, question: &Question) {
        let call = &question.call;
        let (guest, operation, point, more) = (&call.guest, &call.operation, &call.point, &call.more);
        info!(guest, more, "libvirt's hook: {operation} {point}");
        self.wake.notify_one();
    }

    /// What is to become of a guest that comes. Not to be given up on half way, as [`Coordinator::hold_for`].
    ///
    /// [`Coordinator::hold_for`]: godwit_coordinator::Coordinator::hold_for
    pub(super) async fn answer(&self, question: &Question, until: Instant) -> Reply {
        if question.call.right() != Right::Decide {
            // `godwit hook check`: somebody is here.
            return Answer::Untouched.into();
        }
        self.note(question);
        let guest = &question.call.guest;
        let Ok(xml) = str::from_utf8(&question.xml) else {
            return Answer::Undecided("its XML is not text".into()).into();
        };
        let coming = match coming(xml) {
            Ok(coming) => coming,
            Err(error) => {
                warn!(guest, "libvirt's hook brought XML that cannot be read: {error}");
                return Answer::Undecided(error.to_string()).into();
            }
        };
        if let Some(Err(error)) = &coming.wish {
            warn!(guest, "{error}");
        }
        if coming.teamed.is_empty() {
            info!(guest, "it comes by another tool, on its standby");
            return Answer::Untouched.into();
        }
        let reply = self.with_vfs(xml, coming, until).await;
        if let Answer::Refused(why) | Answer::Undecided(why) = &reply.answer {
            warn!(guest, "not taken here: {why}");
        }
        reply
    }

    /// VFs of this host in place of those of the source.
    async fn with_vfs(&self, xml: &str, coming: Coming, until: Instant) -> Reply {
        let guest = coming.guest.clone();
        let host = self.coordinator.host();
        let refused =
            |why: String| Answer::Refused(format!("godwit on {host}: guest `{}`: {why}", guest.name));
        let pairs = match pairs(&coming, self.pool.as_deref()) {
            Ok(pairs) => pairs,
            Err(why) => return refused(why).into(),
        };
        let expected = Expected {
            guest: coming.guest,
            pairs: pairs.clone(),
            nodes: coming.nodes,
            until,
        };
        let (id, held) = match self.coordinator.hold_for(expected, (self.look)()).await {
            Ok(held) => held,
            Err(Refused::Cause(cause)) => return Answer::Undecided(sentence(&cause)).into(),
            Err(other) => return refused(other.to_string()).into(),
        };
        // As they stand in the XML.
        let vf = |pair: &Pair| held.iter().find(|(mac, _)| *mac == pair.mac).map(|(_, vf)| *vf);
        let vfs: Vec<PciAddress> = pairs.iter().filter_map(vf).collect();
        let works = pairs
            .into_iter()
            .zip(&vfs)
            .zip(&coming.teamed)
            .map(|((pair, vf), teamed)| {
                (self.prepare)(Prepare {
                    vf: *vf,
                    pair,
                    set_by_libvirt: teamed.set_by_libvirt,
                })
            });
        let begun = Instant::now();
        let answer = match timeout_at(until, try_join_all(works)).await {
            Err(_) => Answer::Undecided("its VF was not ready in time".into()),
            Ok(Err(cause)) => refused(sentence(&cause)),
            Ok(Ok(_)) => match with_vfs(xml, &vfs) {
                Ok(same) if same == xml => Answer::Untouched,
                Ok(edited) => Answer::Rewritten(edited.into_bytes()),
                Err(error) => Answer::Undecided(error.to_string()),
            },
        };
        debug!(migration = %id, ready_ms = begun.elapsed().as_millis() as u64, "answered");
        match answer {
            Answer::Untouched | Answer::Rewritten(_) => Reply {
                answer,
                held: Some(id),
            },
            other => {
                self.coordinator.give_up(&id).await;
                other.into()
            }
        }
    }
}

/// The pairs of a guest of libvirt's own, each with the pool that its VF is to come from: the one that its metadata names,
/// or this host's.
fn pairs(coming: &Coming, pool: Option<&str>) -> Result<Vec<Pair>, String> {
    let wish = match &coming.wish {
        None => None,
        Some(Ok(wish)) => Some(wish),
        Some(Err(error)) => return Err(format!("{error}: install the newer Godwit on this host first")),
    };
    let pair = |teamed: &Teamed| {
        let wished = wish.and_then(|wish| {
            let mut pairs = wish.pairs.iter();
            pairs.find(|pair| pair.standby_mac == teamed.standby_mac)
        });
        let pool = wished.map(|wished| wished.pool.as_str()).or(pool);
        let pool = pool.ok_or(
            "from which pool its VF is to come is not known, and this host has not exactly one: name it in \
             `pool` of [hook]",
        )?;
        Ok(Pair {
            mac: teamed.standby_mac,
            primary_mac: teamed.primary_mac,
            standby: teamed.standby.clone(),
            primary: teamed.primary.clone().unwrap_or_default(),
            pool: pool.to_owned(),
            source_vf: None,
            destination_vf: None,
            profile: wished.and_then(|wished| wished.profile),
        })
    };
    coming.teamed.iter().map(pair).collect()
}

fn sentence(cause: &Cause) -> String {
    match cause.causes.first() {
        Some(first) => format!("{}: {first}", cause.message),
        None => cause.message.clone(),
    }
}

/// Of the hook's deadline, what is left for the way back.
pub(super) fn until(deadline: Duration) -> Instant {
    Instant::now() + deadline.mul_f32(0.9)
}
