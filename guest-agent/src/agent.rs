//! The agent at work: frames come in from the port, verbs are worked on one after the other, answers go
//! out.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use godwit_api::agent::v1::guest_frame::Body as Answer;
use godwit_api::agent::v1::{GuestFrame, HostFrame, RefusalReason};
use godwit_wire::{Decoder, Dropped, FrameError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::guest::Guest;
use crate::log::say;
use crate::patience::{Patience, Wanted};
use crate::port::Port;
use crate::refusal::Refusal;
use crate::session::{Received, Request, Session};

/// Requests that may wait while one is worked on. A host has one outstanding, or a repeated one.
const MAX_WAITING: usize = 8;

/// Serves the port for ever. It may break (a channel can be unplugged) and is then opened again.
pub(crate) async fn serve(path: &Path, guest: Arc<Guest>, boot_id: String) {
    let mut desk = Desk::new(guest, Session::new(boot_id));
    loop {
        let port = Port::open(path, &desk.guest.sysfs).await;
        say!("{} is open", path.display());
        let Err(error) = desk.work_at(&port).await;
        say!("{} broke: {error}", path.display());
    }
}

struct Desk {
    guest: Arc<Guest>,
    session: Session,
    decoder: Decoder,
    waiting: VecDeque<(Request, Instant)>,
    running: Option<Running>,
}

/// The request that is worked on, by a task of its own.
struct Running {
    request: Request,
    task: JoinHandle<Answer>,
    /// Dropped when nobody wants the answer any more. The task then still ends by itself, and only after
    /// that the next begins: two verbs never work on one bond.
    wanted: Option<Wanted>,
}

impl Desk {
    fn new(guest: Arc<Guest>, session: Session) -> Self {
        Self {
            guest,
            session,
            decoder: Decoder::new(),
            waiting: VecDeque::new(),
            running: None,
        }
    }

    /// Ends only with the port.
    async fn work_at(&mut self, port: &Port) -> Result<std::convert::Infallible, io::Error> {
        let mut buffer = vec![0; 4096];
        loop {
            tokio::select! {
                length = port.read(&mut buffer) => {
                    let length = length?;
                    self.take(port, buffer.get(..length).unwrap_or_default()).await?;
                }
                answer = finished(&mut self.running) => self.finish(port, answer).await?,
            }
            self.begin_next();
        }
    }

    async fn take(&mut self, port: &Port, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(frame) = self.decoder.take_message::<HostFrame>(&mut bytes) {
            match frame.map(|frame| self.session.receive(frame)) {
                Ok(Received::Opened(answer)) => {
                    say!("session {:016x} opened", answer.session);
                    self.abandon();
                    send(port, answer).await?;
                }
                Ok(Received::Answered(answer)) => send(port, answer).await?,
                Ok(Received::Work(request)) => self.accept(port, request).await?,
                Err(error) => say_dropped(&error, self.decoder.dropped()),
            }
        }
        Ok(())
    }

    async fn accept(&mut self, port: &Port, request: Request) -> io::Result<()> {
        if self.waiting.len() < MAX_WAITING {
            let deadline = Instant::now() + request.time;
            self.waiting.push_back((request, deadline));
            return Ok(());
        }
        let refusal = Refusal::new(
            RefusalReason::Deadline,
            format!("{MAX_WAITING} requests are waiting already"),
        );
        send(port, self.session.answer(request.id, request.session, refusal)).await
    }

    fn begin_next(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some((request, deadline)) = self.waiting.pop_front() else {
            return;
        };
        let (patience, wanted) = Patience::until(deadline);
        let task = tokio::spawn(Arc::clone(&self.guest).perform(request.verb.clone(), patience));
        self.running = Some(Running {
            request,
            task,
            wanted: Some(wanted),
        });
    }

    async fn finish(&mut self, port: &Port, answer: Answer) -> io::Result<()> {
        match self.running.take() {
            Some(done) if self.session.is_open(done.request.session) => {
                send(
                    port,
                    self.session.answer(done.request.id, done.request.session, answer),
                )
                .await
            }
            _ => Ok(()),
        }
    }

    /// Ends what an earlier session wanted.
    fn abandon(&mut self) {
        self.waiting.clear();
        if let Some(running) = &mut self.running {
            running.wanted = None;
        }
    }
}

/// The answer of the running request; never, when none is running.
async fn finished(running: &mut Option<Running>) -> Answer {
    let Some(running) = running else {
        return std::future::pending().await;
    };
    (&mut running.task).await.unwrap_or_else(|error| {
        Answer::Refused(Refusal::new(RefusalReason::Kernel, format!("the agent failed: {error}")).into())
    })
}

/// One line for the first, the second, the fourth...: noise on the port must not fill a disk.
fn say_dropped(error: &FrameError, dropped: Dropped) {
    if dropped.frames.is_power_of_two() {
        say!(
            "{error}; dropped so far: {} in {} bytes",
            dropped.frames,
            dropped.bytes
        );
    }
}

/// Sends an answer. One that the host does not take is dropped: it asks again.
async fn send(port: &Port, answer: GuestFrame) -> io::Result<()> {
    let frame = match godwit_wire::encode(&answer) {
        Ok(frame) => frame,
        Err(error) => {
            say!("not answered: {error}");
            return Ok(());
        }
    };
    match port.send(&frame).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            say!(
                "not answered: no host takes the answer to request {}",
                answer.request_id
            );
            Ok(())
        }
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use godwit_api::agent::v1::host_frame::Body;
    use godwit_api::agent::v1::{FailOver, Hello, Inspect, PairRef};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;
    use crate::sysfs::Sysfs;

    /// The host's end of a channel with an agent at the other. The agent sees this machine's own
    /// interfaces, without their devices.
    struct Host {
        stream: tokio::net::UnixStream,
        decoder: Decoder,
    }

    impl Host {
        fn new() -> Self {
            let (ours, theirs) = UnixStream::pair().unwrap();
            for end in [&ours, &theirs] {
                end.set_nonblocking(true).unwrap();
            }
            let port = Port::new(OwnedFd::from(theirs)).unwrap();
            let guest = Arc::new(Guest::new(Sysfs::new("/nowhere")));
            let mut desk = Desk::new(guest, Session::new("boot".to_owned()));
            tokio::spawn(async move { desk.work_at(&port).await });
            Self {
                stream: tokio::net::UnixStream::from_std(ours).unwrap(),
                decoder: Decoder::new(),
            }
        }

        async fn say(&mut self, request_id: u64, session: u64, body: Body) {
            let frame = HostFrame {
                request_id,
                session,
                deadline_ms: 5000,
                body: Some(body),
            };
            self.stream
                .write_all(&godwit_wire::encode(&frame).unwrap())
                .await
                .unwrap();
        }

        async fn hear(&mut self) -> GuestFrame {
            loop {
                let mut buffer = [0; 4096];
                let read = timeout(Duration::from_secs(10), self.stream.read(&mut buffer));
                let length = read.await.unwrap().unwrap();
                assert_ne!(length, 0, "the agent closed the channel");
                if let Some(frame) = self.decoder.take_message(&mut &buffer[..length]) {
                    return frame.unwrap();
                }
            }
        }

        async fn open(&mut self, nonce: u64) {
            let hello = Hello {
                nonce,
                protocol_min: 1,
                protocol_max: 1,
                ..Hello::default()
            };
            self.say(1, nonce, Body::Hello(hello)).await;
            let answer = self.hear().await;
            assert_eq!(
                (answer.request_id, answer.session, answer.boot_id.as_str()),
                (1, nonce, "boot")
            );
            assert!(matches!(answer.body, Some(Answer::Welcome(_))));
        }
    }

    fn reason(answer: &GuestFrame) -> Option<RefusalReason> {
        match &answer.body {
            Some(Answer::Refused(refused)) => Some(refused.reason()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_session_from_hello_to_an_answer() {
        let mut host = Host::new();
        host.say(5, 7, Body::Inspect(Inspect::default())).await;
        assert_eq!(reason(&host.hear().await), Some(RefusalReason::StaleSession));
        host.open(7).await;
        host.say(2, 7, Body::Inspect(Inspect::default())).await;
        let answer = host.hear().await;
        assert_eq!((answer.request_id, answer.session), (2, 7));
        assert!(matches!(answer.body, Some(Answer::Inspected(_))), "{answer:?}");
        let pair = Some(PairRef {
            standby_mac: "02:00:00:00:00:99".to_owned(),
        });
        let over = FailOver {
            pair,
            ..FailOver::default()
        };
        host.say(3, 7, Body::FailOver(over)).await;
        assert_eq!(reason(&host.hear().await), Some(RefusalReason::UnknownPair));
    }

    #[tokio::test]
    async fn a_new_host_is_served_after_half_a_frame_of_the_old_one() {
        let mut host = Host::new();
        host.open(7).await;
        let frame = HostFrame {
            request_id: 2,
            session: 7,
            deadline_ms: 5000,
            body: Some(Body::Inspect(Inspect::default())),
        };
        let frame = godwit_wire::encode(&frame).unwrap();
        host.stream.write_all(&frame[..frame.len() / 2]).await.unwrap();
        host.open(8).await;
        host.say(2, 8, Body::Inspect(Inspect::default())).await;
        assert_eq!(host.hear().await.session, 8);
    }

    #[tokio::test]
    async fn repeated_requests_are_answered_each_time() {
        let mut host = Host::new();
        host.open(7).await;
        for _ in 0..3 {
            host.say(2, 7, Body::Inspect(Inspect::default())).await;
            assert_eq!(host.hear().await.request_id, 2);
        }
    }
}
