//! The threads: the event loop, one keeper per connection, and the workers that make the blocking calls.
//!
//! A connection to libvirtd never heals. Its keeper waits for the word that it broke (libvirt's close callback, or a
//! worker that met a dead connection), drops it, and opens another with a growing pause.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::{broadcast, mpsc as queue, watch};
use tracing::{debug, error, info, warn};
use virt::{
    connect::Connect,
    event::{event_register_default_impl, event_run_default_impl},
};

use super::{error::LibvirtError, event::Event, ffi};

/// Keepalive: after 5 × (5 + 1) s of silence the connection is dead. libvirt's own choice for its peers.
const KEEPALIVE_INTERVAL_S: i32 = 5;
const KEEPALIVE_COUNT: u32 = 5;

/// Pauses between attempts to open: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Calls waiting for a worker. More is a fault of the caller, and waits within its own deadline.
const QUEUE: usize = 64;

/// Starts libvirt's event loop, once in the life of the process, and before the first connection: without it there
/// are no events, no close callback and no keepalive.
pub(super) fn start_event_loop() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Else libvirt prints every error to stderr.
        virt::error::clear_error_callback();
        if let Err(failed) = event_register_default_impl() {
            error!(%failed, "libvirt has no event loop: no events, no keepalive");
            return;
        }
        spawn("libvirt-events", || {
            loop {
                if let Err(failed) = event_run_default_impl() {
                    warn!(%failed, "libvirt's event loop stumbled");
                    thread::sleep(FIRST_PAUSE);
                }
            }
        });
    });
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(failed) = thread::Builder::new().name(name.into()).spawn(body) {
        error!(%failed, thread = name, "no thread for libvirt");
    }
}

/// What a keeper is told.
enum Note {
    /// The connection of this generation broke.
    Broken { generation: u64, why: String },
    /// Nobody needs it any more.
    Stop,
}

/// One connection that is kept open.
pub(super) struct Slot {
    uri: String,
    events: Option<broadcast::Sender<Event>>,
    current: Mutex<Current>,
    notes: mpsc::Sender<Note>,
    open: watch::Sender<bool>,
}

struct Current {
    generation: u64,
    conn: Option<Arc<Connect>>,
    /// Why there is no connection.
    why: String,
}

impl super::Libvirt {
    /// Whether the connection for all but migrate calls is open, and each change of that.
    pub(crate) fn open(&self) -> watch::Receiver<bool> {
        self.inner.main.watch()
    }
}

impl Slot {
    /// A connection, being opened. With `events`, libvirt's events and the connection's own go there.
    pub(super) fn open(uri: &str, name: &str, events: Option<broadcast::Sender<Event>>) -> Arc<Slot> {
        let (notes, inbox) = mpsc::channel();
        let current = Current {
            generation: 0,
            conn: None,
            why: "not yet connected".to_owned(),
        };
        let slot = Arc::new(Slot {
            uri: uri.to_owned(),
            events,
            current: Mutex::new(current),
            notes,
            open: watch::Sender::new(false),
        });
        let kept = slot.clone();
        spawn(name, move || keep(&kept, &inbox));
        slot
    }

    /// Whether it is open, and each change of that.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Closes it for good.
    pub(super) fn stop(&self) {
        let _ = self.notes.send(Note::Stop);
    }

