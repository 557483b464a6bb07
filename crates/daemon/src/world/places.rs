//! Looks at the places of disks. A file system whose server is away does not answer, and keeps the thread that asks for as long: one
//! place has one such thread at most, whoever else asks, and no other place waits for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use godwit_migration::doctor::Fact;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::doctor::in_time;

/// So many places are looked at at once.
const MOST: usize = 64;

/// Who looks at what now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<std::sync::Mutex<BTreeMap<String, Arc<Mutex<()>>>>>);

impl Places {
    /// What the look at this place shows, in its turn and in time.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        place: &str,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Fact<T> {
        let turn = self.turn(place)?;
        let looked = async {
            let turn = turn.lock_owned().await;
            let looked = spawn_blocking(move || {
                let seen = look();
                drop(turn);
                seen
            });
            looked.await.map_err(|error| error.to_string())
        };
        in_time(looked).await
    }

    fn turn(&self, place: &str) -> Fact<Arc<Mutex<()>>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        if turns.len() >= MOST && !turns.contains_key(place) {
            return Err(format!("{MOST} others are looked at and do not answer"));
        }
        Ok(Arc::clone(turns.entry(place.to_owned()).or_default()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::OwnedMutexGuard;

    use super::*;

    /// A look that does not end before this is dropped.
    async fn hung(places: &Places, place: &str) -> OwnedMutexGuard<()> {
        places.turn(place).unwrap().lock_owned().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_does_not_answer_keeps_no_other_and_no_second_thread() {
        let places = Places::default();
        let hung = hung(&places, "/mnt/dead").await;
        let again = places.look("/mnt/dead", || panic!("a second thread")).await;
        assert_eq!(again, Err::<(), _>("no answer within 5 s".into()));
        assert_eq!(places.look("/srv", || 7).await, Ok(7));
        drop(hung);
        assert_eq!(places.look("/mnt/dead", || 7).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_limit_to_those_that_do_not_answer() {
        let places = Places::default();
        let mut held = Vec::new();
        for number in 0..MOST {
            held.push(hung(&places, &format!("/mnt/{number}")).await);
        }
        let one_more = places.look("/srv", || 7).await;
        assert_eq!(one_more, Err("64 others are looked at and do not answer".into()));
        // Who waits for one of them waits its time, as ever.
        let again = places.look("/mnt/0", || 7).await;
        assert_eq!(again, Err("no answer within 5 s".into()));
        held.pop();
        assert_eq!(places.look("/srv", || 7).await, Ok(7));
    }
}
