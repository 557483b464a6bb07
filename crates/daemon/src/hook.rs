//! What libvirt's hook is answered.
//!
//! libvirt waits for its hook and the hook for this daemon, so nothing here asks libvirt: what is known of guests and
//! networks was looked at before, VFs are looked at in `/sys`, and what is held is in the journal.

mod answer;
mod door;

use std::{pin::Pin, sync::Arc};

use godwit_coordinator::{Coordinator, World};
use godwit_hook::settings::Settings;
use godwit_migration::{Cause, Pair, PciAddress, Vf};
use tokio::sync::Notify;
use tracing::warn;

pub(crate) use self::door::bind;
use crate::{config::Config, world::RealWorld};

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send>>;

/// Looks at this host's VFs, without libvirt.
type Look = Box<dyn Fn() -> Work<Vec<Vf>> + Send + Sync>;

/// Makes a VF ready for the pair of a guest that comes with it.
type Ready = Box<dyn Fn(Prepare) -> Work<()> + Send + Sync>;

/// A VF that is to be made ready.
#[derive(Clone, Debug)]
pub(crate) struct Prepare {
    /// Which.
    pub(crate) vf: PciAddress,
    /// For which pair.
    pub(crate) pair: Pair,
    /// libvirt gives it its MAC.
    pub(crate) set_by_libvirt: bool,
}

/// Answers the hook.
pub(crate) struct Hooks<W> {
    coordinator: Coordinator<W>,
    look: Look,
    prepare: Ready,
    /// Pool for pairs whose guest names none.
    pool: Option<String>,
    /// What the hook knows without this daemon.
    settings: Settings,
    /// Whoever looks after guests looks now.
    wake: Arc<Notify>,
}

impl<W: World> Hooks<W> {
    /// With the hands of the real world; and what the hook is to know without this daemon is written down.
    pub(crate) fn new(
        coordinator: Coordinator<W>,
        world: Arc<RealWorld>,
        config: &Config,
        wake: Arc<Notify>,
    ) -> Hooks<W> {
        let settings = config.hook.settings(&config.socket);
        if let Err(error) = settings.write(&config.state.join("hook.conf")) {
            warn!("the hook keeps to what it was told before: hook.conf could not be written: {error}");
        }
        let hands = Arc::clone(&world);
        let look: Look = Box::new(move || {
            let world = Arc::clone(&hands);
            Box::pin(async move { world.vfs_without_libvirt().await })
        });
        let prepare: Ready = Box::new(move |asked| {
            let world = Arc::clone(&world);
            Box::pin(async move { world.prepare_for_hook(asked).await })
        });
        let only = match &config.pools[..] {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        Hooks {
            coordinator,
            look,
            prepare,
            pool: config.hook.pool.clone().or(only),
            settings,
            wake,
        }
    }
}

#[cfg(test)]
mod tests;
