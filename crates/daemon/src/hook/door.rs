//! The hook's socket: root's alone, one question on each connection.

use std::{io, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use godwit_coordinator::World;
use godwit_hook::frame::{Answer, Question};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, info, warn};

use super::{Hooks, answer::until};
use crate::server::{self, Stop};

/// So many are answered at once; more wait in the socket's line, and no longer than their hooks.
const AT_ONCE: usize = 32;

/// A hook sends its question in one go.
const READ: Duration = Duration::from_secs(5);

/// It waits for its answer, or has gone.
const WRITE: Duration = Duration::from_secs(2);

/// A pause after a connection that could not be taken (no file descriptor is left), so that it is not tried all the time.
const AGAIN: Duration = Duration::from_millis(100);

/// The socket, which root alone can open.
pub(crate) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    server::bind(path, 0o600).context("[hook]")
}

impl<W: World> Hooks<W> {
    /// Answers until told to stop. What is being answered then goes on: the hook has its own deadline.
    pub(crate) async fn serve(self, listener: UnixListener, stop: Stop) {
        info!(
            policy = self.settings.policy.name(),
            "listening for libvirt's hook"
        );
        let (hooks, room) = (Arc::new(self), Arc::new(Semaphore::new(AT_ONCE)));
        let taken = async {
            loop {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        warn!("libvirt's hook could not be taken: {error}");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                };
                let hooks = Arc::clone(&hooks);
                tokio::spawn(async move {
                    hooks.converse(stream).await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = taken => {}
            () = server::stopped(stop) => {}
        }
    }

    async fn converse(&self, mut stream: UnixStream) {
        let until = until(self.settings.deadline);
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == rustix::process::geteuid().as_raw() => {}
            // The socket's mode keeps others out already.
            other => return warn!(?other, "refused: not libvirt's hook"),
        }
        let question = match timeout(READ, read(&mut stream)).await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) => return warn!("libvirt's hook asked nothing that is understood: {error}"),
            Err(_) => return warn!("libvirt's hook did not end its question"),
        };
        if !question.waits {
            return self.note(&question);
        }
        let reply = self.answer(&question, until).await;
        let written = timeout(WRITE, write(&mut stream, &reply.answer)).await;
        if let (false, Some(id)) = (matches!(written, Ok(Ok(()))), reply.held) {
            debug!(migration = %id, "nobody heard the answer");
            self.coordinator.give_up(&id).await;
        }
    }
}

async fn read(stream: &mut UnixStream) -> io::Result<Question> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    let length = Question::length(head)?;
    // What is announced is not believed before it comes.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    match body.len() == length {
        true => Question::of(&body),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut frame = Vec::new();
    answer.write(&mut frame)?;
    stream.write_all(&frame).await
}
