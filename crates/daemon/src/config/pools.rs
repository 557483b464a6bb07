//! Pools: which VFs Godwit may use.

use serde::Deserialize;

use crate::vf::{PfKind, PoolSpec};

/// More VFs no PF has (PCI Express: 16 bits, but the largest NICs made have 256).
const MOST_VFS: u32 = 256;

/// VFs that reach one physical network. A pool of one name on two hosts is the same network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolTable {
    /// Its name.
    pub(crate) name: String,
    /// Its PFs: interface names, or PCI addresses (`0000:3b:00.0`).
    #[serde(default)]
    pub(crate) pfs: Vec<String>,
    /// And all PFs of these kinds that no pool names: `{ driver = "ice", vendor = "8086", device = "1592" }`.
    #[serde(default)]
    kinds: Vec<KindTable>,
    /// VLANs that it carries, `"100-199"`. Default: all.
    vlans: Option<String>,
    /// How many VFs each of its PFs gets when this daemon starts, 1 to 256, unless one of them is in use. Default: as many as
    /// it is found with.
    vfs: Option<u32>,
}

/// What a PF is; what is left out is anything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindTable {
    /// Its driver.
    driver: Option<String>,
    /// PCI vendor, hexadecimal.
    vendor: Option<String>,
    /// PCI device, hexadecimal.
    device: Option<String>,
}

impl PoolTable {
    /// What it comes to.
    pub(crate) fn spec(&self) -> PoolSpec {
        // Checked when the file was read.
        self.read().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<PoolSpec, String> {
        let name = &self.name;
        let kinds = self.kinds.iter().map(|kind| kind.read(name));
        let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
        if self.pfs.is_empty() && kinds.is_empty() {
            return Err(format!("pool `{name}` has neither `pfs` nor `kinds`"));
        }
        if self.vfs.is_some_and(|vfs| !(1..=MOST_VFS).contains(&vfs)) {
            return Err(format!("pool `{name}`: `vfs` is not 1 to {MOST_VFS}"));
        }
        let vlans = self.vlans.as_deref().map(|text| {
            range(text)
                .ok_or_else(|| format!("pool `{name}`: vlans is not like \"100-199\", within 0 to 4095"))
        });
        Ok(PoolSpec {
            name: name.clone(),
            pfs: self.pfs.clone(),
            kinds,
            vlans: vlans.transpose()?,
            vfs: self.vfs,
        })
    }
}

impl KindTable {
    fn read(&self, pool: &str) -> Result<PfKind, String> {
        let number = |text: &Option<String>| {
            let number = text
                .as_deref()
                .map(|text| u16::from_str_radix(text.trim_start_matches("0x"), 16));
            number
                .transpose()
                .map_err(|_| format!("pool `{pool}`: vendor and device are hexadecimal, like \"8086\""))
        };
        if self.driver.is_none() && self.vendor.is_none() {
            return Err(format!("pool `{pool}`: a kind needs a driver or a vendor"));
        }
        Ok(PfKind {
            driver: self.driver.clone(),
            vendor: number(&self.vendor)?,
            device: number(&self.device)?,
        })
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|vlan| *vlan <= 4095);
    let (from, to) = (number(from)?, number(to)?);
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(keys: &str) -> Result<PoolSpec, String> {
        let table: PoolTable =
            toml::from_str(&format!("name = \"fabric\"\n{keys}")).map_err(|error| error.to_string())?;
        table.read()
    }

    #[test]
    fn a_pool_with_everything() {
        let all = pool(
            "pfs = [\"pf0\", \"0000:3b:00.0\"]\nkinds = [{ driver = \"ice\" }, { vendor = \"0x8086\", device = \"1592\" }]\nvlans = \"100-199\"\nvfs = 7",
        );
        let all = all.unwrap();
        assert_eq!(all.pfs, ["pf0", "0000:3b:00.0"]);
        assert_eq!((all.vlans, all.vfs), (Some((100, 199)), Some(7)));
        let ids: Vec<_> = all
            .kinds
            .iter()
            .map(|kind| (kind.driver.as_deref(), kind.vendor, kind.device))
            .collect();
        assert_eq!(
            ids,
            [(Some("ice"), None, None), (None, Some(0x8086), Some(0x1592))]
        );
        assert_eq!(
            pool("pfs = [\"pf0\"]\nvlans = \"7\"").unwrap().vlans,
            Some((7, 7))
        );
    }

    #[test]
    fn what_a_pool_cannot_be() {
        for (keys, says) in [
            ("", "neither `pfs` nor `kinds`"),
            ("pfs = [\"pf0\"]\nvfs = 0", "`vfs` is not 1 to 256"),
            ("pfs = [\"pf0\"]\nvlans = \"199-100\"", "vlans is not like"),
            ("pfs = [\"pf0\"]\nvlans = \"1-5000\"", "vlans is not like"),
            ("kinds = [{}]", "needs a driver or a vendor"),
            ("kinds = [{ vendor = \"intel\" }]", "hexadecimal"),
            ("kinds = [{ drivers = \"ice\" }]", "unknown field"),
        ] {
            let error = pool(keys).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
        }
    }
}
