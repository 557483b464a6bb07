//! The virtio-serial port to the host.
//!
//! Its host end is a process, and that process changes: the daemon restarts, the guest migrates. Without
//! one the port reports a hang-up (`EPOLLHUP`) for as long as that lasts, and read() gives 0 at once
//! (drivers/char/virtio_console.c). So readiness as a *level* is useless: whoever waits for it spins. The
//! driver wakes its waiters on every *change*, and an edge-triggered epoll passes on just that: nothing
//! runs in this process while nothing happens.
//!
//! Tokio's own descriptors are edge-triggered too, but remember a hang-up for ever (a closed socket stays
//! closed: `ScheduledIo::clear_readiness` keeps `READ_CLOSED`), so after the first one they would be
//! "readable" without end. Hence an epoll of our own around the port, and that one, which never hangs up,
//! in the runtime's hands.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use crate::log::say;
use crate::packet::watch;
use crate::sysfs::Sysfs;

/// How long a frame may wait for the host to take it.
const SEND: Duration = Duration::from_secs(2);

/// How long to wait before trying to open the port again when no event tells.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// An open port.
pub(crate) struct Port {
    file: OwnedFd,
    /// An epoll with the port in it.
    edges: AsyncFd<OwnedFd>,
}

impl Port {
    /// Opens the port as soon as it can be; says what it waits for.
    pub(crate) async fn open(path: &Path, sysfs: &Sysfs) -> Self {
        let [mut pause, longest] = RETRY;
        let mut said = String::new();
        loop {
            // The watch first, so that nothing happens unseen between the attempt and the wait.
            let appearances = Appearances::watch(path);
            let error = match open_now(path, sysfs).and_then(Self::new) {
                Ok(port) => return port,
                Err(error) => error,
            };
            let reason = reason(path, &error);
            if reason != said {
                say!("{reason}");
                said = reason;
            }
            match appearances {
                Ok(mut appearances) if is_missing(&error) => {
                    let _ = timeout(longest, appearances.next()).await;
                }
                _ => {
                    sleep(pause).await;
                    pause = (2 * pause).min(longest);
                }
            }
        }
    }

    /// Takes a descriptor that does not block. Must be called within the runtime.
    pub(crate) fn new(file: OwnedFd) -> io::Result<Self> {
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&edges, &file, epoll::EventData::new_u64(0), flags)?;
        Ok(Self {
            file,
            edges: watch(edges)?,
        })
    }

    /// Reads what there is, or waits for it, however long no host is there.
    ///
    /// May be dropped at any await: an edge is taken only by a call that then reads before it waits
    /// again.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.file, &mut *buffer) {
                // 0: no host. Either way the next change is an edge.
                Ok(0) | Err(Errno::AGAIN) => self.edge().await?,
                Ok(length) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a frame. When the host does not take it in time, the rest of it is dropped; the next frame
    /// begins with a zero, so the reader finds its way.
    pub(crate) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        match timeout(SEND, self.write(frame)).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn write(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match rustix::io::write(&self.file, rest) {
                Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                // Also without a host.
                Err(Errno::AGAIN) => self.edge().await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until something changed since the last call.
    async fn edge(&self) -> io::Result<()> {
        loop {
            let mut ready = self.edges.readable().await?;
            let mut events = Vec::with_capacity(1);
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            match epoll::wait(
                self.edges.get_ref(),
                rustix::buffer::spare_capacity(&mut events),
                Some(&at_once),
            ) {
                Ok(0) => ready.clear_ready(),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open_now(path: &Path, sysfs: &Sysfs) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let by_name = |error: io::Error| {
        // Without udev nobody makes the names in /dev/virtio-ports.
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| is_missing(&error));
        name.and_then(|name| sysfs.virtio_port(name))
            .map_or(Err(error), |node| open(&node))
    };
    open(path).or_else(by_name)
}

fn is_missing(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        number,
        Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOTDIR)
    )
}

fn reason(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    if is_missing(error) {
        return format!(
            "waiting for {path}: no such port yet (has the guest the channel, and the module virtio_console?)"
        );
    }
    if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
        return format!(
            "waiting for {path}: another program has it open, perhaps a second godwit-agent (fuser {path})"
        );
    }
    format!("waiting for {path}: {error}")
}

