//! `godwit resolve ID --runs-on HOST`.

use godwit_api::v1::ResolveMigrationRequest;

use crate::args::Resolve;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(super) async fn resolve(mut client: Client, wanted: &Resolve, out: &mut Output) -> Result<u8, Error> {
    let request = ResolveMigrationRequest {
        id: wanted.id.clone(),
        runs_on: wanted.runs_on.clone(),
        force: wanted.force,
    };
    let migration = client.resolve(request).await?;
    if out.is_json() {
        out.json(&json::Migration::from(&migration))?;
    } else {
        let (id, guest, host) = (&migration.id, &migration.guest, &wanted.runs_on);
        out.line(&format!(
            "Migration {id} goes on: {guest} is taken to run on {host}."
        ))?;
        out.line(&format!("To see it:      godwit show {id}"))?;
        out.line(&format!("To wait for it: godwit watch {id}"))?;
    }
    Ok(exit::DONE)
}
