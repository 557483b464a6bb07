//! `godwit vfs`.

use crate::args::VfAct;
use crate::client::Client;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::{checks, hosts, json};

/// Of a host without VFs.
const NONE: &str = "The pools of this host have no VFs.";

pub(super) async fn vfs(mut client: Client, act: Option<&VfAct>, out: &mut Output) -> Result<u8, Error> {
    let vfs = match act {
        None => client.vfs().await?,
        Some(VfAct::Check { vf, clean }) => return check(client, vf.as_deref(), *clean, out).await,
        Some(VfAct::Quarantine { vf, because }) => {
            vec![client.quarantine_vf(vf.clone(), because.clone()).await?]
        }
        Some(VfAct::Release { vf }) => vec![client.release_vf(vf.clone()).await?],
    };
    if out.is_json() {
        out.json(&json::Vfs::from(&vfs[..]))?;
    } else if vfs.is_empty() {
        out.line(NONE)?;
    } else {
        out.lines(hosts::vfs(&vfs, out.width()))?;
    }
    Ok(exit::DONE)
}

async fn check(mut client: Client, vf: Option<&str>, clean: bool, out: &mut Output) -> Result<u8, Error> {
    let vf = vf.unwrap_or_default().to_owned();
    let checked = match clean {
        true => vec![client.clean_vf(vf).await?],
        false => client.check_vfs(vf).await?,
    };
    if out.is_json() {
        out.json(&json::Checks::from(&checked[..]))?;
    } else if checked.is_empty() {
        out.line(NONE)?;
    } else {
        out.lines(checks::checks(&checked, out.width()))?;
    }
    Ok(exit::of_checks(&checked))
}