/// Tells when something appears in the directories above a path.
struct Appearances {
    events: AsyncFd<OwnedFd>,
}

impl Appearances {
    fn watch(path: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
        let above: Vec<PathBuf> = path.ancestors().skip(1).take(2).map(Path::to_owned).collect();
        let watched = above
            .iter()
            .filter(|directory| inotify::add_watch(&events, directory.as_path(), flags).is_ok());
        if watched.count() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            events: watch(events)?,
        })
    }

    async fn next(&mut self) {
        let Ok(mut ready) = self.events.readable().await else {
            return;
        };
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::*;

    /// A FIFO behaves for its reader as the port does: hung up and at its end without a writer, and
    /// writers come and go.
    fn fifo() -> (tempfile::TempDir, PathBuf, Port) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        (directory, path, Port::new(file).unwrap())
    }

    fn host(path: &Path) -> std::fs::File {
        std::fs::File::options().write(true).open(path).unwrap()
    }

    /// Counts how often a future is woken.
    async fn counted<T>(polls: &AtomicUsize, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            work.as_mut().poll(context)
        })
        .await
    }

    async fn read(port: &Port) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = port.read(&mut buffer).await.unwrap();
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn hosts_come_and_go_without_an_end() {
        let (_directory, path, port) = fifo();
        for text in [b"one", b"two"] {
            let mut host = host(&path);
            host.write_all(text).unwrap();
            assert_eq!(read(&port).await, text);
            drop(host);
            // Hung up now: the reader waits, it does not end.
            assert!(timeout(Duration::from_millis(50), read(&port)).await.is_err());
        }
    }

    #[tokio::test]
    async fn nothing_runs_while_the_port_is_hung_up() {
        let (_directory, path, port) = fifo();
        drop(host(&path));
        let polls = AtomicUsize::new(0);
        let waited = timeout(
            Duration::from_millis(300),
            counted(&polls, port.read(&mut [0; 8])),
        )
        .await;
        assert!(waited.is_err());
        // One to begin with, one for the hang-up itself, and those of the timer.
        assert!(polls.load(Ordering::Relaxed) <= 4, "{polls:?}");
    }

    #[tokio::test]
    async fn what_comes_while_nobody_waits_is_read_later() {
        let (_directory, path, port) = fifo();
        let mut host = host(&path);
        for _ in 0..3 {
            // A wait that is given up must not take the next edge with it.
            let mut buffer = [0; 8];
            let mut waiting = Box::pin(port.read(&mut buffer));
            assert!(matches!(futures_util::poll!(&mut waiting), Poll::Pending));
            host.write_all(b"x").unwrap();
            drop(waiting);
            assert_eq!(timeout(Duration::from_secs(1), read(&port)).await.unwrap(), b"x");
        }
    }

    #[tokio::test]
    async fn it_waits_for_a_port_that_does_not_exist_yet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("virtio-ports/org.godwit.agent.0");
        let sysfs = Sysfs::new(directory.path());
        let opening = Port::open(&path, &sysfs);
        let appearing = async {
            sleep(Duration::from_millis(30)).await;
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            sleep(Duration::from_millis(30)).await;
            std::fs::write(directory.path().join("other"), "").unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        };
        timeout(Duration::from_secs(5), async { tokio::join!(opening, appearing) })
            .await
            .unwrap();
    }

    #[test]
    fn the_reasons_for_waiting() {
        let path = Path::new("/dev/virtio-ports/org.godwit.agent.0");
        let of = |errno: Errno| reason(path, &io::Error::from(errno));
        assert!(of(Errno::NOENT).contains("no such port yet"));
        assert!(of(Errno::BUSY).contains("another program has it open"));
        assert!(of(Errno::ACCESS).contains("Permission denied"));
    }
}
