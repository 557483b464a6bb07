//! One call, from its arguments to what libvirt is told.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    call::{Call, Right},
    frame::{Answer, MOST_XML, Question},
    search,
    settings::{Policy, Settings},
};

/// What is only told is given no longer than this: a daemon that hangs would be in the way of every guest.
const TOLD: Duration = Duration::from_millis(200);

/// What libvirt is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; the guest is as it was.
    Untouched,
    /// Go on, with this XML.
    Rewritten(Vec<u8>),
    /// Do not go on: one sentence, which libvirt shows to whoever moves the guest.
    Refused(String),
}

/// Carries out one call. `settings` are read only where the guest is Godwit's business.
pub fn run(call: Call, xml: impl Read, settings: impl FnOnce() -> Settings) -> Verdict {
    let right = call.right();
    if right == Right::Nothing {
        return Verdict::Untouched;
    }
    let mut text = Vec::new();
    let whole = xml.take(MOST_XML as u64 + 1).read_to_end(&mut text);
    if !search::concerns(&text) {
        return Verdict::Untouched;
    }
    let settings = settings();
    let question = Question {
        call,
        waits: right == Right::Decide,
        xml: text,
    };
    if right == Right::Tell {
        tell(question, &settings);
        return Verdict::Untouched;
    }
    let guest = question.call.guest.clone();
    let readable = match whole {
        Ok(_) if question.xml.len() <= MOST_XML => Ok(question),
        Ok(_) => Err(format!("its XML is larger than {} MiB", MOST_XML >> 20)),
        Err(error) => Err(format!("its XML could not be read: {error}")),
    };
    match readable.and_then(|question| ask(question, &settings)) {
        Ok(Answer::Untouched) => Verdict::Untouched,
        Ok(Answer::Rewritten(xml)) => Verdict::Rewritten(xml),
        Ok(Answer::Refused(why)) => Verdict::Refused(why),
        Ok(Answer::Undecided(why)) | Err(why) => match settings.policy {
            Policy::Pass => Verdict::Untouched,
            Policy::Refuse => Verdict::Refused(format!(
                "godwit: guest `{guest}` is not taken here: {why} (look: `systemctl status godwitd` on this host; \
                 `policy = \"pass\"` in its [hook] lets such guests come)"
            )),
        },
    }
}

/// The daemon's answer; why there is none, words. All of it within the deadline: a connection to a daemon that hangs may
/// wait in its line, and so may a write.
fn ask(question: Question, settings: &Settings) -> Result<Answer, String> {
    let (socket, deadline) = (settings.socket.clone(), settings.deadline);
    let asked = move || {
        let mut stream = UnixStream::connect(&socket)
            .map_err(|error| format!("godwitd is not there ({}: {error})", socket.display()))?;
        // A daemon that refuses may have closed before it has read all: what it said counts.
        let written = question.write(&mut stream);
        let answer = Answer::read(&mut stream);
        let gone = |error: io::Error| format!("godwitd did not answer: {error}");
        match (written, answer) {
            (_, Ok(answer)) => Ok(answer),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(gone(error)),
        }
    };
    within(deadline, asked).unwrap_or_else(|| {
        Err(format!(
            "godwitd did not answer within {} ms",
            deadline.as_millis()
        ))
    })
}

/// Nothing is waited for but that it was sent.
fn tell(question: Question, settings: &Settings) {
    let socket = settings.socket.clone();
    let told = move || {
        let sent = UnixStream::connect(socket).and_then(|mut stream| question.write(&mut stream));
        // Nobody could do anything about it.
        drop(sent);
    };
    within(settings.deadline.min(TOLD), told);
}

/// What the work came to, if it ended in time. Else it is left behind, and ends with the process.
fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, end) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().spawn(move || {
        let _ = done.send(work());
    });
    thread.ok().and_then(|_| end.recv_timeout(deadline).ok())
}
