//! Guests that are to come from another host and do not come. What is held for them never expires by itself: their source is
//! asked, now and then, whether it is still at it. One that never heard of the migration, or ended it otherwise, sends
//! nobody, so the hold ends; one that cannot be asked may still send its guest, so the hold stays, and the record says since
//! when it waits and what a person may type.

use godwit_api::v1::Moved;
use godwit_migration::{Brief, Cause, Event, Migration, Phase, Sighting};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Coordinator, expected::is_awaited};
use crate::{
    NotNow, Refused, World, clock,
    operation::{Command, View},
    retry::Policy,
    words,
};

/// What a source says of a guest that this host waits for.
enum Word {
    /// It is at work there, at that phase: the guest may still come.
    Comes(&'static str),
    /// It is at work with it no more.
    Over(Over),
    /// None.
    Silence(Cause),
}

/// How a wait for a guest ends that is not here.
enum Over {
    /// It does not come, and why.
    Stays(&'static str),
    /// By its source's word it came, so it left again.
    Came,
}

impl<W: World> Coordinator<W> {
    /// Doubts the hold until its guest is here or it has ended. After a restart its time begins anew.
    pub(super) fn doubt(&self, id: &str) {
        let Some(watch) = self.watch(id) else { return };
        let coordinator = self.clone();
        tokio::spawn(async move { coordinator.ask_now_and_then(watch).await });
    }

    async fn ask_now_and_then(&self, mut watch: watch::Receiver<View>) {
        let mut pauses = Policy::DOUBT.pauses();
        loop {
            let over = watch.wait_for(|view| !is_awaited(&view.migration));
            tokio::select! {
                biased;
                _ = over => return,
                () = pauses.wait() => {}
            }
            let open = watch.borrow().migration.clone();
            if let Err(refused) = self.ask_of(&open).await {
                warn!(migration = %open.brief.id, "what is held for its guest is still held: {refused}");
            }
        }
    }

    async fn ask_of(&self, open: &Migration) -> Result<(), Refused> {
        // One that is on its way shows what its source is at.
        let away = is_away(self.world().sight(&open.brief.guest.uuid).await);
        let doubt = match away {
            false => None,
            true => match self.word_of_source(&open.brief).await {
                Word::Comes(_) => None,
                Word::Silence(cause) => Some(unheard(open, cause)),
                Word::Over(over) => return self.end_wait(open, over).await.map(drop),
            },
        };
        self.command(&open.brief.id, |taken| Command::Doubt { doubt, taken })
            .await?;
        Ok(())
    }

    async fn word_of_source(&self, brief: &Brief) -> Word {
        let record = match self.world().record(brief).await {
            Ok(Some(record)) => record,
            Ok(None) => return Word::Over(Over::Stays("it never heard of this migration")),
            Err(cause) => return Word::Silence(cause),
        };
        match record.moved() {
            Moved::No => Word::Over(Over::Stays("its guest stayed there")),
            Moved::Gone => Word::Over(Over::Stays(
                "its guest runs there no more, and did not leave by this migration",
            )),
            Moved::Yes => Word::Over(Over::Came),
            Moved::Undecided | Moved::Unknown | Moved::Unspecified => {
                Word::Comes(words::phase_back(record.phase()).map_or("work", Phase::name))
            }
        }
    }

    /// A person gives up a guest that this host waits for. Its id is closed here from then on: what still comes of it is refused.
    pub(super) async fn give_up_by_hand(&self, open: &Migration) -> Result<View, Refused> {
        let brief = &open.brief;
        let by_hand = || Over::Stays("a person said that it does not come");
        let word = match brief.teamed {
            true => Word::Over(by_hand()),
            false => self.word_of_source(brief).await,
        };
        let over = match word {
            Word::Comes(phase) => {
                return Err(self.may_come(
                    brief,
                    format!("{} is at it, at {phase}", brief.source),
                    format!("on {}: godwit cancel {}", brief.source, brief.id),
                ));
            }
            Word::Silence(cause) => {
                warn!(migration = %brief.id, "{}, and a person said that its guest does not come", cause.message);
                by_hand()
            }
            Word::Over(over) => over,
        };
        match self.end_wait(open, over).await? {
            seen if is_away(seen) => self.get(&brief.id).await,
            seen => {
                let seen = match seen {
                    Sighting::Unreadable => "libvirt here does not answer".into(),
                    seen => format!("libvirt here shows it ({})", format!("{seen:?}").to_lowercase()),
                };
                let hint = format!("virsh domstate {} --reason", brief.guest.name);
                Err(self.may_come(brief, seen, hint))
            }
        }
    }

    fn may_come(&self, brief: &Brief, seen: String, hint: String) -> Refused {
        let (id, guest) = (brief.id.clone(), brief.guest.name.clone());
        NotNow::MayCome {
            id,
            guest,
            seen,
            hint,
        }
        .into()
    }

    /// Ends the wait, if the guest is not here; what is seen of it.
    async fn end_wait(&self, open: &Migration, over: Over) -> Result<Sighting, Refused> {
        let (id, guest, source) = (&open.brief.id, &open.brief.guest, &open.brief.source);
        // What is seen must not be older than the promise that the id is closed, so it is looked for under the lock.
        let _alone = self.alone().await;
        let seen = self.world().sight(&guest.uuid).await;
        if !is_away(seen) {
            return Ok(seen);
        }
        let event = match over {
            Over::Stays(why) => {
                info!(migration = %id, guest = %guest.name, source, why, "it does not come: its VFs are free");
                Event::Closed
            }
            Over::Came => Event::Left(Cause {
                reason: "GUEST_LEFT".into(),
                message: format!(
                    "guest `{}` came from {source}, by its word, and does not run here any more",
                    guest.name
                ),
                hint: format!("virsh domstate {} --reason", guest.name),
                ..Cause::default()
            }),
        };
        // One that has ended, or begun to be accelerated, meanwhile takes nothing, and needs nothing.
        self.tell(id, event).await?;
        Ok(seen)
    }
}

fn is_away(seen: Sighting) -> bool {
    matches!(seen, Sighting::Absent | Sighting::ShutOff)
}

/// What the record says of a wait whose end nobody can tell.
fn unheard(open: &Migration, silence: Cause) -> Cause {
    let Brief {
        id, guest, source, ..
    } = &open.brief;
    Cause {
        message: format!(
            "guest `{}` has been awaited since {}, and {source}, which is to send it, cannot be asked: {}",
            guest.name,
            clock::utc(open.begun_ms),
            silence.message
        ),
        hint: format!("once it is certain that {source} does not send it: godwit cancel {id}"),
        ..silence
    }
}
