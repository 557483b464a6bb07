//! Stories of libvirt's hook that are told by calling it as libvirt does, where libvirt itself would do so too rarely: for many guests
//! at once, with much XML, and by callers that go away.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit;
use godwit_rig::guest;
use godwit_rig::small::{Device, Small};
use godwit_rig::{Host, ssh};

use crate::hooks::{Hook, Hung, PLACE, host_address, migrate, no_holds};
use crate::stage::Stage;

/// With seven VFs, none of which has the address of one of the PF that the rig's guests have theirs of.
const POOL: &str = "second";

/// As many as a host may get at once when another is drained.
const GUESTS: usize = 10;

/// A record of a guest that does not come ends after 60 s; the daemon looks now and then.
const GIVEN_UP: Duration = Duration::from_secs(150);

/// What the hook made of a call.
struct Answer {
    code: String,
    xml: String,
    err: String,
}

/// The domain of a guest with libvirt's own pair, as alpha would send it.
fn teamed_xml(stage: &Stage) -> Result<String> {
    const NAME: &str = "called";
    let devices = [Device::TeamedStandby, Device::TeamedVf];
    let _small = Small::define(&stage.place, Host::Alpha, NAME, &devices)?;
    guest::xml(&stage.place, Host::Alpha, NAME, true)
}

/// The same of another guest.
fn of_guest(xml: &str, number: usize) -> Result<String> {
    let part = |begin: &str, end: &str| {
        let rest = xml.split_once(begin).context("not in the XML")?.1;
        Ok::<&str, anyhow::Error>(rest.split_once(end).context("not in the XML")?.0)
    };
    let (uuid, mac) = (part("<uuid>", "</uuid>")?, part("<mac address='", "'")?);
    let uuid_of = format!("60d01700-0000-4000-8000-00000000c0{number:02x}");
    let named = xml.replace("<name>called</name>", &format!("<name>called-{number}</name>"));
    Ok(named
        .replace(uuid, &uuid_of)
        .replace(mac, &format!("52:54:00:aa:02:{number:02x}")))
}

/// Calls the hook for all of them at once, as beta's libvirt would.
fn call(stage: &Stage, all: &[String]) -> Result<Vec<Answer>> {
    let at = "/tmp/called";
    stage.on(Host::Beta, &format!("rm -rf {at} && mkdir {at}"))?;
    for (number, xml) in all.iter().enumerate() {
        ssh::run_with(
            &stage.place,
            Host::Beta,
            &format!("cat >{at}/{number}"),
            xml.as_bytes(),
        )?;
    }
    let numbers: Vec<String> = (0..all.len()).map(|number| number.to_string()).collect();
    let line = format!(
        "cd {at}; for n in {}; do ( {PLACE} called-$n migrate begin - <$n >$n.out 2>$n.err; echo $? >$n.code ) & done; wait",
        numbers.join(" ")
    );
    stage.on(Host::Beta, &line)?;
    let read = |number: usize, what: &str| stage.on(Host::Beta, &format!("cat {at}/{number}.{what}"));
    (0..all.len())
        .map(|number| {
            Ok(Answer {
                code: read(number, "code")?.trim().to_owned(),
                xml: read(number, "out")?,
                err: read(number, "err")?,
            })
        })
        .collect()
}

pub(crate) fn nothing_is_held(stage: &Stage) -> Result<()> {
    wait_for("no VF of a guest that did not come", GIVEN_UP, || {
        Ok(no_holds(stage, Host::Beta).is_ok().then_some(()))
    })
}

/// Each has a VF that no other has, or is told that there is none. None of them comes, and then nothing is held.
pub(crate) fn many_at_once(stage: &Stage) -> Result<()> {
    stage.configure(Host::Beta, &format!("[hook]\npool = \"{POOL}\"\n"))?;
    let _hook = Hook::install(stage)?;
    let xml = teamed_xml(stage)?;
    let all: Vec<String> = (0..GUESTS)
        .map(|number| of_guest(&xml, number))
        .collect::<Result<_>>()?;
    let free = godwit::run(&stage.place, Host::Beta, "--json vfs")?.out;
    let free: serde_json::Value = serde_json::from_str(&free)?;
    let vfs = free["vfs"].as_array().context("no VFs")?;
    let free = vfs
        .iter()
        .filter(|vf| vf["pool"] == POOL && vf["usage"] == "free")
        .count();
    ensure!((1..GUESTS).contains(&free), "{free} VFs are free: {vfs:?}");
    let answers = call(stage, &all)?;
    let mut given = BTreeSet::new();
    for (answer, sent) in answers.iter().zip(&all) {
        if answer.code == "0" {
            let address = host_address(&answer.xml)?;
            let as_it_was = answer.xml.replace(&address, &host_address(sent)?);
            ensure!(
                as_it_was == *sent,
                "more than the address is another:\n{}",
                answer.xml
            );
            ensure!(given.insert(address.clone()), "two guests have {address}");
        } else {
            ensure!(
                answer.err.contains(&format!("has no free VF in pool `{POOL}`")),
                "{}",
                answer.err
            );
        }
    }
    ensure!(
        given.len() == free,
        "{} of {GUESTS} have a VF, and {free} were free",
        given.len()
    );
    nothing_is_held(stage)
}

