//! `godwit names`: what shells ask when a name is to be completed. It is quick or silent, and never says why.

use std::collections::BTreeSet;
use std::time::Duration;

use godwit_api::v1::{ListMigrationsRequest, Migration, MigrationFilter};
use tokio::time::timeout;

use super::explain;
use crate::args::names::{self, Names};
use crate::args::{Asked, Wanted};
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::place::Place;
use crate::place::contexts::{Contexts, LOCAL};

/// Whoever presses the key waits for it.
const DEADLINE: Duration = Duration::from_secs(1);
/// For what other hosts have to be asked for, too.
const HOSTS: Duration = Duration::from_millis(600);
/// No list is longer.
const MOST: usize = 500;
/// Of the newest migrations.
const NEWEST: u32 = 50;

pub(super) async fn names(asked: &Asked, out: &mut Output) -> Result<u8, Error> {
    let words = asked.words();
    let Some((wanted, lead)) = names::of_last(&words) else {
        return Ok(exit::DONE);
    };
    let place = names::asked(&words).unwrap_or(Wanted::Unsaid);
    let found = timeout(DEADLINE, found(wanted, &place)).await;
    let typed = words
        .last()
        .map_or("", |word| word.get(lead.len()..).unwrap_or(""));
    let fit = found.ok().flatten().unwrap_or_default();
    let fit = fit
        .iter()
        .filter(|name| name.starts_with(typed) && is_plain(name));
    for name in fit.take(MOST) {
        out.ours(&format!("{lead}{name}\n"))?;
    }
    Ok(exit::DONE)
}

/// Nothing that a shell would take for more than a word: what is completed is executed next.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@%+,/".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
}

/// None: nobody could be asked.
async fn found(wanted: Names, place: &Wanted) -> Option<BTreeSet<String>> {
    match wanted {
        Names::Contexts => {
            let contexts = Contexts::read().ok()?;
            let names = contexts.all().map(|(name, _)| name).chain([LOCAL]);
            return Some(names.map(Into::into).collect());
        }
        Names::Reasons => return Some(explain::reasons().map(Into::into).collect()),
        _ => {}
    }
    let mut client = Client::connect(&Place::of(place).ok()?).await.ok()?;
    Some(match wanted {
        Names::Guests => guests(&mut client).await?,
        Names::Hosts => hosts(&mut client).await?,
        Names::Migrations => migrations(&mut client, MigrationFilter::Unspecified).await?,
        Names::OpenMigrations => migrations(&mut client, MigrationFilter::Open).await?,
        Names::GuestsAndMigrations => {
            let mut all = guests(&mut client).await?;
            all.extend(migrations(&mut client, MigrationFilter::Unspecified).await?);
            all
        }
        Names::Vfs => client
            .vfs()
            .await
            .ok()?
            .into_iter()
            .map(|vf| vf.address)
            .collect(),
        Names::Pfs => client.vfs().await.ok()?.into_iter().map(|vf| vf.pf).collect(),
        Names::Contexts | Names::Reasons => BTreeSet::new(),
    })
}

async fn guests(client: &mut Client) -> Option<BTreeSet<String>> {
    let guests = client.guests().await.ok()?;
    Some(guests.into_iter().map(|guest| guest.name).collect())
}

/// The peers are asked how they are for it. One that is away would take too long: then those that guests moved to lately.
async fn hosts(client: &mut Client) -> Option<BTreeSet<String>> {
    if let Ok(Ok(hosts)) = timeout(HOSTS, client.hosts()).await {
        return Some(hosts.into_iter().map(|host| host.name).collect());
    }
    let lately = newest(client, MigrationFilter::Unspecified).await?.into_iter();
    Some(
        lately
            .flat_map(|migration| [migration.source, migration.destination])
            .collect(),
    )
}

async fn migrations(client: &mut Client, filter: MigrationFilter) -> Option<BTreeSet<String>> {
    let migrations = newest(client, filter).await?;
    Some(migrations.into_iter().map(|migration| migration.id).collect())
}

async fn newest(client: &mut Client, filter: MigrationFilter) -> Option<Vec<Migration>> {
    let request = ListMigrationsRequest {
        limit: NEWEST,
        filter: filter.into(),
        ..ListMigrationsRequest::default()
    };
    Some(client.list(request).await.ok()?.migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_would_obey_is_offered() {
        for name in ["web-1", "0000:01:10.2", "enp1s0f0", "01a20918-8969", "a.b_c@d"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            "-rf",
            "$(reboot)",
            "`id`",
            "a b",
            "a;b",
            "a|b",
            "a'b",
            "a\nb",
            "~root",
            "*",
            "v\u{f6}gel",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