    /// Makes a call on this thread. A failure on a dead connection is [`LibvirtError::ConnectionLost`].
    pub(super) fn run<T>(
        &self,
        call: impl FnOnce(&Connect) -> Result<T, LibvirtError>,
    ) -> Result<T, LibvirtError> {
        let (generation, conn) = {
            let current = self.lock();
            match &current.conn {
                Some(conn) => (current.generation, conn.clone()),
                None => {
                    return Err(LibvirtError::ConnectionLost {
                        message: current.why.clone(),
                    });
                }
            }
        };
        let result = call(&conn);
        match result {
            Err(failed) if !conn.is_alive().unwrap_or(false) => {
                let message = failed.message();
                let _ = self.notes.send(Note::Broken {
                    generation,
                    why: message.clone(),
                });
                Err(LibvirtError::ConnectionLost { message })
            }
            result => result,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

fn keep(slot: &Slot, inbox: &mpsc::Receiver<Note>) {
    let mut pause = FIRST_PAUSE;
    let mut generation = 0;
    loop {
        generation += 1;
        let why = match establish(slot, generation) {
            Ok(opened) => {
                pause = FIRST_PAUSE;
                let Some(why) = await_end(inbox, generation) else {
                    return;
                };
                warn!(uri = slot.uri, why, "lost the connection to libvirt");
                slot.open.send_replace(false);
                slot.lock().conn = None;
                slot.announce(Event::Lost { why: why.clone() });
                drop(opened);
                why
            }
            Err(failed) => {
                debug!(uri = slot.uri, %failed, "no connection to libvirt yet");
                failed.message()
            }
        };
        slot.lock().why = why;
        if let Ok(Note::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) = inbox.recv_timeout(pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until the connection of this generation breaks; `None` when it is no longer needed.
fn await_end(inbox: &mpsc::Receiver<Note>, generation: u64) -> Option<String> {
    loop {
        match inbox.recv() {
            Ok(Note::Broken {
                generation: broken,
                why,
            }) if broken == generation => return Some(why),
            Ok(Note::Broken { .. }) => {}
            Ok(Note::Stop) | Err(_) => return None,
        }
    }
}

/// An open connection with its callbacks; dropping it takes them away, or they would keep it for ever.
struct Opened {
    conn: Arc<Connect>,
    subscription: Option<ffi::Subscription>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.subscription = None;
        ffi::unwatch_close(&self.conn);
    }
}

fn establish(slot: &Slot, generation: u64) -> Result<Opened, LibvirtError> {
    let conn = Arc::new(Connect::open(Some(&slot.uri))?);
    if let Err(failed) = conn.set_keep_alive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT) {
        debug!(%failed, "this libvirt driver has no keepalive");
    }
    let notes = slot.notes.clone();
    ffi::watch_close(
        &conn,
        Box::new(move |reason| {
            let why = close_reason(reason).to_owned();
            let _ = notes.send(Note::Broken { generation, why });
        }),
    )?;
    let mut opened = Opened {
        conn: conn.clone(),
        subscription: None,
    };
    if let Some(events) = &slot.events {
        opened.subscription = Some(ffi::Subscription::new(&conn, events)?);
    }
    let mut current = slot.lock();
    current.generation = generation;
    current.conn = Some(conn);
    drop(current);
    info!(uri = slot.uri, "connected to libvirt");
    slot.open.send_replace(true);
    slot.announce(Event::Connected);
    Ok(opened)
}

fn close_reason(reason: i32) -> &'static str {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        virt_sys::VIR_CONNECT_CLOSE_REASON_EOF => "libvirtd closed the connection",
        virt_sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "libvirtd does not answer",
        virt_sys::VIR_CONNECT_CLOSE_REASON_CLIENT => "closed on this side",
        _ => "an I/O error on the connection",
    }
}

/// A call for a worker.
pub(super) type Call = Box<dyn FnOnce(&Slot) + Send>;

/// Workers for one kind of call.
#[derive(Clone)]
pub(super) struct Lane {
    calls: queue::Sender<Call>,
}

impl Lane {
    /// Starts `workers` threads that end when the last clone of the lane has gone.
    pub(super) fn start(name: &str, workers: usize, slot: &Arc<Slot>) -> Lane {
        let (calls, inbox) = queue::channel::<Call>(QUEUE);
        let inbox = Arc::new(Mutex::new(inbox));
        for worker in 1..=workers {
            let (slot, inbox) = (slot.clone(), inbox.clone());
            spawn(&format!("{name}-{worker}"), move || {
                loop {
                    let call = inbox
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .blocking_recv();
                    let Some(call) = call else { return };
                    // `virt` panics where a release fails; that ends one call, not the worker.
                    if catch_unwind(AssertUnwindSafe(|| call(&slot))).is_err() {
                        error!("a call to libvirt panicked");
                    }
                }
            });
        }
        Lane { calls }
    }

    /// Hands a call to the next free worker.
    pub(super) async fn send(&self, call: Call) -> Result<(), LibvirtError> {
        self.calls
            .send(call)
            .await
            .map_err(|_| LibvirtError::ours("the libvirt workers have ended"))
    }
}
