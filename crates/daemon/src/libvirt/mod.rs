//! libvirt, as values and async functions. Nothing outside this folder knows libvirt.
//!
//! Two connections: one for the calls that migrate (each blocks for minutes), one for everything else. Its workers come
//! in two lanes, so that a call that waits for a domain's job lock (libvirt gives up after 30 s) never stands before
//! one that needs no lock: look, abort. Together five, the calls libvirtd serves at once on a connection.
//!
//! A call made while the connection is down fails at once with [`LibvirtError::ConnectionLost`]; use
//! [`Libvirt::connected`] to wait. A call that ran into its deadline may still be carried out: look before repeating it.

mod ahead;
mod connection;
pub(crate) mod edit;
mod error;
mod event;
pub(crate) mod examine;
mod ffi;
mod job;
pub(crate) mod metadata;
mod migrate;
mod networks;
mod state;
pub(crate) mod xml;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, oneshot},
    time::timeout,
};
use uuid::Uuid;
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use self::connection::{Lane, Slot};
pub(crate) use self::{
    error::LibvirtError,
    event::{Event, Lifecycle, Resumed, Stopped, Suspended},
    job::{JobKind, JobPhase, JobStats},
    migrate::MigrateRequest,
    networks::VfNetwork,
    state::{DomainState, Paused, RunState, Running, ShutOff},
};

/// Events kept for a receiver that is behind; one that is further behind gets `Lagged` and must read everything again.
const EVENTS: usize = 1024;

/// Deadline of a call that needs no job lock.
const QUICK: Duration = Duration::from_secs(10);
/// Deadline of a call that may wait for a job lock: longer than libvirt's own 30 s, so that libvirt answers first.
const LOCKED: Duration = Duration::from_secs(45);
/// Deadline of a plug: pinning the guest's memory for the first VF takes seconds per 100 GB.
const PLUG: Duration = Duration::from_secs(180);

/// This host's libvirt.
#[derive(Clone)]
pub(crate) struct Libvirt {
    inner: Arc<Inner>,
}

struct Inner {
    events: broadcast::Sender<Event>,
    main: Arc<Slot>,
    migrations: Arc<Slot>,
    /// Calls that need no job lock.
    quick: Lane,
    /// Calls that may wait for one.
    locked: Lane,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.main.stop();
        self.migrations.stop();
    }
}

/// Which of a domain's descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XmlOf {
    /// What runs now.
    Live,
    /// What the next start would use, secrets included: keep it out of logs.
    Persistent,
}

/// Which of a domain's two sets of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetadataOf {
    /// Of the running domain; it travels with a migration.
    Live,
    /// Of the persistent definition.
    Persistent,
}

impl Libvirt {
    /// Starts the threads and begins to connect to `uri`. It need not be there yet.
    pub(crate) fn start(uri: &str) -> Libvirt {
        connection::start_event_loop();
        let events = broadcast::Sender::new(EVENTS);
        let main = Slot::open(uri, "libvirt-main", Some(events.clone()));
        let migrations = Slot::open(uri, "libvirt-migr", None);
        let quick = Lane::start("libvirt-q", 2, &main);
        let locked = Lane::start("libvirt-l", 3, &main);
        Libvirt {
            inner: Arc::new(Inner {
                events,
                main,
                migrations,
                quick,
                locked,
            }),
        }
    }

    /// Events from now on. Subscribe first, then wait for [`Libvirt::connected`], then read: nothing is missed.
    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Waits until both connections are open.
    ///
    /// # Errors
    /// [`LibvirtError::Timeout`] after `within`.
    pub(crate) async fn connected(&self, within: Duration) -> Result<(), LibvirtError> {
        let both = async {
            for slot in [&self.inner.main, &self.inner.migrations] {
                // The sender lives in the slot, so this ends only with `true`.
                let _ = slot.watch().wait_for(|open| *open).await;
            }
        };
        timeout(within, both).await.map_err(|_| LibvirtError::Timeout {
            what: "connect",
            within,
        })
    }

    /// All domains of this host. Needs no job: good evidence at any time.
    pub(crate) async fn list(&self) -> Result<Vec<DomainState>, LibvirtError> {
        self.quick("list", |conn| {
            let mut states = Vec::new();
            for domain in conn.list_all_domains(0)? {
                match read_state(&domain) {
                    Ok(state) => states.push(state),
                    // Went between the list and the look.
                    Err(LibvirtError::NoDomain { .. }) => {}
                    Err(failed) => return Err(failed),
                }
            }
            Ok(states)
        })
        .await
    }

