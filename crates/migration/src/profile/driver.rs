//! What the drivers of PFs cannot set on a VF, and who moves their switch, as their sources have it.
//!
//! All of them have MAC, VLAN, trust, spoof check and a limit of the rate. A driver that is not here lacks nothing that is
//! known; what it refuses is found out when it is asked. Its switch is left to the guest.

use super::Setting;

/// The driver of a PF, and what it lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct Driver {
    /// As sysfs names it.
    pub name: &'static str,
    /// What it cannot set, or does not tell: reads as neutral.
    pub lacks: &'static [Setting],
    /// Who takes a guest's MAC off the NIC's switch while the guest still has the VF.
    pub lever: Lever,
    /// Whether it tells what each VF has sent, as it is when it is asked. Some tell what they last wrote down, seconds ago.
    pub counts: bool,
    /// What of this was tried here, and on what; all else is from the source alone.
    pub tried: &'static str,
    /// Where that stands, under `drivers/net/ethernet` of Linux 6.12.
    pub source: &'static str,
}

/// Who takes a guest's MAC off the NIC's switch while the guest still has the VF, and puts it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// This host: the PF's driver writes the switch's table at once, and the guest's driver is not told.
    Host,
    /// The guest, which switches the port off: its driver's own list is what fills the switch, and a VF that is reset for a
    /// change of its MAC adds its old one again.
    Guest,
}

impl Lever {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Lever::Host => "host",
            Lever::Guest => "guest",
        }
    }
}

use Setting::{LinkState, MinTxRate, RssQuery, VlanProtocol};

/// No such NIC was at hand.
const NOTHING: &str = "nothing";

/// The drivers that are known.
pub const DRIVERS: [Driver; 6] = [
    Driver {
        name: "igb",
        lacks: &[VlanProtocol, MinTxRate, LinkState, RssQuery],
        lever: Lever::Host,
        counts: false,
        tried: "the host's lever while the guest has the VF, on QEMU's `igb` alone, not on an 82576",
        source: "`intel/igb/igb_main.c`: `igb_netdev_ops`, `igb_ndo_set_vf_vlan`, `igb_ndo_set_vf_bw`, `igb_set_vf_mac`",
    },
    Driver {
        name: "ixgbe",
        lacks: &[VlanProtocol, MinTxRate],
        lever: Lever::Host,
        counts: false,
        tried: NOTHING,
        source: "`intel/ixgbe/ixgbe_sriov.c`: `ixgbe_ndo_set_vf_vlan`, `ixgbe_ndo_set_vf_bw`, `ixgbe_ndo_set_vf_mac`",
    },
    Driver {
        name: "i40e",
        lacks: &[VlanProtocol, MinTxRate, RssQuery],
        lever: Lever::Guest,
        counts: true,
        tried: NOTHING,
        source: "`intel/i40e/i40e_main.c`: `i40e_netdev_ops`; `i40e_virtchnl_pf.c`: `i40e_ndo_set_vf_bw`, `i40e_ndo_set_vf_mac`",
    },
    // 802.1ad in double VLAN mode alone: it says so itself.
    Driver {
        name: "ice",
        lacks: &[RssQuery],
        lever: Lever::Guest,
        counts: true,
        tried: NOTHING,
        source: "`intel/ice/ice_main.c`: `ice_netdev_ops`; `ice_sriov.c`: `ice_set_vf_port_vlan`, `ice_set_vf_mac`",
    },
    Driver {
        name: "mlx5_core",
        lacks: &[VlanProtocol, RssQuery],
        lever: Lever::Guest,
        counts: true,
        tried: NOTHING,
        source: "`mellanox/mlx5/core/en_main.c`: `mlx5e_netdev_ops`, `mlx5e_set_vf_vlan`; `eswitch.c`: `esw_update_vport_addr_list`",
    },
    // Some firmware takes 802.1ad, and `bnxt_get_vf_config` does not tell it.
    Driver {
        name: "bnxt_en",
        lacks: &[VlanProtocol, RssQuery],
        lever: Lever::Guest,
        counts: false,
        tried: NOTHING,
        source: "`broadcom/bnxt/bnxt_sriov.c`: `bnxt_set_vf_vlan`, `bnxt_get_vf_config`, `bnxt_set_vf_mac`",
    },
];

impl Driver {
    /// The driver of that name, if it is known.
    pub fn named(name: &str) -> Option<&'static Driver> {
        DRIVERS.iter().find(|driver| driver.name == name)
    }
}
