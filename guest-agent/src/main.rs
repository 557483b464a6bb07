//! `godwit-agent`: moves the traffic of this guest between a VF and a virtio NIC when the host asks, and
//! says what it observed.
//!
//! The host decides, the agent does. It runs no commands, reads no files of the guest, and with the host
//! silent it does nothing at all, but that it tells the network where the guest is after the guest was moved, or when its `net_failover` took
//! another port. What it can be asked is `proto/godwit/agent/v1/agent.proto`.
#![forbid(unsafe_code)]

mod agent;
mod announce;
mod args;
mod both_ports;
mod guest;
mod kernel;
mod known;
mod log;
mod measure;
mod neighbourhood;
mod packet;
mod pair;
mod patience;
mod port;
mod primary;
mod proof;
mod refusal;
mod resumed;
mod session;
mod switch;
mod sysfs;
mod witness;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use args::Asked;
use godwit_wire::ethernet as frames;
use guest::Guest;
use log::say;
use sysfs::Sysfs;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match args::read(std::env::args_os().skip(1)) {
        Ok(Asked::Help) => print(args::HELP),
        Ok(Asked::Version) => print(concat!("godwit-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Asked::Serve { port }) => match run(&port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(sentence) => {
            say!("{sentence}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(port: &Path) -> io::Result<()> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned();
    let guest = Arc::new(Guest::new(Sysfs::new("/sys")));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    say!("version {} started", env!("CARGO_PKG_VERSION"));
    tokio::select! {
        () = agent::serve(port, Arc::clone(&guest), boot_id) => {}
        () = resumed::announce_moves(Arc::clone(&guest)) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The request that was worked on, if any, is abandoned by now.
    guest.settle().await;
    say!("ended");
    Ok(())
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
