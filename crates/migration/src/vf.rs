//! VFs of one host, and the choice among them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{HostRefusal, MacAddress, PciAddress, Profile};

/// Who uses a VF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VfUse {
    /// Nobody.
    Free,
    /// Set aside for a guest by the migration of this id.
    Held(String),
    /// A guest of this host has it (its name).
    Guest(String),
    /// Nobody is given it until it is released: the sentence says why.
    Quarantined(String),
    /// Not ours to touch: the sentence says why.
    Other(String),
}

impl fmt::Display for VfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VfUse::Free => write!(f, "it is free"),
            VfUse::Held(migration) => write!(f, "migration {migration} holds it"),
            VfUse::Guest(guest) => write!(f, "guest `{guest}` has it"),
            VfUse::Quarantined(why) => write!(f, "quarantined: {why}"),
            VfUse::Other(why) => write!(f, "{why}"),
        }
    }
}

/// A VF as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vf {
    /// Where it is.
    pub address: PciAddress,
    /// Pool it belongs to.
    pub pool: String,
    /// Interface name of its PF.
    pub pf: String,
    /// Who uses it.
    pub usage: VfUse,
    /// What it is set to; none where its PF does not tell.
    pub profile: Option<Profile>,
    /// The MAC that its PF has set for it; none: no MAC, or its PF does not tell.
    pub mac: Option<MacAddress>,
}

/// One free VF for each wanted (pair, pool), spread over the PFs: the PF with the most free VFs first.
///
/// # Errors
/// [`HostRefusal::NoPool`] and [`HostRefusal::NoFreeVf`], naming `host`.
pub fn choose(
    host: &str,
    wanted: &[(MacAddress, String)],
    vfs: &[Vf],
) -> Result<Vec<(MacAddress, PciAddress)>, HostRefusal> {
    let mut free: Vec<&Vf> = vfs.iter().filter(|vf| vf.usage == VfUse::Free).collect();
    let mut chosen = Vec::with_capacity(wanted.len());
    for (mac, pool) in wanted {
        let of_pool = vfs.iter().filter(|vf| vf.pool == *pool).count();
        if of_pool == 0 {
            return Err(HostRefusal::NoPool {
                host: host.into(),
                pool: pool.clone(),
            });
        }
        let best = free
            .iter()
            .enumerate()
            .filter(|(_, vf)| vf.pool == *pool)
            .min_by_key(|(_, vf)| (usize::MAX - free_on(&free, &vf.pf), vf.address))
            .map(|(index, _)| index)
            .ok_or_else(|| HostRefusal::NoFreeVf {
                host: host.into(),
                pool: pool.clone(),
                total: of_pool,
            })?;
        chosen.push((*mac, free.swap_remove(best).address));
    }
    Ok(chosen)
}

fn free_on(free: &[&Vf], pf: &str) -> usize {
    free.iter().filter(|vf| vf.pf == pf).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vf(address: &str, pf: &str, usage: VfUse) -> Vf {
        Vf {
            address: address.parse().unwrap(),
            pool: "fabric".into(),
            pf: pf.into(),
            usage,
            profile: None,
            mac: None,
        }
    }

    fn wanted(count: u8) -> Vec<(MacAddress, String)> {
        (1..=count)
            .map(|n| (MacAddress::new([2, 0, 0, 0, 0, n]).unwrap(), "fabric".into()))
            .collect()
    }

    #[test]
    fn takes_free_vfs_spread_over_the_pfs() {
        let vfs = [
            vf("0000:01:10.0", "pf0", VfUse::Guest("db-1".into())),
            vf("0000:01:10.2", "pf0", VfUse::Free),
            vf("0000:02:10.0", "pf1", VfUse::Free),
            vf("0000:02:10.2", "pf1", VfUse::Free),
        ];
        let chosen = choose("beta", &wanted(2), &vfs).unwrap();
        let addresses: Vec<String> = chosen.iter().map(|(_, vf)| vf.to_string()).collect();
        assert_eq!(addresses, ["0000:02:10.0", "0000:01:10.2"]);
    }

    #[test]
    fn refuses_rather_than_take_what_is_not_free() {
        let vfs = [
            vf("0000:01:10.0", "pf0", VfUse::Held("another migration".into())),
            vf("0000:01:10.2", "pf0", VfUse::Other("bound to igbvf".into())),
            vf("0000:01:10.4", "pf0", VfUse::Free),
        ];
        let refusal = choose("beta", &wanted(2), &vfs).unwrap_err();
        assert_eq!(
            refusal,
            HostRefusal::NoFreeVf {
                host: "beta".into(),
                pool: "fabric".into(),
                total: 3
            }
        );
        let refusal = choose("beta", &wanted(1), &[]).unwrap_err();
        assert_eq!(
            refusal,
            HostRefusal::NoPool {
                host: "beta".into(),
                pool: "fabric".into()
            }
        );
    }
}
