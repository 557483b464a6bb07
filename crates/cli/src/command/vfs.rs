//! `godwit vfs`.

use crate::args::VfAct;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{hosts, json};

pub(super) async fn vfs(mut client: Client, act: Option<&VfAct>, out: &mut Output) -> Result<u8, Error> {
    let vfs = match act {
        None => client.vfs().await?,
        Some(VfAct::Quarantine { vf, because }) => {
            vec![client.quarantine_vf(vf.clone(), because.clone()).await?]
        }
        Some(VfAct::Release { vf }) => vec![client.release_vf(vf.clone()).await?],
    };
    if out.is_json() {
        out.json(&json::Vfs::from(&vfs[..]))?;
    } else if vfs.is_empty() {
        out.line("The pools of this host have no VFs.")?;
    } else {
        out.lines(hosts::vfs(&vfs, out.width()))?;
    }
    Ok(exit::DONE)
}
