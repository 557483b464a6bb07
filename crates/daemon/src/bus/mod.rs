//! The host's D-Bus: `org.godwit.Daemon1` for programs of this host, and what keeps the host from ending in the middle of an
//! operation. All that is asked goes to the desks that serve gRPC; nothing here knows more of operations than they tell.
//!
//! A bus, logind or polkit that is not there is no error: the daemon does its work without. docs/dbus.md describes the interface.

mod authority;
mod error;
mod follow;
mod inhibitor;
mod manager;
mod migration;
mod objects;
mod options;

use std::{sync::Arc, time::Duration};

use godwit_coordinator::{Coordinator, World, retry::Policy};
use godwit_server::Audit;
use tokio::sync::mpsc;
use tracing::{info, warn};
use zbus::{
    Address, Connection,
    connection::Builder,
    fdo::{ObjectManager, RequestNameFlags},
};

use self::{authority::Authority, inhibitor::Inhibitor, manager::Manager, objects::Objects};

/// The daemon's name on the bus.
const NAME: &str = "org.godwit.Daemon1";

/// Where the manager is; the migrations are below.
const PATH: &str = "/org/godwit/Daemon1";

/// Whoever answers on the bus does it within this.
const ANSWER: Duration = Duration::from_secs(5);

/// A bus that is not there is looked for rarely; one that went away soon.
const LOOKS_FOR: Policy = Policy {
    first: Duration::from_millis(200),
    most: Duration::from_secs(30),
};

/// Callers who wait for an object to be shown.
const MOST_CALLERS: usize = 64;

/// Serves on the bus (none: the system's) for ever, also over its restarts.
pub(crate) async fn serve<W: World>(coordinator: Coordinator<W>, audit: Audit, bus: Option<Address>) {
    let mut pauses = LOOKS_FOR.pauses();
    let mut told = false;
    // Outlives a session: a bus that restarts lets go of nothing.
    let mut inhibitor = Inhibitor::new(coordinator.clone());
    loop {
        match open(&coordinator, &audit, bus.clone()).await {
            Ok((connection, objects)) => {
                (pauses, told) = (LOOKS_FOR.pauses(), false);
                tokio::select! {
                    () = connection.closed() => {}
                    () = objects.run() => {}
                    () = inhibitor.run(&connection) => {}
                }
                info!("the D-Bus system bus went away; it is looked for again");
            }
            Err(error) if !told => {
                told = true;
                info!(
                    "no D-Bus system bus ({error}): {NAME} is not served and a shutdown of the host is not held up; \
                     it is looked for now and then"
                );
            }
            Err(_) => {}
        }
        pauses.wait().await;
    }
}

async fn open<W: World>(
    coordinator: &Coordinator<W>,
    audit: &Audit,
    bus: Option<Address>,
) -> zbus::Result<(Arc<Connection>, Objects<W>)> {
    let builder = match bus {
        Some(address) => Builder::address(address),
        None => Builder::system(),
    };
    let connect = tokio::time::timeout(ANSWER, builder.build());
    let connect = connect.await.unwrap_or_else(|_| Err(silent()));
    let connection = Arc::new(connect?);
    let (ask, asked) = mpsc::channel(MOST_CALLERS);
    let manager = Manager::new(
        coordinator.clone(),
        (Authority::new(&connection), audit.clone()),
        ask,
    );
    let server = connection.object_server();
    server.at(PATH, ObjectManager).await?;
    server.at(PATH, manager).await?;
    let named = connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE);
    let named = tokio::time::timeout(ANSWER, named).await;
    match named.unwrap_or_else(|_| Err(silent())) {
        Ok(_) => info!("on D-Bus as {NAME}"),
        // A shutdown is held up without a name, too.
        Err(error) => {
            warn!("D-Bus does not give out the name {NAME}: {error}; is {NAME}.conf where the bus looks?");
        }
    }
    let objects = Objects::new(coordinator.clone(), (*connection).clone(), asked);
    Ok((connection, objects))
}

fn silent() -> zbus::Error {
    zbus::Error::Failure(format!("it did not answer within {} s", ANSWER.as_secs()))
}

#[cfg(test)]
mod tests;