    /// One domain, or `None` if it is not here. Needs no job: good evidence at any time.
    pub(crate) async fn state(&self, uuid: Uuid) -> Result<Option<DomainState>, LibvirtError> {
        let state = self
            .quick("state", move |conn| read_state(&find(conn, uuid)?))
            .await;
        match state {
            Ok(state) => Ok(Some(state)),
            Err(LibvirtError::NoDomain { .. }) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// A domain's XML.
    ///
    /// **Not while it arrives:** libvirt may need a query job for it, which an incoming migration does not allow; the call
    /// then takes 30 s and fails. Use [`Libvirt::state`] there.
    pub(crate) async fn xml(&self, uuid: Uuid, of: XmlOf) -> Result<String, LibvirtError> {
        let flags = match of {
            XmlOf::Live => 0,
            XmlOf::Persistent => sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE,
        };
        self.locked("xml", LOCKED, move |conn| Ok(find(conn, uuid)?.xml_desc(flags)?))
            .await
    }

    /// Godwit's metadata element, as libvirt gives it: without namespace. `None` if there is none. Needs no job.
    pub(crate) async fn metadata(&self, uuid: Uuid, of: MetadataOf) -> Result<Option<String>, LibvirtError> {
        let flags = match of {
            MetadataOf::Live => sys::VIR_DOMAIN_AFFECT_LIVE,
            MetadataOf::Persistent => sys::VIR_DOMAIN_AFFECT_CONFIG,
        };
        let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
        let found = self
            .quick("metadata", move |conn| {
                Ok(find(conn, uuid)?.metadata(kind, Some(metadata::NAMESPACE), flags)?)
            })
            .await;
        match found {
            Ok(element) => Ok(Some(element)),
            Err(failed) if failed.code() == Some(sys::VIR_ERR_NO_DOMAIN_METADATA) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Sets Godwit's metadata element (in the form of [`metadata::GuestWish::to_element`]) in the running domain if it
    /// runs and in its persistent definition if it has one. `None` takes it away. Not during a migration.
    pub(crate) async fn set_metadata(&self, uuid: Uuid, element: Option<String>) -> Result<(), LibvirtError> {
        self.locked("set metadata", LOCKED, move |conn| {
            let domain = find(conn, uuid)?;
            let state = read_state(&domain)?;
            let live = if state.run.is_active() {
                sys::VIR_DOMAIN_AFFECT_LIVE
            } else {
                0
            };
            let persistent = if state.persistent {
                sys::VIR_DOMAIN_AFFECT_CONFIG
            } else {
                0
            };
            let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
            let (key, uri) = (Some(metadata::PREFIX), Some(metadata::NAMESPACE));
            Ok(domain.set_metadata(kind, element.as_deref(), key, uri, live | persistent)?)
        })
        .await
    }

    /// Plugs a device into the running domain, and only there. Done when libvirt says so; `DeviceAdded` follows.
    pub(crate) async fn attach(&self, uuid: Uuid, device: String) -> Result<(), LibvirtError> {
        self.locked("attach", PLUG, move |conn| {
            Ok(find(conn, uuid)?.attach_device_flags(&device, sys::VIR_DOMAIN_AFFECT_LIVE)?)
        })
        .await
    }

    /// Asks the guest to let go of the device of this alias, in the running domain only. Success means asked, no more:
    /// wait for `DeviceRemoved`, then read the XML. Asking again while an earlier request is pending is a success too,
    /// but do not hammer: a second press within 5 s *cancels* a native PCIe unplug.
    ///
    /// # Errors
    /// [`LibvirtError::NoDevice`] if it is not there (any more).
    pub(crate) async fn detach_alias(&self, uuid: Uuid, alias: String) -> Result<(), LibvirtError> {
        self.locked("detach", LOCKED, move |conn| {
            let domain = find(conn, uuid)?;
            match ffi::detach_alias(&domain, &alias) {
                // QEMU's words, not translated.
                Err(LibvirtError::Other { message, .. }) if message.contains("in the process of unplug") => {
                    Ok(())
                }
                // libvirt 11.3 has no number of its own for a device that is not there, so look.
                Err(LibvirtError::Other { message, .. }) if !xml::has_alias(&domain.xml_desc(0)?, &alias) => {
                    Err(LibvirtError::NoDevice { message })
                }
                asked => asked,
            }
        })
        .await
    }

    /// Lets a paused guest run.
    pub(crate) async fn resume(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.locked("resume", LOCKED, move |conn| {
            find(conn, uuid)?.resume().map(drop).map_err(Into::into)
        })
        .await
    }

    /// Pauses a guest.
    pub(crate) async fn suspend(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.locked("suspend", LOCKED, move |conn| {
            find(conn, uuid)?.suspend().map(drop).map_err(Into::into)
        })
        .await
    }

    /// Defines a domain, or replaces its persistent definition.
    pub(crate) async fn define(&self, xml: String) -> Result<(), LibvirtError> {
        self.locked("define", LOCKED, move |conn| {
            conn.define_domain_xml(&xml)?;
            Ok(())
        })
        .await
    }

    /// Migrates, live and peer to peer, on a thread of its own; returns when libvirt does, however long that takes.
    ///
    /// The result is a hint for people. libvirt has returned an error for a migration that happened: where the guest is
    /// must be read on both hosts. Dropping the future does not stop the migration ([`Libvirt::abort_job`] does).
    pub(crate) async fn migrate(&self, request: MigrateRequest) -> Result<(), LibvirtError> {
        let slot = self.inner.migrations.clone();
        let (reply, answer) = oneshot::channel();
        connection::spawn("libvirt-migrate", move || {
            let _ = reply.send(slot.run(|conn| migrate::run(conn, &request)));
        });
        answer
            .await
            .unwrap_or_else(|_| Err(LibvirtError::ours("the migration call panicked")))
    }

    /// Aborts the domain's current job: cancels its outgoing migration, unless that is past the point of no return.
    pub(crate) async fn abort_job(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.quick("abort job", move |conn| ffi::abort_job(&find(conn, uuid)?))
            .await
    }

    /// Figures of the domain's current job, `None` without one. Refused for a domain that arrives (its figures are at the
    /// source); waits while a plug or unplug is being made.
    pub(crate) async fn job_stats(&self, uuid: Uuid) -> Result<Option<JobStats>, LibvirtError> {
        self.locked("job stats", LOCKED, move |conn| {
            ffi::job_stats(&find(conn, uuid)?, 0)
        })
        .await
    }

    /// Figures of the domain's last job, if libvirt still has them; after a migration they are at the destination.
    pub(crate) async fn completed_job_stats(&self, uuid: Uuid) -> Result<Option<JobStats>, LibvirtError> {
        let flags = sys::VIR_DOMAIN_JOB_STATS_COMPLETED | sys::VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED;
        self.quick("completed job stats", move |conn| {
            ffi::job_stats(&find(conn, uuid)?, flags)
        })
        .await
    }

    /// Whether the domain is in a job, and of what kind. Never waits for an arriving domain.
    pub(crate) async fn job(&self, uuid: Uuid) -> Result<JobKind, LibvirtError> {
        self.locked("job", LOCKED, move |conn| {
            let domain = find(conn, uuid)?;
            match ffi::job_stats(&domain, 0) {
                Ok(stats) => Ok(stats.map_or(JobKind::None, |stats| stats.kind)),
                // "statistics are available only on the source host", or not running at all.
                Err(refused @ LibvirtError::Refused { .. }) => match read_state(&domain)?.run {
                    RunState::Paused(Paused::Migration | Paused::StartingUp) => {
                        Ok(JobKind::IncomingMigration)
                    }
                    RunState::ShutOff(_) => Ok(JobKind::None),
                    _ => Err(refused),
                },
                Err(failed) => Err(failed),
            }
        })
        .await
    }

    async fn quick<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&Connect) -> Result<T, LibvirtError> + Send + 'static,
    ) -> Result<T, LibvirtError> {
        run(&self.inner.quick, what, QUICK, call).await
    }

    async fn locked<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        call: impl FnOnce(&Connect) -> Result<T, LibvirtError> + Send + 'static,
    ) -> Result<T, LibvirtError> {
        run(&self.inner.locked, what, within, call).await
    }
}

async fn run<T: Send + 'static>(
    lane: &Lane,
    what: &'static str,
    within: Duration,
    call: impl FnOnce(&Connect) -> Result<T, LibvirtError> + Send + 'static,
) -> Result<T, LibvirtError> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move |slot: &Slot| {
        // Nobody waits any more: a call that is not begun is not made.
        if !reply.is_closed() {
            let _ = reply.send(slot.run(call));
        }
    });
    let work = async {
        lane.send(job).await?;
        answer
            .await
            .unwrap_or_else(|_| Err(LibvirtError::ours(format!("the call `{what}` panicked"))))
    };
    timeout(within, work)
        .await
        .unwrap_or(Err(LibvirtError::Timeout { what, within }))
}

fn find(conn: &Connect, uuid: Uuid) -> Result<Domain, LibvirtError> {
    Ok(conn.lookup_domain_by_uuid(uuid)?)
}

fn read_state(domain: &Domain) -> Result<DomainState, LibvirtError> {
    let (state, reason) = ffi::state(domain)?;
    Ok(DomainState {
        uuid: domain.uuid()?,
        name: domain.name()?,
        run: RunState::from_raw(state, reason),
        persistent: domain.is_persistent()?,
    })
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
