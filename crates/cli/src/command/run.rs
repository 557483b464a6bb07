//! `godwit run`: something of libvirt's that a guest's VF is in the way of, with the guest on its standby meanwhile.
//!
//! It is virsh that does it, as the person who types this: a daemon that wrote a guest's memory to a file would do so as root, for whoever may
//! move guests.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use godwit_api::v1::{Acceleration, Failure, Migration};

use super::follow;
use super::waiting::{Ended, Waiter};
use crate::args::Run;
use crate::client::Client;
use crate::exit::{self, Wish};
use crate::failure::Error;
use crate::output::Output;
use crate::place::Place;

/// Reasons for which a guest does not get its VF now, and is looked after by its host when it runs again.
const LATER: [&str; 3] = ["GUEST_NOT_RUNNING", "GUEST_UNKNOWN", "GUEST_LEFT"];

/// virsh asks the libvirt of this host if nothing else is said, and a guest of that name may be here as well.
pub(super) fn check(place: &Place, wanted: &Run) -> Result<(), Error> {
    let Place::Network(remote) = place else {
        return Ok(());
    };
    if wanted.connect.is_some() {
        return Ok(());
    }
    let (guest, command, host) = (&wanted.guest, &wanted.command, &remote.address.host);
    let failure = Failure {
        reason: "USAGE".into(),
        message: format!("`{guest}` is asked for at {place}, and virsh would ask the libvirt of this host"),
        causes: Vec::new(),
        hint: format!(
            "say which libvirt, by its URI on {host}: godwit run {guest} --connect URI -- {command}"
        ),
    };
    Err(Error::Refused {
        failure: Box::new(failure),
    })
}

pub(super) async fn run(mut client: Client, wanted: &Run, out: &mut Output) -> Result<u8, Error> {
    let guests = client.guests().await?;
    let named = guests
        .iter()
        .find(|guest| guest.name == wanted.guest || guest.uuid == wanted.guest);
    if named.is_some_and(|guest| guest.acceleration() == Acceleration::Standby) {
        out.note(&format!("{} is on its standby, and is left so.", wanted.guest))?;
        return virsh(wanted, out).await;
    }
    let begun = client.standby(wanted.guest.clone(), wanted.within * 60).await?;
    let lowered = lower(client.clone(), &begun, out).await;
    let ran = match lowered {
        Ok(exit::DONE) => virsh(wanted, out).await,
        // Not to be had: it is accelerated again by itself. Or ctrl-C, or a daemon that does not answer.
        other => other,
    };
    let up = raise(&mut client, &wanted.guest, out).await;
    match (ran, up) {
        (Ok(exit::DONE), up) => up,
        // What went wrong first is what a script wants to know; that the VF did not come back was told as well.
        (ran, Ok(_)) => ran,
        (ran, Err(error)) => {
            out.error(&error);
            ran
        }
    }
}

async fn lower(client: Client, begun: &Migration, out: &mut Output) -> Result<u8, Error> {
    follow::to_its_end(client, Wish::Standby, begun, &mut Waiter::new(None), out).await
}

/// It gets a VF again, or will.
async fn raise(client: &mut Client, guest: &str, out: &mut Output) -> Result<u8, Error> {
    // The daemon may have been restarted meanwhile.
    let asked = match client.accelerate(guest.to_owned()).await {
        Err(error) if error.is_lost() => {
            client.reconnect().await?;
            client.accelerate(guest.to_owned()).await
        }
        asked => asked,
    };
    match asked {
        Ok(operation) => {
            let mut waiter = Waiter::new(None);
            follow::to_its_end(client.clone(), Wish::Accelerate, &operation, &mut waiter, out).await
        }
        Err(Error::Refused { failure }) if LATER.contains(&failure.reason.as_str()) => {
            out.note(&format!("{guest} does not run. It gets a VF when it runs again."))?;
            Ok(exit::DONE)
        }
        Err(error) => Err(error),
    }
}

/// virsh's exit code. ctrl-C is for it: the terminal sends it to both, and whoever waits for it here only waits.
async fn virsh(wanted: &Run, out: &mut Output) -> Result<u8, Error> {
    let mut command = Command::new(&wanted.virsh);
    if let Some(uri) = &wanted.connect {
        command.args(["--connect", uri]);
    }
    command.arg(&wanted.command);
    command.args(["--domain", &wanted.guest]);
    command.args(&wanted.arguments);
    if out.is_json() {
        // What it says is nothing for whoever reads objects.
        command.stdout(Stdio::from(io::stderr()));
    }
    let name = wanted.virsh.display();
    out.note(&format!("{name} {} of {} ...", wanted.command, wanted.guest))?;
    let mut child = command
        .spawn()
        .map_err(|error| not_run(&format!("{name} cannot be run: {error}")))?;
    let mut ends = tokio::task::spawn_blocking(move || child.wait());
    let mut waiter = Waiter::new(None);
    let status = loop {
        if let Ended::Done(ended) = waiter.during(&mut ends).await {
            break ended;
        }
    };
    let status = status.map_err(io::Error::other).flatten();
    let status = status.map_err(|error| not_run(&format!("{name} cannot be waited for: {error}")))?;
    Ok(code_of(status))
}

/// As a shell tells it.
fn code_of(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(exit::FAILED)
}

fn not_run(message: &str) -> Error {
    let failure = Failure {
        reason: "START".into(),
        message: message.into(),
        causes: Vec::new(),
        hint: "which virsh; virsh is in the package libvirt-clients".into(),
    };
    Error::Refused {
        failure: Box::new(failure),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::place::contexts::Contexts;

    fn checked(place: &Place, more: &[&str]) -> Option<String> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            run: Run,
        }
        let words = [&["run", "web-1"], more, &["managedsave"]].concat();
        let wanted = Line::parse_from(words).run;
        check(place, &wanted).err().map(|error| error.to_string())
    }

    #[test]
    fn no_guest_of_this_host_is_saved_in_the_place_of_another_hosts() {
        let text = "[context.fleet]
            address = \"alpha.example\"
            ca = \"/k/ca.pem\"
            certificate = \"/k/me.pem\"
            key = \"/k/me.key\"";
        let contexts = Contexts::parse("/c/config.toml".into(), text).unwrap();
        let there = Place::context(&contexts, "fleet").unwrap();
        let told = checked(&there, &[]).unwrap();
        assert!(told.contains("web-1") && told.contains("alpha.example"), "{told}");
        assert_eq!(
            checked(&there, &["--connect", "qemu+ssh://alpha.example/system"]),
            None
        );
        assert_eq!(checked(&Place::Socket("/run/x".into()), &[]), None);
    }
}
