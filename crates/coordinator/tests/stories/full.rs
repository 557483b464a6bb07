//! A disk that is full: what is running ends, and nothing is begun. On a real file system of 16 MiB, in a mount
//! namespace of the test's own.

use std::{fs::File, io::Write, path::Path, process::Command};

use godwit_api::v1::{Moved, Policy};
use godwit_migration::{Event, Phase, VfUse};
use tonic::Code;

use crate::{
    facts,
    host::{Host, Two},
    plans::plan,
    world::cause,
};

/// Says to the child that its temporary files are on the small file system.
const SMALL: &str = "GODWIT_TEST_SMALL_DISK";

/// Runs the story in a process that has a small file system, if one can be had.
fn on_a_small_disk(name: &str, story: impl FnOnce()) {
    if std::env::var_os(SMALL).is_some() {
        return story();
    }
    let place = tempfile::tempdir().unwrap();
    let mount = |then: &[&str]| {
        let script = "mount -t tmpfs -o size=16m godwit \"$0\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]);
        command
            .arg(place.path())
            .args(then)
            .env(SMALL, "1")
            .env("TMPDIR", place.path());
        command.output()
    };
    if !mount(&["true"]).is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: this user may not mount a tmpfs in a namespace of its own");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let told = mount(&[program.to_str().unwrap(), "--exact", name, "--nocapture"]).unwrap();
    let words = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && words.contains("1 passed"), "{words}");
}

/// Takes every byte that is left.
fn fill(directory: &Path) {
    let mut file = File::create(directory.join("filler")).unwrap();
    for block in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; block]).is_ok() {}
    }
}

/// What is in the way of the space that is set aside, as a full disk is; in both ways, there and gone.
fn stand_in_the_way(host: &Host, is_there: bool) {
    let ballast = host.directory().join("godwit.ballast");
    if is_there {
        std::fs::remove_file(&ballast).unwrap();
        std::fs::create_dir(&ballast).unwrap();
    } else {
        std::fs::remove_dir(&ballast).unwrap();
    }
}

/// A migration is refused for it; so a plan finds it, of either host, beside what else there is.
#[test]
fn a_plan_finds_that_a_disk_is_full_and_a_migration_tells_it_with_the_rest() {
    let two = Two::new();
    two.live(async |alpha, _| {
        for (name, host) in [("alpha", &two.alpha), ("beta", &two.beta)] {
            stand_in_the_way(host, true);
            let planned = plan(&alpha, Policy::Prefer).await.unwrap();
            let [found] = &planned.findings[..] else {
                panic!("{planned:?}");
            };
            let told = (found.about.as_str(), found.reason.as_str(), planned.moves);
            assert_eq!(told, (name, "JOURNAL_FULL", false));
            let directory = host.directory().display();
            assert_eq!(found.fix, format!("on {name}: df -h {directory}"));
            let begin = format!("on {name}: journal ");
            assert!(found.what.starts_with(&begin), "{found:?}");
            alpha
                .world
                .set(|knobs| knobs.guests[0].strays.push(facts::stray()));
            let no = alpha.migrate("web-1", "beta").await.unwrap_err();
            let all = format!("{} {:?}", no.failure.reason, no.failure.causes);
            assert!(all.contains("JOURNAL_FULL") && all.contains("STRAY_VF"), "{all}");
            alpha.world.set(|knobs| knobs.guests[0].strays.clear());
            stand_in_the_way(host, false);
        }
        let planned = plan(&alpha, Policy::Prefer).await.unwrap();
        assert!(planned.moves && planned.findings.is_empty(), "{planned:?}");
    });
}

#[test]
fn what_is_running_ends_and_nothing_is_begun() {
    on_a_small_disk("full::what_is_running_ends_and_nothing_is_begun", || {
        let host = Host::source();
        let directory = host.directory();
        let ballast = directory.join("godwit.ballast");
        host.live(async |alpha| {
            alpha.world.hold(Phase::Transfer);
            let id = alpha.reach(Phase::Transfer).await;
            assert_eq!(std::fs::metadata(&ballast).unwrap().len(), 8 << 20);
            fill(directory);

            // The longest way that there is: over there it failed, and everything is undone.
            alpha
                .world
                .once(Phase::Transfer, Event::Failed(cause("TRANSFER")));
            alpha
                .world
                .once(Phase::Locate, facts::located(godwit_migration::Verdict::Here));
            let end = alpha.ended(&id).await;
            assert_eq!((end.moved(), end.ended), (Moved::No, true));
            assert!(!ballast.exists(), "the space was used");

            let (works, begun) = (alpha.world.works().len(), alpha.peek().migrations());
            let no = alpha.migrate("web-1", "beta").await.unwrap_err();
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::ResourceExhausted, "JOURNAL_FULL")
            );
            assert_eq!(no.failure.hint, format!("df -h {}", directory.display()));
            assert!(no.failure.causes[0].contains("No space left on device"), "{no:?}");
            alpha.world.set(|knobs| knobs.vfs.push(facts::vf(2, VfUse::Free)));
            let no = alpha.reserve("beta", facts::reserve(1, 2)).await.unwrap_err();
            assert_eq!(no.failure.reason, "JOURNAL_FULL");
            assert_eq!(
                (alpha.world.works().len(), alpha.peek().migrations()),
                (works, begun)
            );
            assert!(
                alpha.look("beta", facts::close(3, 4)).await.unwrap().1,
                "a promise is kept all the same"
            );

            std::fs::remove_file(directory.join("filler")).unwrap();
            alpha.world.free(Phase::Transfer);
            let again = alpha.migrate("web-1", "beta").await.unwrap();
            assert!(ballast.exists(), "there is room again");
            assert_eq!(alpha.ended(&again.id).await.moved(), Moved::Yes);
        });
    });
}