/// XML of more than a megabyte comes back whole; metadata of a later version is nothing to guess at; and for a caller that is killed, or
/// that has not waited, nothing is held.
pub(crate) fn hard_to_serve(stage: &Stage) -> Result<()> {
    stage.configure(Host::Beta, &format!("[hook]\npool = \"{POOL}\"\ndeadline = 30\n"))?;
    let _hook = Hook::install(stage)?;
    let xml = teamed_xml(stage)?;
    let long = of_guest(&xml, 0)?.replace(
        "</name>",
        &format!(
            "</name>\n  <description>{}</description>",
            "so it goes. ".repeat(100_000)
        ),
    );
    let later = of_guest(&xml, 1)?.replace(
        "</name>",
        "</name>\n  <metadata><godwit:guest xmlns:godwit=\"urn:godwit:domain:1\" version=\"99\"/></metadata>",
    );
    let answers = call(stage, &[long.clone(), later])?;
    let [whole, unknown] = &answers[..] else {
        anyhow::bail!("not two answers")
    };
    ensure!(whole.code == "0", "{}", whole.err);
    // As many bytes: an address is as long as another.
    ensure!(
        whole.xml.len() == long.len() && host_address(&whole.xml)? != host_address(&long)?,
        "{} bytes came back of {}",
        whole.xml.len(),
        long.len()
    );
    ensure!(
        unknown.code == "1" && unknown.xml.is_empty(),
        "it was let in:\n{}",
        unknown.xml
    );
    ensure!(unknown.err.contains("version `99`"), "{}", unknown.err);
    // A hook that waits for so long would have its VF.
    stage.on(
        Host::Beta,
        "sed -i 's/^deadline = 30$/deadline = 2/' /etc/godwit/godwitd.toml",
    )?;
    stage.daemon(Host::Beta, "restart")?;
    {
        let _hung = Hung::hang(stage, Host::Beta)?;
        let late = call(stage, &[of_guest(&xml, 2)?])?;
        ensure!(
            late[0].err.contains("did not answer within 2000 ms"),
            "{}",
            late[0].err
        );
        ssh::run_with(
            &stage.place,
            Host::Beta,
            "cat >/tmp/called/3",
            of_guest(&xml, 3)?.as_bytes(),
        )?;
        let killed = format!("timeout -s KILL 1 {PLACE} called-3 migrate begin - </tmp/called/3; echo $?");
        let code = stage.on(Host::Beta, &killed)?;
        ensure!(code.trim() == "137", "it ended by itself: {code}");
    }
    // The daemon goes on, and finds two questions whose callers have gone.
    nothing_is_held(stage)?;
    let known = godwit::migrations(&stage.place, Host::Beta)?;
    let held = known
        .iter()
        .filter(|record| ["called-2", "called-3"].contains(&record.guest.as_str()));
    let moved: Vec<_> = held.filter(|record| record.moved == "yes").collect();
    ensure!(moved.is_empty(), "{moved:?}");
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// Guests that are none of Godwit's move as they would without it.
pub(crate) fn unrelated_moves(stage: &Stage) -> Result<()> {
    const NAME: &str = "other-2";
    let moves = |with: &str| {
        let _small = Small::start(&stage.place, Host::Alpha, NAME, &[Device::Standby])?;
        let begun = std::time::Instant::now();
        for _ in 0..GUESTS / 2 {
            stage.on(Host::Alpha, &migrate(NAME, ""))?;
            let back = migrate(NAME, "").replace(
                &Host::Beta.address().to_string(),
                &Host::Alpha.address().to_string(),
            );
            stage.on(Host::Beta, &back)?;
        }
        let each = begun.elapsed().as_secs_f64() / GUESTS as f64;
        godwit_rig::say(format!(
            "figure an unrelated guest moves {with} the hook: {each:.1} s"
        ));
        let state = guest::domain_state(&stage.place, Host::Alpha, NAME)?;
        ensure!(state == "running", "it is {state}");
        Ok(())
    };
    moves("without")?;
    let _hook = Hook::install(stage)?;
    moves("with")?;
    stage.guest_is_accelerated_on(Host::Alpha)
}
