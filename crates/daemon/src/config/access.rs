//! Who may come in, and where it is written down.

use std::path::PathBuf;

use godwit_server::{Groups, Operator, Role, audit::Keep};
use serde::Deserialize;

/// Unix groups whose users may use the socket, and as what. Root may do everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccessTable {
    /// May look at everything.
    pub(crate) view: Vec<String>,
    /// May move guests as well.
    pub(crate) operate: Vec<String>,
    /// May do everything.
    pub(crate) admin: Vec<String>,
}

/// Somebody who comes over the network and is no host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorTable {
    /// A DNS name, a URI or a mail address in its certificate.
    pub(crate) name: String,
    /// `view`, `operate` or `admin`.
    pub(crate) role: Role,
}

/// Where accepted and refused requests are written down, besides the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditTable {
    /// The file; without one they are in the log alone.
    pub(crate) file: Option<PathBuf>,
    /// It is put aside when it is larger than this, 1 to 1,024. Default 64.
    pub(crate) megabytes: u64,
    /// So many older files are kept, at most 100. Default 4.
    pub(crate) kept: u32,
    /// What only looks is written down as well. Default false.
    pub(crate) looks: bool,
}

impl Default for AuditTable {
    fn default() -> AuditTable {
        AuditTable {
            file: None,
            megabytes: 64,
            kept: 4,
            looks: false,
        }
    }
}

impl AccessTable {
    /// As the server has them.
    pub(crate) fn groups(&self) -> Groups {
        let AccessTable { view, operate, admin } = self.clone();
        Groups { view, operate, admin }
    }
}

impl AuditTable {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=1024).contains(&self.megabytes) || self.kept > 100 {
            return Err("audit.megabytes is not 1 to 1024, or audit.kept more than 100".into());
        }
        Ok(())
    }

    /// As the server has it.
    pub(crate) fn keep(&self) -> Option<Keep> {
        let file = self.file.clone()?;
        Some(Keep {
            file,
            most: self.megabytes * 1024 * 1024,
            kept: self.kept,
        })
    }
}

/// Those of the configuration; `taken`: names that are hosts'.
pub(crate) fn operators<'a>(
    tables: &[OperatorTable],
    mut taken: impl Iterator<Item = &'a String>,
) -> Result<Vec<Operator>, String> {
    let plain = |name: &String| {
        let fits = |c: char| c.is_ascii_graphic();
        !name.is_empty() && name.len() <= 253 && name.chars().all(fits)
    };
    let names = || tables.iter().map(|operator| &operator.name);
    if let Some(name) = names().find(|name| !plain(name)) {
        return Err(format!(
            "operator `{name}` is not a DNS name, a URI or a mail address"
        ));
    }
    if let Some(name) = taken.find(|host| names().any(|name| name == *host)) {
        return Err(format!(
            "`{name}` is a host and an operator: give one of them another name"
        ));
    }
    if let Some(name) = super::twice(names()) {
        return Err(format!("two operators are named `{name}`"));
    }
    let known = |table: &OperatorTable| Operator {
        name: table.name.clone(),
        role: table.role,
    };
    Ok(tables.iter().map(known).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const KEYS: &str = "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

    fn parsed(text: &str) -> Result<Config, String> {
        Config::parse(&format!("host = \"alpha\"\nlisten = \"127.0.0.1:7716\"\n{text}"))
    }

    #[test]
    fn nobody_but_root_may_come_in_by_default() {
        let config = Config::parse("host = \"alpha\"").unwrap();
        assert!(!config.access.groups().any());
        assert_eq!(config.operators(), Ok(Vec::new()));
        assert!(config.audit.keep().is_none());
    }

    #[test]
    fn operators_have_one_name_and_one_role() {
        let operator =
            |name: &str, role: &str| format!("[[operator]]\nname = \"{name}\"\nrole = \"{role}\"\n");
        let wrong = |tables: &str| parsed(&format!("{KEYS}{tables}")).unwrap_err();
        let good = parsed(&format!("{KEYS}{}", operator("spiffe://fleet/mover", "operate"))).unwrap();
        assert_eq!(good.operators().unwrap()[0].name, "spiffe://fleet/mover");
        assert!(wrong(&operator("a b", "view")).contains("not a DNS name"));
        assert!(wrong(&operator("alpha", "view")).contains("is a host and an operator"));
        let twice = operator("fleet", "view") + &operator("fleet", "admin");
        assert!(wrong(&twice).contains("two operators are named `fleet`"));
        assert!(wrong(&operator("fleet", "operat")).ends_with("did you mean `operate`?"));
        assert!(wrong("[audit]\nmegabytes = 0\n").contains("1 to 1024"));
        let plain = Config::parse(&format!("host = \"alpha\"\n{}", operator("fleet", "view")));
        assert!(plain.unwrap_err().contains("need `[tls]`"));
    }
}
