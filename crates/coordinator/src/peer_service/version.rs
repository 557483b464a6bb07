//! A source that is newer than this host.

use godwit_api::peer::v1 as api;
use godwit_migration::HostRefusal;

use super::PeerDesk;
use crate::{Refused, World, words::PEER_VERSION};

impl<W: World> PeerDesk<W> {
    /// What is asked for is understood here, all of it: of a field that is not known nothing is seen.
    pub(super) fn check_version(&self, asked: &api::ReserveRequest) -> Result<(), Refused> {
        let needed = asked.needs_version;
        if needed <= PEER_VERSION {
            return Ok(());
        }
        let host = self.0.host();
        Err(self.refuse(HostRefusal::Refused {
            host: host.into(),
            detail: format!(
                "what is asked for this guest needs version {needed} of what hosts say to each other, and godwitd here \
                 speaks version {PEER_VERSION}: upgrade it on {host} first"
            ),
        }))
    }
}
