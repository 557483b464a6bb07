//! What this host counts of a guest's frames: at the standby's end on it, and in the VF's PF.

use std::path::PathBuf;

use godwit_migration::{PciAddress, counted::Counted};

use super::{VfError, Vfs, error::VfName, netlink::Netlink, sysfs::Sysfs};

impl Vfs {
    /// Frames that came from the guest so far: by the standby whose end here has that name, and by the VF. What cannot be read is
    /// told as that.
    pub(crate) async fn counted(&self, end: Option<&str>, vf: Option<PciAddress>) -> Counted {
        let end = end.map(str::to_owned);
        let by_standby = self.look(move |sysfs| sysfs.frames_from_guest(&end?)).await;
        let by_vf = match vf {
            Some(vf) => self.sent_by(vf).await.ok().flatten(),
            None => None,
        };
        Counted { by_standby, by_vf }
    }

    /// Bytes that the VF has received; none where its PF's driver counts nothing, or cannot be asked.
    pub(crate) async fn received(&self, vf: &VfName) -> Option<u64> {
        Netlink::open(&vf.pf).ok()?.received(vf).await.ok().flatten()
    }

    async fn sent_by(&self, vf: PciAddress) -> Result<Option<u64>, VfError> {
        let vf = self.find(vf).await?;
        match self.driver_of(&vf.pf).await? {
            Some(driver) if driver.counts => Netlink::open(&vf.pf)?.sent(&vf).await,
            _ => Ok(None),
        }
    }
}

impl Sysfs {
    /// What a tap receives is what its guest sends. A macvtap is the guest's own interface: it is counted as sent there
    /// (Linux `drivers/net/tun.c`: `tun_get_user`; `drivers/net/macvlan.c`: `macvlan_start_xmit`).
    pub(super) fn frames_from_guest(&self, end: &str) -> Option<u64> {
        // A name from XML, to be part of a path.
        if end.is_empty() || end.contains('/') || end.starts_with('.') {
            return None;
        }
        let folder: PathBuf = self.root.join("sys/class/net").join(end);
        let counter = match folder.join("tun_flags").exists() {
            true => "rx_packets",
            false => "tx_packets",
        };
        let text = std::fs::read_to_string(folder.join("statistics").join(counter)).ok()?;
        text.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Vfs, sysfs::tests::Machine};

    fn end(machine: &Machine, name: &str, rx: &str, tx: &str) {
        machine.file(&format!("sys/class/net/{name}/statistics/rx_packets"), rx);
        machine.file(&format!("sys/class/net/{name}/statistics/tx_packets"), tx);
    }

    #[tokio::test]
    async fn what_comes_from_the_guest_is_counted_at_either_kind_of_end() {
        let machine = Machine::new();
        end(&machine, "vnet0", "7\n", "90\n");
        machine.file("sys/class/net/vnet0/tun_flags", "0x5002\n");
        end(&machine, "macvtap0", "90\n", "8\n");
        let vfs = Vfs::at(machine.root(), Vec::new());
        let counted = async |name: &str| vfs.counted(Some(name), None).await.by_standby;
        assert_eq!(counted("vnet0").await, Some(7));
        assert_eq!(counted("macvtap0").await, Some(8));
        for wrong in ["vnet1", "", "..", "../net/vnet0"] {
            assert_eq!(counted(wrong).await, None, "{wrong}");
        }
        end(&machine, "vnet0", "many\n", "90\n");
        assert_eq!(counted("vnet0").await, None);
        assert_eq!(vfs.counted(None, None).await.by_standby, None);
    }
}
