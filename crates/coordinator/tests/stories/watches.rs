//! Watching a migration: the state now, every change, the first settled view, the end.

use futures_util::StreamExt;
use godwit_api::v1::{Moved, Phase as Wire};
use godwit_migration::{Phase, Verdict};

use crate::{facts, host::Host, world::failed};

#[test]
fn a_watch_begins_with_now_and_ends_with_the_settled_view() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        let mut views = alpha.watch(&id).await.unwrap();
        let now = views.next().await.unwrap().unwrap().migration.unwrap();
        assert_eq!((now.phase(), now.settled), (Wire::Unplug, false));

        alpha.world.free(Phase::Unplug);
        let rest: Vec<_> = views.map(|view| view.unwrap().migration.unwrap()).collect().await;
        let (last, before) = rest.split_last().unwrap();
        assert!(last.settled && last.moved() == Moved::Yes);
        assert!(before.iter().all(|view| !view.settled));
        let grows = |views: &[godwit_api::v1::Migration]| views[0].timeline.len() <= views[1].timeline.len();
        assert!(rest.windows(2).all(grows));
    });
}

#[test]
fn a_watch_of_a_resting_migration_ends_without_waiting_for_a_change() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha
            .world
            .breaks(Phase::Locate, facts::located(Verdict::Unknown));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let first = alpha.views(&id).await;
        assert!(first.last().is_some_and(|view| view.settled && !view.ended));
        // Also for the one who comes later, and long before the next attempt.
        let late = alpha.views(&id).await;
        assert_eq!(late.len(), 1);
        assert!(late[0].needs_person);
    });
}

#[test]
fn a_watch_that_goes_on_tells_only_what_is_new() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        let now = alpha.watch(&id).await.unwrap().next().await.unwrap().unwrap();
        let seen = now.migration.unwrap().revision;
        assert!(seen > 0);
        let mut on = alpha.watch_after(&id, seen).await.unwrap();
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(50), on.next()).await;
        assert!(nothing.is_err(), "it was told again");
        alpha.world.free(Phase::Unplug);
        let next = on.next().await.unwrap().unwrap().migration.unwrap();
        assert!(next.revision > seen);
        let last = alpha.settled(&id).await;
        // Also who has seen the end is told that it is one.
        let mut late = alpha.watch_after(&id, last.revision).await.unwrap();
        assert_eq!(late.next().await.unwrap().unwrap().migration.unwrap(), last);
    });
}

#[test]
fn who_comes_after_the_end_gets_one_view_and_the_end() {
    let host = Host::source();
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let last = alpha.settled(&id).await;
        for _ in 0..3 {
            assert_eq!(alpha.views(&id).await, std::slice::from_ref(&last));
        }
        assert_eq!(alpha.views(&id[..30]).await, [last]);
    });
}

#[test]
fn many_watch_some_leave_and_nobody_is_disturbed() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        let watch = |leaves: bool| {
            let (alpha, id) = (alpha.clone(), id.clone());
            tokio::spawn(async move {
                let mut views = alpha.watch(&id).await.unwrap();
                let first = views.next().await.unwrap().unwrap().migration.unwrap();
                if leaves {
                    return first;
                }
                views
                    .map(|view| view.unwrap().migration.unwrap())
                    .fold(first, async |_, view| view)
                    .await
            })
        };
        let stay: Vec<_> = (0..50).map(|_| watch(false)).collect();
        for leaves in (0..50).map(|_| watch(true)) {
            assert_eq!(leaves.await.unwrap().phase(), Wire::Transfer);
        }
        alpha.world.free(Phase::Transfer);
        for stays in stay {
            assert_eq!(stays.await.unwrap().moved(), Moved::Yes);
        }
    });
}

#[test]
fn a_watch_that_meets_the_end_half_way_still_shows_the_end() {
    // The single view of a migration that ended meanwhile is the settled one, whenever one asks.
    let host = Host::source();
    host.live(async |alpha| {
        for _ in 0..10 {
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            let watchers: Vec<_> = (0..8)
                .map(|_| {
                    let (alpha, id) = (alpha.clone(), id[..35].to_owned());
                    tokio::spawn(async move {
                        // By a prefix: what is looked up in the journal may end before it is watched.
                        loop {
                            let last = alpha.settled(&id).await;
                            assert!(last.settled, "{last:?}");
                            if alpha.get(&id).await.unwrap().ended {
                                return;
                            }
                        }
                    })
                })
                .collect();
            for watcher in watchers {
                watcher.await.unwrap();
            }
        }
    });
}

#[test]
fn a_watch_sees_the_failure_that_it_settles_with() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.once(Phase::FailOver, failed("AGENT"));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let last = alpha.settled(&id).await;
        let failure = last.failure.clone().unwrap();
        assert_eq!(
            (failure.reason.as_str(), failure.message.as_str()),
            ("AGENT", "agent went wrong")
        );
        assert_eq!(
            (failure.causes, failure.hint.as_str()),
            (vec!["the world".to_owned()], "look at the world")
        );
        assert_eq!(last.moved(), Moved::No);
    });
}

#[test]
fn an_unknown_migration_cannot_be_watched() {
    let host = Host::source();
    host.live(async |alpha| {
        let no = alpha.watch(&facts::migration(9)).await.err().unwrap();
        assert_eq!(no.failure.reason, "MIGRATION_UNKNOWN");
    });
}
