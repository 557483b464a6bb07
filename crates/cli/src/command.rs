//! One file per command.

mod adopt;
mod bundle;
mod cancel;
mod certs;
mod completions;
mod context;
mod dbus;
mod doctor;
mod explain;
mod follow;
mod guests;
mod holds;
mod hook;
mod hosts;
mod list;
mod man;
mod migrate;
mod names;
mod offline;
mod plan;
mod pools;
mod reflect;
mod resolve;
mod retry;
mod run;
mod show;
mod stay;
mod vfs;
mod waiting;
mod watch;

use self::list::Listing;
use crate::args::{Args, Command, Listed, PlaceArgs, Wanted};
use crate::client::Client;
use crate::failure::Error;
use crate::output::Output;
use crate::place::Place;

/// Does what was typed; gives the exit code.
pub(crate) async fn run(args: &Args, out: &mut Output) -> Result<u8, Error> {
    let daemon = || connect(&args.place);
    match &args.command {
        Command::Guests => guests::guests(daemon().await?, out).await,
        Command::Adopt { guest, policy } => adopt::adopt(daemon().await?, guest, *policy, out).await,
        Command::Migrate(options) if options.dry_run => {
            plan::plan(daemon().await?, options.what.planned(), out).await
        }
        Command::Migrate(options) => migrate::migrate(daemon().await?, options, out).await,
        Command::Plan(wanted) => plan::plan(daemon().await?, wanted.planned(), out).await,
        Command::Standby(wanted) => stay::standby(daemon().await?, wanted, out).await,
        Command::Accelerate(wanted) => stay::accelerate(daemon().await?, wanted, out).await,
        Command::Run(wanted) => {
            run::check(&Place::of(&wanted_place(&args.place))?, wanted)?;
            run::run(daemon().await?, wanted, out).await
        }
        Command::Retry { id } => retry::retry(daemon().await?, id, out).await,
        Command::Resolve(wanted) => resolve::resolve(daemon().await?, wanted, out).await,
        Command::Watch { id, timeout } => watch::watch(daemon().await?, id, *timeout, out).await,
        Command::List(wanted) => {
            let listing = if wanted.open { Listing::Open } else { Listing::All };
            listed(&args.place, listing, &wanted.which, out).await
        }
        Command::History(wanted) => listed(&args.place, Listing::Ended, wanted, out).await,
        Command::Show(wanted) => match wanted.from.journal() {
            Some(directory) => offline::show(directory, &wanted.id, out),
            None => show::show(daemon().await?, &wanted.id, out).await,
        },
        Command::Status { id: Some(id), .. } => show::show(daemon().await?, id, out).await,
        Command::Status { id: None, limit } => {
            list::list(daemon().await?, Listing::All, None, *limit, out).await
        }
        Command::Cancel { id } => cancel::cancel(daemon().await?, id, out).await,
        Command::Certs { act } => certs::certs(act, out),
        Command::Doctor { guest } => doctor::doctor(daemon().await?, guest.as_deref(), out).await,
        Command::Explain { reason } => explain::explain(reason.as_deref(), out),
        Command::Context { act } => context::context(act, &wanted_place(&args.place), out),
        Command::Hosts => hosts::hosts(daemon().await?, out).await,
        Command::Pools => pools::pools(daemon().await?, out).await,
        Command::Vfs { act } => vfs::vfs(daemon().await?, act.as_ref(), out).await,
        Command::Holds(wanted) => match wanted.from.journal() {
            Some(directory) => offline::holds(directory, out),
            None => holds::holds(daemon().await?, out).await,
        },
        Command::Hook { act } => hook::hook(act, out),
        Command::Dbus { act } => dbus::dbus(act, out),
        Command::Reflect(wanted) => reflect::reflect(wanted, out).await,
        Command::SupportBundle(wanted) => bundle::bundle(wanted, &wanted_place(&args.place), out).await,
        Command::Names(asked) => names::names(asked, out).await,
        Command::Completions { shell } => completions::completions(*shell, out),
        Command::Man { dir } => man::man(dir.as_deref(), out),
    }
}

/// The daemon that is meant.
async fn connect(place: &PlaceArgs) -> Result<Client, Error> {
    Client::connect(&Place::of(&wanted_place(place))?).await
}

/// Two that exclude each other were refused when the command line was read.
fn wanted_place(place: &PlaceArgs) -> Wanted {
    place.wanted().unwrap_or(Wanted::Unsaid)
}

async fn listed(place: &PlaceArgs, listing: Listing, wanted: &Listed, out: &mut Output) -> Result<u8, Error> {
    if let Some(directory) = wanted.from.journal() {
        return offline::list(directory, listing, wanted, out);
    }
    let client = connect(place).await?;
    list::list(client, listing, wanted.guest.as_deref(), wanted.most(), out).await
}
