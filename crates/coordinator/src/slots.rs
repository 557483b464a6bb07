//! Room for transfers, in the order in which it was asked for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// A queue for a limited number of places. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    line: Mutex<Line>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Line {
    inside: Vec<String>,
    /// Who waits, and when it asked last.
    waiting: VecDeque<(String, Instant)>,
}

/// A place that was given; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    id: String,
}

impl Slots {
    /// At most `limit` at once, at least one.
    pub(crate) fn new(limit: usize) -> Slots {
        Slots(Arc::new(Inner {
            limit: limit.max(1),
            line: Mutex::default(),
            moved: Notify::new(),
        }))
    }

    /// Stands in the line, or keeps standing there. 0: it is inside now. Who stood in the line and did not ask for
    /// `patience` has left it.
    pub(crate) fn ask(&self, id: &str, patience: Duration) -> u32 {
        let mut line = self.line();
        let now = Instant::now();
        line.waiting
            .retain(|(waits, asked)| waits == id || now.duration_since(*asked) <= patience);
        if line.inside.iter().any(|inside| inside == id) {
            return 0;
        }
        let place = line.waiting.iter().position(|(waits, _)| waits == id);
        let place = place.unwrap_or_else(|| {
            line.waiting.push_back((id.to_owned(), now));
            line.waiting.len() - 1
        });
        line.waiting[place].1 = now;
        if place == 0 && line.inside.len() < self.0.limit {
            line.waiting.pop_front();
            line.inside.push(id.to_owned());
            drop(line);
            self.0.moved.notify_waiters();
            return 0;
        }
        place as u32 + 1
    }

    /// In, whether there is room or not: what was inside before a restart.
    pub(crate) fn take(&self, id: &str) -> Slot {
        let mut line = self.line();
        if !line.inside.iter().any(|inside| inside == id) {
            line.inside.push(id.to_owned());
        }
        self.slot(id)
    }

    /// Waits for its turn; `tell` hears of its place each time that the line has moved. Dropped, it has left the line.
    pub(crate) async fn enter(&self, id: &str, mut tell: impl FnMut(u32)) -> Slot {
        let leaves = Leaves(self, id);
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            match self.ask(id, Duration::MAX) {
                0 => break,
                place => tell(place),
            }
            moved.await;
        }
        std::mem::forget(leaves);
        self.slot(id)
    }

    /// Out, or out of the line.
    pub(crate) fn leave(&self, id: &str) {
        let mut line = self.line();
        line.inside.retain(|inside| inside != id);
        line.waiting.retain(|(waits, _)| waits != id);
        drop(line);
        self.0.moved.notify_waiters();
    }

    /// Who is inside.
    pub(crate) fn inside(&self) -> Vec<String> {
        self.line().inside.clone()
    }

    fn slot(&self, id: &str) -> Slot {
        Slot {
            slots: self.clone(),
            id: id.to_owned(),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing that holds this lock can panic half way through a change.
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.leave(&self.id);
    }
}

struct Leaves<'a>(&'a Slots, &'a str);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn who_asked_first_is_let_in_first() {
        let slots = Slots::new(1);
        assert_eq!(slots.ask("a", LONG), 0);
        assert_eq!(slots.ask("b", LONG), 1);
        assert_eq!(slots.ask("c", LONG), 2);
        slots.leave("a");
        // There is room, and it is not c's turn.
        assert_eq!(slots.ask("c", LONG), 2);
        assert_eq!(slots.ask("b", LONG), 0);
        assert_eq!(slots.ask("c", LONG), 1);
        assert_eq!(slots.inside(), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_no_more_has_left_the_line() {
        let slots = Slots::new(1);
        let patience = Duration::from_secs(15);
        assert_eq!(slots.ask("a", patience), 0);
        assert_eq!(slots.ask("b", patience), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(slots.ask("c", patience), 2);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(slots.ask("c", patience), 1, "b has not asked for 20 s");
        assert_eq!(slots.ask("a", patience), 0, "who is inside stays inside");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_it_is_dropped() {
        let slots = Slots::new(1);
        let first = slots.enter("a", |_| ()).await;
        let (slots2, mut places) = (slots.clone(), Vec::new());
        let waits = async move {
            let slot = slots2.enter("b", |place| places.push(place)).await;
            (slot, places)
        };
        let waits = tokio::spawn(waits);
        tokio::time::sleep(Duration::from_secs(1)).await;
        // One that gives up leaves the line and takes no place.
        let gives_up = tokio::time::timeout(Duration::from_secs(1), slots.enter("c", |_| ())).await;
        assert!(gives_up.is_err());
        drop(first);
        let (second, places) = waits.await.unwrap();
        assert_eq!((places[0], slots.inside()), (1, vec!["b".to_owned()]));
        drop(second);
        assert!(slots.inside().is_empty());
        // After a restart, beyond the limit.
        let (_one, _two) = (slots.take("x"), slots.take("y"));
        assert_eq!(slots.ask("z", LONG), 1);
    }
}
