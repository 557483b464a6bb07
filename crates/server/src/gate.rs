//! What every request passes: may its caller do that, not too often, in time; and what came of it is written down.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use godwit_api::{status, v1::Failure};
use godwit_coordinator::{Caller, Subject};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;

use crate::{
    access::{self, Kind},
    audit::{self, Audit, Line, clip},
    deadline,
    limits::Limits,
    rate::Rates,
    who::Who,
};

/// The gate of one door: shared by its connections.
#[derive(Debug)]
pub struct Gate {
    routes: Routes,
    audit: Audit,
    rates: Rates,
    /// Lines about one address: who knocks a thousand times does not fill the log.
    complaints: Rates,
    /// The longest that a request may take.
    answer: Duration,
}

/// Who was turned away before there was a request.
#[derive(Debug)]
pub(crate) struct Turned {
    /// As far as that is known.
    pub(crate) who: String,
    /// Where the connection came from.
    pub(crate) from: String,
    /// The address or user whose lines are counted.
    pub(crate) address: String,
    /// How far it came.
    pub(crate) at: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) why: String,
}

/// The gate as one caller comes to it.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    gate: Arc<Gate>,
    who: Who,
}

impl Gate {
    /// In front of these services.
    pub fn new(routes: Routes, audit: Audit, limits: &Limits) -> Gate {
        Gate {
            routes: routes.prepare(),
            audit,
            rates: Rates::new(limits.burst, limits.per_second),
            complaints: Rates::new(10, 1),
            answer: limits.answer,
        }
    }

    pub(crate) fn passage(self: &Arc<Gate>, who: Who) -> Passage {
        let gate = Arc::clone(self);
        Passage { gate, who }
    }

    /// Somebody who did not even come as far as to say what is wanted.
    pub(crate) async fn turned_away(&self, turned: Turned) {
        if self.complaints.take(&turned.address).is_ok() {
            let line = Line {
                time: audit::time(),
                who: clip(&turned.who),
                role: "",
                from: turned.from,
                call: turned.at,
                on: Vec::new(),
                accepted: false,
                reason: turned.reason.into(),
                why: clip(&turned.why),
                took_ms: 0,
            };
            self.audit.note(&line).await;
        }
    }

    async fn pass(&self, who: &Who, mut request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let path = request.uri().path().to_owned();
        let kind = access::call(&path).map(|(.., kind)| kind);
        let subject = Subject::default();
        let response = match self.check(who, &path) {
            Err(status) => status.into_http(),
            Ok(()) => {
                request.extensions_mut().insert(subject.clone());
                if let Who::Peer { name, .. } = who {
                    request.extensions_mut().insert(Caller(name.clone()));
                }
                self.answer(request, kind).await
            }
        };
        let refused = refusal(response.headers());
        let response = match &refused {
            Some(status) if status.details().is_empty() => complete(status),
            _ => response,
        };
        if refused.is_some() || kind == Some(Kind::Change) || self.audit.looks() {
            let line = line(who, &path, &subject, refused.as_ref(), begun);
            self.audit.note(&line).await;
        }
        response
    }

    fn check(&self, who: &Who, path: &str) -> Result<(), Status> {
        if let Err(wait) = self.rates.take(&who.name()) {
            return Err(too_many(who, wait));
        }
        // A call that is not known is answered as such, but not to a stranger.
        let need = access::call(path).map_or(access::Need::Known, |(_, need, _)| need);
        who.lacks(need)
            .map_or(Ok(()), |lack| Err(not_allowed(lack, path)))
    }

    /// The services' answer, or that there was none in time. Nothing waits for the end of a watch.
    async fn answer(&self, request: Request<Body>, kind: Option<Kind>) -> Response<Body> {
        let asked = deadline::asked(request.headers());
        let within = asked.map_or(self.answer, |asked| asked.min(self.answer));
        let answer = self.routes.clone().call(request);
        let answered = match kind {
            Some(Kind::Watch) => Ok(answer.await),
            _ => tokio::time::timeout(within, answer).await,
        };
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => too_late(within).into_http(),
        }
    }
}

