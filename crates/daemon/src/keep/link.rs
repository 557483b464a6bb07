//! The way of kept frames to the destination: one stream for a migration, opened again when it breaks.

use std::time::Duration;

use godwit_api::peer::v1::{KeepRequest, KeepResponse, keep_service_client::KeepServiceClient};
use godwit_coordinator::retry::Policy;
use godwit_keep::Told;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};
use tracing::debug;

/// So many requests may be under way. More wait with the source, where room is bounded.
const UNDER_WAY: usize = 64;

/// The destination is to say what became of all by then.
const ANSWER: Duration = Duration::from_secs(3);

/// A stream to the destination's daemon.
#[derive(Debug)]
pub(super) struct Link {
    /// None while there is none.
    sender: watch::Receiver<Option<mpsc::Sender<KeepRequest>>>,
    ends: watch::Sender<bool>,
    work: JoinHandle<Result<KeepResponse, String>>,
}

impl Link {
    /// Begins to open it.
    pub(super) fn open(channel: Channel, migration: String) -> Link {
        let (ends, ending) = watch::channel(false);
        let (told, sender) = watch::channel(None);
        let work = tokio::spawn(async move { work(channel, migration, told, ending).await });
        Link { sender, ends, work }
    }

    /// Where requests go now.
    pub(super) fn sender(&self) -> Option<mpsc::Sender<KeepRequest>> {
        self.sender.borrow().clone()
    }

    /// Nothing more comes. What the destination says, or why it does not.
    pub(super) async fn end(mut self) -> Result<Told, String> {
        self.ends.send_replace(true);
        let answered = timeout(ANSWER, &mut self.work).await;
        match answered {
            Ok(Ok(answer)) => answer.map(told),
            _ => Err("it did not answer in time".into()),
        }
    }
}

fn told(answer: KeepResponse) -> Told {
    Told {
        delivered: answer.delivered,
        late: answer.late,
        no_room: answer.no_room,
        brought: answer.brought,
        longest_ms: answer.longest_ms,
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn work(
    channel: Channel,
    migration: String,
    told: watch::Sender<Option<mpsc::Sender<KeepRequest>>>,
    mut ending: watch::Receiver<bool>,
) -> Result<KeepResponse, String> {
    let mut pauses = Policy::NEAR.pauses();
    loop {
        let lost = match one(channel.clone(), &migration, &told, &mut ending).await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        told.send_replace(None);
        debug!(%migration, "kept frames have no way: {lost}");
        let why = match lost.code() {
            Code::Unimplemented => "it is older than this, and keeps none".to_owned(),
            _ => lost.message().to_owned(),
        };
        let passes = matches!(lost.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
        if !passes || *ending.borrow() {
            return Err(why);
        }
        tokio::select! {
            () = sleep(pauses.next()) => {}
            _ = ending.wait_for(|ends| *ends) => return Err(why),
        }
    }
}

async fn one(
    channel: Channel,
    migration: &str,
    told: &watch::Sender<Option<mpsc::Sender<KeepRequest>>>,
    ending: &mut watch::Receiver<bool>,
) -> Result<KeepResponse, Status> {
    let (sender, requests) = mpsc::channel(UNDER_WAY);
    let hello = KeepRequest {
        migration_id: migration.to_owned(),
        frames: Vec::new(),
    };
    // There is room for the first.
    let _ = sender.try_send(hello);
    let mut client = KeepServiceClient::new(channel);
    let mut answers = client.keep(ReceiverStream::new(requests)).await?.into_inner();
    told.send_replace(Some(sender));
    let mut ends = false;
    loop {
        tokio::select! {
            answer = answers.message() => {
                return answer?.ok_or_else(|| Status::unknown("it ended without an answer"));
            }
            _ = ending.wait_for(|ends| *ends), if !ends => {
                // The last sender goes: the destination hears that nothing more comes.
                told.send_replace(None);
                ends = true;
            }
        }
    }
}
