//! `godwit support-bundle`: one file with all that somebody needs who is to find out what went wrong.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use godwit_api::v1::{Failure, ListMigrationsRequest, ListMigrationsResponse};
use godwit_coordinator::{Which, offline};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::list::Found;
use crate::args::{Bundle, Wanted};
use crate::bundle::{self, Part, archive, host};
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::place::Place;
use crate::view::json;

/// Of the newest migrations, and of those of one guest.
const NEWEST: u32 = 50;

pub(super) async fn bundle(wanted: &Bundle, place: &Wanted, out: &mut Output) -> Result<u8, Error> {
    let place = Place::of(place)?;
    let now = Timestamp::now();
    let about = wanted.about.as_deref();
    let connected = Client::connect(&place).await;
    let mut parts = match &connected {
        Ok(client) => answers(client, about).await,
        Err(error) => {
            let why = error.to_string();
            ASKED.map(|name| Part::new(name, Err(why.clone()))).into()
        }
    };
    match &place {
        Place::Socket(_) => {
            if connected.is_err() {
                parts.extend(journal(&host::state(&wanted.config)));
            }
            parts.extend(host::parts(&wanted.config).await);
        }
        Place::Network(_) => parts.extend(host::PARTS.map(Part::elsewhere)),
    }
    let name = match connected {
        Ok(mut client) => own_name(&mut client).await,
        Err(_) => None,
    };
    let name = name.unwrap_or_else(|| "host".into());
    let stem = format!("godwit-support-{name}-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let file = wanted
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{stem}.tar.gz")));
    let head = format!("godwit {}, asked {place} at {now:.0}", env!("CARGO_PKG_VERSION"));
    let contents = bundle::contents(&head, &parts);
    let texts = parts
        .iter()
        .filter_map(|part| Some((part.name.as_str(), part.text.as_deref().ok()?)));
    let files: Vec<(&str, &str)> = [("README", contents.as_str())].into_iter().chain(texts).collect();
    let time = u64::try_from(now.as_second()).unwrap_or(0);
    let packed = archive::packed(&stem, &files, time).map_err(|error| unwritten(&file, &error))?;
    write(&file, &packed).map_err(|error| unwritten(&file, &error))?;
    told(&file, packed.len(), &parts, out)
}

/// What godwitd is asked for.
const ASKED: [&str; 8] = [
    "doctor.json",
    "hosts.json",
    "pools.json",
    "vfs.json",
    "holds.json",
    "guests.json",
    "migrations.json",
    "records.json",
];

/// All at once: one that hangs keeps no other waiting, and each has its deadline.
async fn answers(client: &Client, about: Option<&str>) -> Vec<Part> {
    let each = || client.clone();
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g] = std::array::from_fn(|_| each());
    let (doctor, hosts, pools, vfs, holds, guests, newest, records) = tokio::join!(
        a.doctor(String::new()),
        b.hosts(),
        c.pools(),
        d.vfs(),
        e.holds(),
        f.guests(),
        g.list(newest_of("")),
        records(each(), about),
    );
    let [
        doctor_name,
        hosts_name,
        pools_name,
        vfs_name,
        holds_name,
        guests_name,
        list_name,
        records_name,
    ] = ASKED;
    let mut parts = vec![
        part(
            doctor_name,
            doctor.as_ref().map(|doctor| text(&json::Doctor::from(doctor))),
        ),
        part(
            hosts_name,
            hosts.as_ref().map(|hosts| text(&json::Hosts::from(&hosts[..]))),
        ),
        part(
            pools_name,
            pools.as_ref().map(|pools| text(&json::Pools::from(&pools[..]))),
        ),
        part(vfs_name, vfs.as_ref().map(|vfs| text(&json::Vfs::from(&vfs[..])))),
        part(
            holds_name,
            holds.as_ref().map(|holds| text(&json::Holds::from(&holds[..]))),
        ),
        part(
            guests_name,
            guests
                .as_ref()
                .map(|guests| text(&json::Guests::from(&guests[..]))),
        ),
        part(
            list_name,
            newest.as_ref().map(|page| text(&json::Migrations::from(page))),
        ),
    ];
    if let Some(records) = records {
        parts.push(part(
            records_name,
            records.as_ref().map(|page| text(&json::Migrations::from(page))),
        ));
    }
    parts
}