impl Service<Request<Incoming>> for Passage {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Passage { gate, who } = self.clone();
        Box::pin(async move { Ok(gate.pass(&who, request.map(Body::new)).await) })
    }
}

/// The status of an answer that is one: what was refused has no body, and its status among the headers.
fn refusal(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

/// What gRPC itself refuses (a call that nobody knows, a message that is too long) is told in the same form as all else.
fn complete(bare: &Status) -> Response<Body> {
    let reason = match bare.code() {
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::OutOfRange | Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::DeadlineExceeded => "DEADLINE",
        Code::Unavailable | Code::Cancelled => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let hint = match bare.code() {
        Code::Unimplemented => {
            "who asks is newer than this godwitd: upgrade it. `godwitd --version` says what it is"
        }
        Code::InvalidArgument => "what a request may have is in docs/api.md",
        Code::OutOfRange | Code::ResourceExhausted => "how large a request may be is in docs/security.md",
        Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled => {
            "what was begun goes on: `godwit list`"
        }
        _ => "journalctl -u godwitd",
    };
    let message = match bare.message() {
        "" => "godwitd does not know this call",
        message => message,
    };
    failed(bare.code(), reason, message.into(), hint.into())
        .build(Vec::new(), None)
        .into_http()
}

/// A status in the making.
struct Failed(Code, Failure);

fn failed(code: Code, reason: &str, message: String, hint: String) -> Failed {
    let failure = Failure {
        reason: reason.into(),
        message,
        causes: Vec::new(),
        hint,
    };
    Failed(code, failure)
}

impl Failed {
    fn build(self, about: status::About, retry: Option<Duration>) -> Status {
        status::status(self.0, &self.1, about, retry)
    }
}

fn not_allowed(lack: String, path: &str) -> Status {
    let hint =
        "who may do what is in docs/security.md: [access], [[operator]] and [[peer]] in the configuration";
    let about = vec![("call".to_owned(), path.to_owned())];
    failed(Code::PermissionDenied, "NOT_ALLOWED", lack, hint.into()).build(about, None)
}

fn too_many(who: &Who, wait: Duration) -> Status {
    let message = format!("{} asks too often", who.name());
    let hint = format!(
        "ask again in {} ms, or watch instead of asking",
        wait.as_millis().max(1)
    );
    failed(Code::ResourceExhausted, "TOO_MANY_REQUESTS", message, hint).build(Vec::new(), Some(wait))
}

fn too_late(within: Duration) -> Status {
    let message = format!("there was no answer within {} ms", within.as_millis());
    let hint = "what was begun goes on: `godwit list`".to_owned();
    failed(Code::DeadlineExceeded, "DEADLINE", message, hint).build(Vec::new(), None)
}

fn line<'a>(
    who: &Who,
    path: &'a str,
    subject: &Subject,
    refused: Option<&Status>,
    begun: Instant,
) -> Line<'a> {
    let reason = refused.map(|status| status::info(status).map(|info| info.reason).unwrap_or_default());
    Line {
        time: audit::time(),
        who: clip(&who.name()),
        role: who.role().map_or("", |role| role.name()),
        from: who.from(),
        call: path.get(..path.len().min(128)).unwrap_or_default(),
        on: subject
            .words()
            .iter()
            .map(|(key, value)| clip(&format!("{key}={value}")))
            .collect(),
        accepted: refused.is_none(),
        reason: reason.unwrap_or_default(),
        why: refused.map(|status| clip(status.message())).unwrap_or_default(),
        took_ms: audit::took_ms(begun),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the code: somebody reads it who wants to go on.
    #[test]
    fn what_grpc_itself_refuses_has_something_to_type() {
        for code in 1..=16 {
            let bare = Status::new(Code::from(code), "no");
            let whole = refusal(complete(&bare).headers()).unwrap();
            let failure = status::failure(&whole).unwrap();
            assert!(
                !failure.hint.is_empty() && !failure.reason.is_empty(),
                "{whole:?}"
            );
            assert_eq!(whole.code(), bare.code());
        }
    }
}
