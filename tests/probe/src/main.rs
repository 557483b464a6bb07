//! Counts what is lost on the way to the guest and back, while the guest is moved.
//!
//! Each side sends numbered datagrams at one rate and notes which of the other's numbers arrive. Nothing is
//! answered, so that a loss belongs to one direction. In the end the client asks the guest what it has seen. On the way
//! between them it can be noted which number passes where.

mod client;
mod guest;
mod hops;
mod numbers;
mod record;
mod stream;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: godwit-probe serve
       godwit-probe run --to ADDRESS --out FILE [--rate PER_SECOND] [--stream PER_SECOND] [--seconds SECONDS]
       godwit-probe hops --only NAMES --out FILE --seconds SECONDS
--stream adds a TCP connection with so many records a second, that come back. run ends after SECONDS, or without them when its standard input ends.
hops notes which numbers pass the interfaces whose names begin with one of NAMES (with commas between).";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some("serve") if words.len() == 1 => guest::serve(),
        Some("run") => match options(&words[1..]) {
            Some(options) => client::run(&options),
            None => return complain(2, USAGE),
        },
        Some("hops") => match hops_options(&words[1..]) {
            Some(options) => hops::watch(&options),
            None => return complain(2, USAGE),
        },
        _ => return complain(2, USAGE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, &format!("godwit-probe: {error}")),
    }
}

fn options(words: &[String]) -> Option<client::Options> {
    let (mut to, mut out, mut rate, mut stream, mut limit) = (None, None, 100, None, None);
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--to" => to = Some(value.parse::<IpAddr>().ok()?),
            "--out" => out = Some(PathBuf::from(value)),
            "--rate" => rate = value.parse().ok().filter(|rate| (1..=10_000).contains(rate))?,
            "--stream" => stream = Some(value.parse().ok().filter(|rate| (1..=1000).contains(rate))?),
            "--seconds" => limit = Some(Duration::from_secs(value.parse().ok()?)),
            _ => return None,
        }
    }
    Some(client::Options {
        guest: SocketAddr::new(to?, wire::PORT),
        rate,
        stream,
        out: out?,
        limit,
    })
}

fn hops_options(words: &[String]) -> Option<hops::Options> {
    let (mut only, mut out, mut limit) = (None, None, None);
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--only" => only = Some(value.split(',').map(str::to_owned).collect()),
            "--out" => out = Some(PathBuf::from(value)),
            "--seconds" => limit = Some(Duration::from_secs(value.parse().ok()?)),
            _ => return None,
        }
    }
    Some(hops::Options {
        only: only?,
        out: out?,
        limit: limit?,
    })
}

#[expect(clippy::print_stderr, reason = "the program's own words for a failure")]
fn complain(code: u8, text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