/// Those that were asked for: of a guest by its name, or one by its id.
async fn records(mut client: Client, about: Option<&str>) -> Option<Result<ListMigrationsResponse, Error>> {
    let about = about?;
    let guests = client.list(newest_of(about)).await;
    match guests {
        Ok(page) if !page.migrations.is_empty() => Some(Ok(page)),
        _ => Some(
            client
                .get(about.into())
                .await
                .map(|migration| ListMigrationsResponse {
                    migrations: vec![migration],
                    next_page_token: String::new(),
                }),
        ),
    }
}

/// Of one guest or, where it is empty, of all.
fn newest_of(guest: &str) -> ListMigrationsRequest {
    ListMigrationsRequest {
        limit: NEWEST,
        guest: guest.into(),
        ..ListMigrationsRequest::default()
    }
}

/// The journal itself, where no daemon answers for it.
fn journal(directory: &Path) -> [Part; 2] {
    // One more says whether there are more.
    let list = offline::list(directory, "", Which::All, NEWEST + 1);
    let holds = offline::holds(directory);
    [
        Part::new(
            "offline-migrations.json",
            list.map_err(|error| error.to_string()).and_then(|look| {
                let found = Found::at_most(NEWEST as usize, look.found);
                text(&json::Migrations::of(&found.migrations, found.more))
            }),
        ),
        Part::new(
            "offline-holds.json",
            holds
                .map_err(|error| error.to_string())
                .and_then(|look| text(&json::Holds::from(&look.found[..]))),
        ),
    ]
}

fn part(name: &str, answer: Result<Result<String, String>, &Error>) -> Part {
    Part::new(name, answer.map_err(ToString::to_string).and_then(|text| text))
}

/// For people as well: each thing on lines of its own.
fn text(value: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Only what can be in a file's name.
async fn own_name(client: &mut Client) -> Option<String> {
    let hosts = client.hosts().await.ok()?;
    let here = hosts.into_iter().find(|host| host.here)?.name;
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = here.chars().filter(plain).take(40).collect();
    (!name.is_empty()).then_some(name)
}

/// For this user alone, and never in the place of another.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of one is none.
        let _ = fs::remove_file(path);
    }
    written
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => "it is never overwritten: name another with --output",
        _ => "name another place with --output",
    };
    Error::from(Failure {
        reason: "BUNDLE".into(),
        message: format!("{} cannot be written", path.display()),
        causes: vec![error.to_string()],
        hint: hint.into(),
    })
}

fn told(file: &Path, size: usize, parts: &[Part], out: &mut Output) -> Result<u8, Error> {
    let missing: Vec<(&str, &str)> = parts
        .iter()
        .filter_map(|part| Some((part.name.as_str(), part.text.as_ref().err()?.as_str())))
        .collect();
    let collected = parts.iter().filter(|part| part.text.is_ok());
    let collected: Vec<&str> = collected.map(|part| part.name.as_str()).collect();
    let shown = file.display().to_string();
    if out.is_json() {
        let missing: Vec<_> = missing
            .iter()
            .map(|(part, why)| json!({ "part": part, "why": why }))
            .collect();
        out.json(&json!({ "file": shown, "bytes": size, "collected": collected, "missing": missing }))?;
    } else {
        for (part, why) in &missing {
            out.line(&format!("Not collected: {part}: {why}"))?;
        }
        out.line(&format!("Collected: {}", collected.join(", ")))?;
        out.line(&format!(
            "{shown} is written, {} KiB, for this user alone.",
            size.div_ceil(1024)
        ))?;
        out.line(&format!("Look into it before you give it away: tar -xzf {shown}"))?;
    }
    Ok(if missing.is_empty() {
        exit::DONE
    } else {
        exit::ON_STANDBY
    })
}
