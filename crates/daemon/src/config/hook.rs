//! `[hook]`: guests that plain libvirt brings.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use godwit_hook::settings::{Policy, Settings};
use serde::Deserialize;

/// What becomes of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HookTable {
    /// What the hook does with a guest of Godwit's when this daemon does not answer: `refuse` (the default) or `pass`.
    policy: PolicyName,
    /// Unix socket for the hook, root's alone. Default `hook.sock` beside the operators'.
    socket: Option<PathBuf>,
    /// How many seconds the hook waits for an answer, 1 to 60. Default 10.
    deadline: u64,
    /// Pool of VFs for guests of libvirt's own pairs whose metadata names none. Default: the only pool there is.
    pub(crate) pool: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    Refuse,
    Pass,
}

impl Default for HookTable {
    fn default() -> HookTable {
        let Settings { policy, deadline, .. } = Settings::default();
        let policy = match policy {
            Policy::Refuse => PolicyName::Refuse,
            Policy::Pass => PolicyName::Pass,
        };
        HookTable {
            policy,
            socket: None,
            deadline: deadline.as_secs(),
            pool: None,
        }
    }
}

impl HookTable {
    /// What the hook is to know without this daemon; `operators`: the operators' socket.
    pub(crate) fn settings(&self, operators: &Path) -> Settings {
        let beside = || operators.with_file_name("hook.sock");
        Settings {
            policy: match self.policy {
                PolicyName::Refuse => Policy::Refuse,
                PolicyName::Pass => Policy::Pass,
            },
            socket: self.socket.clone().unwrap_or_else(beside),
            deadline: Duration::from_secs(self.deadline),
        }
    }

    /// `operators`: the operators' socket, which the hook's is beside.
    pub(super) fn check<'a>(
        &self,
        operators: &Path,
        mut pools: impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        if !(1..=Settings::LONGEST.as_secs()).contains(&self.deadline) {
            return Err("hook.deadline is not 1 to 60 seconds".into());
        }
        // The hook is run somewhere else, and reads its path from a line of a file.
        let odd = |path: &Path| {
            let text = path.to_str();
            !path.is_absolute() || text.is_none_or(|text| text.contains(char::is_control))
        };
        if self.socket.as_deref().is_some_and(odd) {
            return Err("hook.socket is not an absolute path of one line".into());
        }
        if odd(operators) {
            return Err("socket is not an absolute path of one line".into());
        }
        match &self.pool {
            Some(pool) if !pools.any(|known| known == pool) => {
                Err(format!("hook.pool: no [[pool]] is named `{pool}`"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: &str) -> Result<HookTable, String> {
        let table: HookTable = toml::from_str(keys).map_err(|error| error.to_string())?;
        table.check(
            Path::new("/run/godwit/godwitd.sock"),
            ["fabric".to_owned()].iter(),
        )?;
        Ok(table)
    }

    #[test]
    fn the_hook_is_told_what_the_file_says() {
        let operators = Path::new("/run/godwit/godwitd.sock");
        assert_eq!(table("").unwrap().settings(operators), Settings::default());
        let settings = table("policy = \"pass\"\nsocket = \"/run/h.sock\"\ndeadline = 3\npool = \"fabric\"");
        let expected = Settings {
            policy: Policy::Pass,
            socket: "/run/h.sock".into(),
            deadline: Duration::from_secs(3),
        };
        assert_eq!(settings.unwrap().settings(operators), expected);
    }

    #[test]
    fn what_the_table_cannot_say() {
        for (keys, says) in [
            ("policy = \"maybe\"", "unknown variant"),
            ("deadline = 0", "1 to 60"),
            ("deadline = 61", "1 to 60"),
            ("socket = \"hook.sock\"", "absolute"),
            ("pool = \"blue\"", "no [[pool]] is named `blue`"),
            ("polcy = \"pass\"", "unknown field"),
        ] {
            let error = table(keys).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
        }
    }
}
