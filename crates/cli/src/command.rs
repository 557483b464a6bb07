//! One file per command.

mod adopt;
mod cancel;
mod guests;
mod migrate;
mod status;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::failure::Error;
use crate::output::Output;

/// Does what was typed; gives the exit code.
pub(crate) async fn run(args: &Args, out: &mut Output) -> Result<u8, Error> {
    let client = Client::connect(&args.socket).await?;
    match &args.command {
        Command::Adopt { guest } => adopt::adopt(client, guest, out).await,
        Command::Migrate(options) => migrate::migrate(client, options, out).await,
        Command::Status { id: Some(id), .. } => status::one(client, id, out).await,
        Command::Status { id: None, limit } => status::all(client, *limit, out).await,
        Command::Guests => guests::guests(client, out).await,
        Command::Cancel { id } => cancel::cancel(client, id, out).await,
    }
}
