//! `godwit`: what an operator types. It asks the daemon of this host over a local socket, or another's over the network,
//! and knows nothing of libvirt, VFs or phases but their names.

#![forbid(unsafe_code)]

mod args;
mod bundle;
mod client;
mod command;
mod exit;
mod failure;
mod output;
mod place;
mod view;
mod watch;

use std::process::ExitCode;

use crate::args::Args;
use crate::failure::Error;
use crate::output::Output;

fn main() -> ExitCode {
    let args = match args::read() {
        Ok(args) => args,
        Err(usage) => return ExitCode::from(args::explain(&usage)),
    };
    let mut out = Output::stdio(args.json, args.quiet).asking(args.place.again());
    let code = match run(&args, &mut out) {
        Ok(code) => code,
        Err(error) => out.error(&error),
    };
    ExitCode::from(code)
}

fn run(args: &Args, out: &mut Output) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let code = runtime.block_on(command::run(args, out));
    // Nothing is waited for that nobody waits for: a look-up of a name may go on for half a minute.
    runtime.shutdown_background();
    code
}
