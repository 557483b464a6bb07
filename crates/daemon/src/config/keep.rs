//! The table `[keep]`.

use std::time::Duration;

use godwit_migration::Keep;
use serde::Deserialize;

use crate::keep::Settings;

/// Frames that arrive for a guest while it is paused between two hosts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeepTable {
    /// Where nobody says otherwise: `auto` (the default): those for guests that leave are kept where that can be done; `on`: or the
    /// guest does not move; `off`: none are, nor are any taken for guests that come.
    mode: Keep,
    /// Memory for them, MiB, 1 to 4096, for each interface of a guest that leaves and each guest that comes. Default 64.
    room_mib: u32,
    /// So long after a guest has left, frames that still come here are sent after it, milliseconds, 0 to 10,000. Default 2,000.
    stragglers_ms: u64,
}

impl Default for KeepTable {
    fn default() -> KeepTable {
        KeepTable {
            mode: Keep::Auto,
            room_mib: 64,
            stragglers_ms: 2000,
        }
    }
}

impl KeepTable {
    pub(super) fn check(self) -> Result<(), String> {
        if !(1..=4096).contains(&self.room_mib) {
            return Err("keep.room_mib is not 1 to 4096".into());
        }
        if self.stragglers_ms > 10_000 {
            return Err("keep.stragglers_ms is not 0 to 10000".into());
        }
        Ok(())
    }

    /// Of guests that leave, where nobody says otherwise.
    pub(crate) fn mode(self) -> Keep {
        self.mode
    }

    /// What this host keeps.
    pub(crate) fn settings(self) -> Settings {
        Settings {
            takes: self.mode != Keep::Off,
            room: self.room_mib as usize * 1024 * 1024,
            stragglers: Duration::from_millis(self.stragglers_ms),
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_bounds() {
        let read = |text: &str| toml::from_str::<KeepTable>(text).unwrap();
        for (mode, keep, takes) in [
            ("", Keep::Auto, true),
            ("mode = 'on'", Keep::On, true),
            ("mode = 'off'", Keep::Off, false),
        ] {
            let table = read(mode);
            assert_eq!((table.mode(), table.settings().takes), (keep, takes));
        }
        assert_eq!(read("room_mib = 2").settings().room, 2 << 20);
        assert_eq!(
            read("stragglers_ms = 50").settings().stragglers,
            Duration::from_millis(50)
        );
        for wrong in ["room_mib = 0", "room_mib = 4097", "stragglers_ms = 10001"] {
            assert!(read(wrong).check().is_err(), "{wrong}");
        }
        assert!(read("").check().is_ok());
        assert!(toml::from_str::<KeepTable>("mode = 'maybe'").is_err());
    }
}
