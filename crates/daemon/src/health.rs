//! What health checks are told: whether libvirt's connection is open, and whether the journal can be written.

use std::time::Duration;

use godwit_server::Health;
use tokio::sync::watch;
use tracing::{info, warn};

/// A disk tells nobody that it is full.
const OFTEN: Duration = Duration::from_secs(30);

/// For as long as the daemon lives: at each change of libvirt's connection, and now and then.
pub(crate) async fn keep_told(
    health: Health,
    mut libvirt: watch::Receiver<bool>,
    journal: impl AsyncFn() -> Result<(), String>,
) {
    let mut was = true;
    loop {
        let open = *libvirt.borrow_and_update();
        let wrong = match (open, journal().await) {
            (false, _) => Some("libvirt is not connected".to_owned()),
            (true, Err(why)) => Some(why),
            (true, Ok(())) => None,
        };
        let well = wrong.is_none();
        match &wrong {
            Some(why) if was => warn!("health checks are told that this host does not serve: {why}"),
            None if !was => info!("health checks are told that this host serves again"),
            _ => {}
        }
        was = well;
        health.tell(well);
        if let Ok(Err(_)) = tokio::time::timeout(OFTEN, libvirt.changed()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_serves_while_libvirt_is_connected_and_its_journal_can_be_written() {
        static FULL: AtomicBool = AtomicBool::new(false);
        let journal = async || match FULL.load(SeqCst) {
            true => Err("the disk is full".to_owned()),
            false => Ok(()),
        };
        let (libvirt, open) = watch::channel(false);
        let health = Health::default();
        let mut told = health.watch();
        tokio::spawn(keep_told(health, open, journal));
        let mut becomes = async |well: bool, within: Duration| {
            let told = tokio::time::timeout(within, told.wait_for(|now| *now == well)).await;
            assert!(told.is_ok(), "it does not become {well} within {within:?}");
        };
        let at_once = Duration::from_millis(1);
        becomes(false, at_once).await;
        libvirt.send_replace(true);
        becomes(true, at_once).await;
        libvirt.send_replace(false);
        becomes(false, at_once).await;
        libvirt.send_replace(true);
        becomes(true, at_once).await;
        FULL.store(true, SeqCst);
        becomes(false, OFTEN + at_once).await;
        FULL.store(false, SeqCst);
        becomes(true, OFTEN + at_once).await;
    }
}
