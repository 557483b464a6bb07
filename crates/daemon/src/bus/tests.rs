//! On a real bus, with dbusmock's logind and polkit, over pretend hosts. What they need (see `place.rs`) is not on every machine
//! that builds: `cargo xtask test` installs it and runs them, or by hand
//! `cargo test --package godwitd bus::tests -- --ignored`.

mod place;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::StreamExt;
use godwit_api::v1::{GetMigrationRequest, TransferOptions, migration_service_server::MigrationService};
use godwit_coordinator::MigrationDesk;
use zbus::{OwnedVariant, Variant};

use self::place::{LONG, place, until};
use super::{NAME, PATH, authority::Action};

const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_migration_is_begun_and_followed_to_its_end() {
    let mut place = place(20.0).await;
    let client = place.all().await;
    let mut signals = client.listen().await;
    let id = client.migrate().await.unwrap();
    let object = super::objects::path(&id);
    let (mut told, mut phases, mut last) = (Vec::new(), Vec::new(), BTreeMap::new());
    let ended = async {
        while let Some(Ok(signal)) = signals.next().await {
            let header = signal.header();
            let member = header.member().unwrap().to_string();
            if member == "PropertiesChanged" {
                assert_eq!(header.path().unwrap().as_str(), object.as_str());
                let body = signal.body();
                let (_, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                    body.deserialize().unwrap();
                for (name, value) in changed {
                    if name == "Phase" {
                        phases.push(String::try_from(value.try_clone().unwrap()).unwrap());
                    }
                    last.insert(name, value);
                }
                continue;
            }
            told.push(member.clone());
            if member == "MigrationEnded" {
                let body = signal.body();
                let (of, path, outcome): (String, zbus::OwnedObjectPath, String) =
                    body.deserialize().unwrap();
                assert_eq!(
                    (of, path, outcome.as_str()),
                    (id.clone(), object.clone(), "moved")
                );
                return;
            }
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("it ends");
    assert_eq!(told, ["InterfacesAdded", "MigrationAdded", "MigrationEnded"]);
    for phase in ["fail-over", "unplug", "transfer", "locate", "follow"] {
        assert!(phases.iter().any(|seen| seen == phase), "{phase} in {phases:?}");
    }
    assert_eq!(
        last["State"],
        OwnedVariant::try_from(Variant::from("ended")).unwrap()
    );
    assert_eq!(client.text(&id, "Outcome").await, "moved");
    let answer = client.godwit("ListMigrations", &()).await.unwrap();
    let listed: Vec<(String, String, String, String, String)> = answer.body().deserialize().unwrap();
    let row = ["web-1", "alpha", "beta", "ended"].map(str::to_owned);
    let [guest, source, destination, state] = row;
    assert_eq!(listed, [(id, guest, source, destination, state)]);
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn who_polkit_does_not_allow_changes_nothing() {
    let mut place = place(50.0).await;
    let client = place.all().await;
    client.polkit("AllowUnknown", &false).await;
    for (action, asked) in [
        (Action::Migrate, client.migrate().await.map(drop)),
        (Action::Cancel, client.godwit("Cancel", &"0000").await.map(drop)),
        (Action::Steer, client.godwit("Standby", &"web-1").await.map(drop)),
        (
            Action::Steer,
            client.godwit("Accelerate", &"web-1").await.map(drop),
        ),
    ] {
        let (name, text) = asked.unwrap_err();
        assert_eq!(name, DENIED);
        assert_eq!(text, format!("{} is not allowed: polkit refuses it", action.id()));
    }
    let answer = client.godwit("ListMigrations", &()).await.unwrap();
    let listed: Vec<(String, String, String, String, String)> = answer.body().deserialize().unwrap();
    assert_eq!(listed, [], "and reading is for everybody");
    let first = &place.audited(4).await[0];
    for part in [
        r#""who":"uid 0""#,
        r#""call":"Migrate""#,
        r#""on":["guest=web-1","destination=beta"]"#,
        r#""accepted":false"#,
        DENIED,
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    // Each has its own action.
    client.polkit("SetAllowed", &vec![Action::Steer.id()]).await;
    assert_eq!(client.migrate().await.unwrap_err().0, DENIED);
    client.godwit("Standby", &"web-1").await.unwrap();
    let last = &place.audited(6).await[5];
    let standby = [r#""call":"Standby""#, r#""accepted":true"#];
    assert!(standby.iter().all(|part| last.contains(part)), "{last}");
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn who_looked_is_written_down_where_that_is_wanted_and_who_looked_in_vain_always() {
    for looks in [false, true] {
        let mut place = place(50.0).await;
        place.looks = looks;
        let client = place.all().await;
        client.godwit("ListMigrations", &()).await.unwrap();
        client.godwit("GetMigration", &"0000").await.unwrap_err();
        let id = client.migrate().await.unwrap();
        client.godwit("GetMigration", &id).await.unwrap();
        // Written down in any case, and after all the others.
        client.godwit("Cancel", &"0000").await.unwrap_err();
        let told = [
            (
                looks,
                r#""call":"ListMigrations","on":[],"accepted":true"#.to_owned(),
            ),
            (
                true,
                r#""call":"GetMigration","on":["migration=0000"],"accepted":false"#.into(),
            ),
            (true, r#""call":"Migrate""#.into()),
            (
                looks,
                format!(r#""call":"GetMigration","on":["migration={id}"],"accepted":true"#),
            ),
            (true, r#""call":"Cancel""#.into()),
        ];
        let told: Vec<_> = told.into_iter().filter(|(is_there, _)| *is_there).collect();
        let lines = place.audited(told.len()).await;
        for (line, (_, part)) in lines.iter().zip(told) {
            assert!(
                line.contains(&part) && line.contains(r#""who":"uid 0""#),
                "{part}: {line}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_polkit_that_hangs_is_a_refusal_in_time() {
    let mut place = place(50.0).await;
    let client = place.all().await;
    client.polkit("SimulateHang", &true).await;
    let begun = std::time::Instant::now();
    let (name, text) = client.migrate().await.unwrap_err();
    assert_eq!(name, DENIED);
    assert_eq!(
        text,
        "org.godwit.migrate is not allowed: polkit did not answer within 5 s"
    );
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a real bus: cargo xtask test"]
async fn without_polkit_root_may_and_others_may_read() {
    let mut place = place(50.0).await;
    place.start_bus().await;
    place.serve(0);
    let client = place.client().await;
    until("the daemon is on the bus", async || client.is_there(NAME).await).await;
    let text = place
        .nobody("org.godwit.Daemon1.Standby", &["string:web-1"])
        .unwrap_err();
    let why = "org.godwit.steer is not allowed: polkit does not run here, and without it only root may";
    assert!(text.contains(DENIED) && text.contains(why), "{text}");
    place.nobody("org.godwit.Daemon1.ListMigrations", &[]).unwrap();
    client.migrate().await.unwrap();
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_refusal_has_the_reason_for_its_name() {
    let mut place = place(50.0).await;
    let client = place.all().await;
    let options: HashMap<&str, Variant<'_>> = HashMap::new();
    let asked = client.godwit("Migrate", &("nobody", "beta", options)).await;
    let (name, text) = asked.unwrap_err();
    assert_eq!(name, "org.godwit.Error.GUEST_UNKNOWN");
    assert_eq!(text, "guest `nobody` is not known on alpha (next: godwit guests)");
    let options = HashMap::from([("polcy", Variant::from("prefer"))]);
    let (name, _) = client
        .godwit("Migrate", &("web-1", "beta", options))
        .await
        .unwrap_err();
    assert_eq!(name, "org.godwit.Error.INVALID");
    let (name, _) = client.godwit("GetMigration", &"0000").await.unwrap_err();
    assert_eq!(name, "org.godwit.Error.MIGRATION_UNKNOWN");
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn what_a_transfer_is_to_be_like_is_asked_for_by_the_names_of_the_command_line() {
    let mut place = place(50.0).await;
    let client = place.all().await;
    let asked = async |options: &[(&str, Variant<'_>)]| {
        let options: HashMap<&str, Variant<'_>> = options
            .iter()
            .map(|(name, value)| (*name, value.try_clone().unwrap()))
            .collect();
        client.godwit("Migrate", &("web-1", "beta", options)).await
    };
    // By the words themselves, by what goes together, and by libvirt's bounds.
    let wrong: [(&[(&str, Variant<'_>)], &str); 4] = [
        (&[("bandwidth", "100".into())], "option `bandwidth` is `100`: "),
        (
            &[("bandwidth", "1MiB/s".into()), ("copy-disks", "vda".into())],
            "`copy-disks` needs",
        ),
        (&[("downtime", "0ms".into())], "the downtime is not 1 to"),
        (&[("compress", "zstd".into())], "needs parallel connections"),
    ];
    for (options, why) in wrong {
        let (name, text) = asked(options).await.unwrap_err();
        assert_eq!(name, "org.godwit.Error.INVALID");
        assert!(text.contains(why), "{why}: {text}");
    }
    let listed = client.godwit("ListMigrations", &()).await.unwrap();
    let listed: Vec<(String, String, String, String, String)> = listed.body().deserialize().unwrap();
    assert_eq!(listed, [], "nothing was begun");
    let good = [
        ("bandwidth", "2GiB/s".into()),
        ("downtime", "200ms".into()),
        ("parallel", 4_u32.into()),
        ("post-copy", false.into()),
        ("probes", 0_u32.into()),
    ];
    let answer = asked(&good).await.unwrap();
    let (id, _): (String, zbus::OwnedObjectPath) = answer.body().deserialize().unwrap();
    let desk = MigrationDesk(place.sim.coordinator(0).unwrap());
    let request = tonic::Request::new(GetMigrationRequest { id });
    let found = desk
        .get_migration(request)
        .await
        .unwrap()
        .into_inner()
        .migration
        .unwrap();
    let wanted = TransferOptions {
        bandwidth_mib_per_second: Some(2048),
        downtime_ms: Some(200),
        parallel_connections: Some(4),
        post_copy: Some(false),
        ..Default::default()
    };
    assert_eq!(found.transfer, Some(wanted));
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn the_host_is_kept_awake_from_the_first_phase_to_the_last_on_both_sides() {
    let mut place = place(5.0).await;
    let client = place.all().await;
    assert_eq!(client.inhibitors().await, []);
    let id = client.migrate().await.unwrap();
    let both = |why: &str| ["block", "delay"].map(|mode| (mode.to_owned(), why.to_owned()));
    let here = both("web-1 is moving to beta");
    until("it is locked", async || client.inhibitors().await == here).await;
    // The destination's daemon has no name on this bus, and its locks all the same.
    place.serve(1);
    let there = both("web-1 is moving here from alpha");
    until("the destination too", async || {
        let all = client.inhibitors().await;
        there.iter().all(|lock| all.contains(lock))
    })
    .await;
    until("it ends", async || client.text(&id, "State").await == "ended").await;
    until("nothing is locked", async || client.inhibitors().await.is_empty()).await;
    assert_eq!(client.text(&id, "Outcome").await, "moved");
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_host_that_shuts_down_turns_round_what_it_can_and_begins_nothing() {
    let mut place = place(2.0).await;
    let client = place.all().await;
    let id = client.migrate().await.unwrap();
    until("it is locked", async || client.inhibitors().await.len() == 2).await;
    client.prepare_for_shutdown(true).await;
    until("it is turned round", async || {
        client.properties(&id).await["Cancelled"] == OwnedVariant::from(true)
    })
    .await;
    let (name, text) = client.godwit("Standby", &"web-1").await.unwrap_err();
    assert!(
        name.ends_with(".GUEST_BUSY") || name.ends_with(".HOST_GOING_DOWN"),
        "{name}: {text}"
    );
    until("it ends", async || client.text(&id, "State").await == "ended").await;
    assert_eq!(client.text(&id, "Outcome").await, "stayed");
    let (name, text) = client.migrate().await.unwrap_err();
    assert_eq!(name, "org.godwit.Error.HOST_GOING_DOWN");
    assert_eq!(
        text,
        "alpha is shutting down: nothing new is begun there (next: on alpha: systemd-inhibit --list)"
    );
    until("nothing delays it any more", async || {
        client.inhibitors().await.is_empty()
    })
    .await;
    client.prepare_for_shutdown(false).await;
    until("operations may begin again", async || {
        client.migrate().await.is_ok()
    })
    .await;
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_transfer_goes_on_and_delays_a_shutdown_no_longer_than_logind_waits() {
    let mut place = place(0.5).await;
    let client = place.all().await;
    let id = client.migrate().await.unwrap();
    until("it transfers", async || {
        client.text(&id, "Phase").await == "transfer"
    })
    .await;
    client.prepare_for_shutdown(true).await;
    let begun = std::time::Instant::now();
    let modes = async || -> Vec<String> {
        client
            .inhibitors()
            .await
            .into_iter()
            .map(|(mode, _)| mode)
            .collect()
    };
    until("the delay is over", async || modes().await == ["block"]).await;
    let after = begun.elapsed();
    assert!(
        after > Duration::from_secs(4) && after < Duration::from_secs(10),
        "{after:?}"
    );
    assert_eq!(
        client.properties(&id).await["Cancelled"],
        OwnedVariant::from(false)
    );
    client.prepare_for_shutdown(false).await;
    until("it is delayed again", async || {
        modes().await == ["block", "delay"]
    })
    .await;
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn a_bus_that_comes_late_and_one_that_restarts_are_found() {
    let mut place = place(1.0).await;
    let daemon = place.serve(0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!daemon.is_finished(), "no bus is no error");
    place.start_bus().await;
    place.mock("logind", "org.freedesktop.login1").await;
    let client = place.client().await;
    until("the daemon is on the bus", async || client.is_there(NAME).await).await;
    let id = client.migrate().await.unwrap();
    until("it is locked", async || client.inhibitors().await.len() == 2).await;
    place.stop_bus();
    place.start_bus().await;
    place.mock("logind", "org.freedesktop.login1").await;
    let client = place.client().await;
    until("it is there again", async || client.is_there(NAME).await).await;
    until("it is locked again", async || {
        client.inhibitors().await.len() == 2
    })
    .await;
    let proxy = zbus::fdo::ObjectManagerProxy::new(&client.0, NAME, PATH)
        .await
        .unwrap();
    let objects = proxy.get_managed_objects().await.unwrap();
    let path = super::objects::path(&id);
    assert!(objects.contains_key(&path), "{objects:?}");
    let shown = objects[&path].get("org.godwit.Migration1").unwrap();
    let known: Vec<String> = client.properties(&id).await.into_keys().collect();
    assert!(!known.is_empty() && known.iter().all(|name| shown.contains_key(name.as_str())));
    assert_eq!(shown.len(), known.len());
}

/// Rows of docs/dbus.md, as far as the machine knows them.
fn rows(xml: &str, interface: &str) -> Vec<String> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options).unwrap();
    let interface = document
        .descendants()
        .find(|node| node.attribute("name") == Some(interface))
        .unwrap();
    let signature = |node: roxmltree::Node<'_, '_>, direction: Option<&str>| {
        let arguments = node
            .children()
            .filter(|argument| argument.has_tag_name("arg") && argument.attribute("direction") == direction);
        let types: String = arguments
            .filter_map(|argument| argument.attribute("type"))
            .collect();
        match types.as_str() {
            "" => "–".to_owned(),
            types => format!("`{types}`"),
        }
    };
    let row = |node: roxmltree::Node<'_, '_>| {
        let name = node.attribute("name")?;
        let rest = match node.tag_name().name() {
            "method" => format!(
                "{} | {}",
                signature(node, Some("in")),
                signature(node, Some("out"))
            ),
            "signal" => signature(node, None),
            "property" => {
                let constant = node
                    .children()
                    .any(|child| child.attribute("value") == Some("const"));
                let changes = if constant { "no" } else { "yes" };
                format!("`{}` | {changes}", node.attribute("type")?)
            }
            _ => return None,
        };
        Some(format!("| `{name}` | {rest} |"))
    };
    interface.children().filter_map(row).collect()
}

#[tokio::test]
#[ignore = "a real bus: cargo xtask test"]
async fn the_interfaces_are_as_the_document_has_them() {
    let mut place = place(1.0).await;
    let client = place.all().await;
    let id = client.migrate().await.unwrap();
    let document = include_str!("../../../../docs/dbus.md");
    let mut known = 0;
    for (path, interface) in [
        (PATH, "org.godwit.Daemon1"),
        (super::objects::path(&id).as_str(), "org.godwit.Migration1"),
    ] {
        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let asked = client
            .0
            .call_method(Some(NAME), path, introspectable, "Introspect", &());
        let xml: String = asked.await.unwrap().body().deserialize().unwrap();
        for row in rows(&xml, interface) {
            assert!(
                document.lines().any(|line| line.starts_with(&row)),
                "docs/dbus.md has no row {row}"
            );
            known += 1;
        }
    }
    let written = document
        .lines()
        .filter(|line| line.starts_with("| `") && line.as_bytes()[3].is_ascii_uppercase());
    assert_eq!(
        written.count(),
        known,
        "docs/dbus.md has a row that is none of the interfaces'"
    );
}

#[test]
fn the_policy_file_has_the_actions() {
    let policy = include_str!("../../dbus/org.godwit.policy");
    let known = policy.matches("<action id=").count();
    assert_eq!(known, Action::ALL.len());
    for action in Action::ALL {
        assert!(
            policy.contains(&format!("<action id=\"{}\">", action.id())),
            "{action:?}"
        );
    }
}
