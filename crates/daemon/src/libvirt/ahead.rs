//! What libvirt is asked before a guest moves: would its machine and its CPU do here, and how fast does it write.

use std::time::Duration;

use godwit_migration::plan::{Fit, Machine};
use roxmltree::Document;
use uuid::Uuid;
use virt::connect::Connect;
use virt_sys as sys;

use super::{LOCKED, Libvirt, LibvirtError, ffi, find, xml};

/// So long QEMU looks which pages are written, s; the shortest that libvirt takes.
const MEASURE: i32 = 1;

impl Libvirt {
    /// Whether QEMU here has the machine type, for that virtualisation.
    pub(crate) async fn has_machine(&self, machine: Machine) -> Result<Fit, LibvirtError> {
        self.locked("domain capabilities", LOCKED, move |conn| {
            let Machine {
                kind,
                architecture,
                virtualisation,
            } = &machine;
            let asked =
                conn.domain_capabilities(None, Some(architecture), Some(kind), Some(virtualisation), 0);
            fit(
                asked.map(drop).map_err(LibvirtError::from),
                sys::VIR_ERR_INVALID_ARG,
            )
        })
        .await
    }

    /// Whether the CPU of the element `<cpu>` can be had here.
    pub(crate) async fn has_cpu(&self, machine: Machine, element: String) -> Result<Fit, LibvirtError> {
        self.locked("compare CPU", LOCKED, move |conn| {
            let compared = ffi::compare_cpu(conn, &machine, &element);
            fit(compared, sys::VIR_ERR_CPU_INCOMPATIBLE)
        })
        .await
    }

    /// Whether libvirt has an active network of that name.
    pub(crate) async fn has_network(&self, name: String) -> Result<bool, LibvirtError> {
        self.locked("network", LOCKED, move |conn: &Connect| {
            match conn.lookup_network_by_name(&name) {
                Ok(network) => Ok(network.is_active()?),
                Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_NETWORK => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// The directories of libvirt's active storage pools.
    pub(crate) async fn pool_folders(&self) -> Result<Vec<String>, LibvirtError> {
        self.locked("storage pools", LOCKED, |conn| {
            let active = conn.list_all_storage_pools(sys::VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)?;
            // One that went between the list and the look is none any more.
            let texts = active.iter().filter_map(|pool| pool.xml_desc(0).ok());
            Ok(texts.filter_map(|text| target(&text)).collect())
        })
        .await
    }

    /// Snapshots that libvirt has of the guest, of whatever kind: those that it counts before a migration.
    pub(crate) async fn snapshots(&self, uuid: Uuid) -> Result<u32, LibvirtError> {
        self.locked("snapshots", LOCKED, move |conn| {
            Ok(find(conn, uuid)?.num_snapshots(0)?)
        })
        .await
    }

    /// Bytes that the guest's CPUs write each second, rounded to MiB by QEMU, which looks at some pages for a second. None: not
    /// measured in time.
    pub(crate) async fn writes(&self, uuid: Uuid) -> Result<Option<u64>, LibvirtError> {
        self.locked("begin to measure", LOCKED, move |conn| {
            ffi::start_dirty_rate(&find(conn, uuid)?, MEASURE)
        })
        .await?;
        // It is asked for what it has, so a moment later than it needs.
        for _ in 0..7 {
            tokio::time::sleep(Duration::from_millis(600)).await;
            let measured = self
                .locked("how fast it writes", LOCKED, move |conn| {
                    ffi::dirty_rate(&find(conn, uuid)?)
                })
                .await?;
            if let Some(mib) = measured {
                return Ok(Some(mib << 20));
            }
        }
        Ok(None)
    }
}

/// Where a storage pool has its files, by its XML.
fn target(pool: &str) -> Option<String> {
    let document = Document::parse(pool).ok()?;
    let target = xml::child(document.root_element(), "target")?;
    let path = xml::child(target, "path")?.text()?.trim();
    Some(path.to_owned())
}

/// libvirt says by one error that it would not do; every other one says nothing of that.
fn fit(answer: Result<(), LibvirtError>, unfit: u32) -> Result<Fit, LibvirtError> {
    match answer {
        Ok(()) => Ok(Fit::Fits),
        Err(error) if error.code() == Some(unfit) => Ok(Fit::Unfit(error.message())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_pool_says_where_its_files_are() {
        let pool = |inside: &str| format!("<pool type='dir'><name>default</name>{inside}</pool>");
        let path = "<target><path>/var/lib/libvirt/images</path><permissions/></target>";
        assert_eq!(target(&pool(path)).as_deref(), Some("/var/lib/libvirt/images"));
        assert_eq!((target(&pool("")), target("<pool")), (None, None));
    }

    #[test]
    fn one_error_alone_says_that_it_would_not_do() {
        let refused = |code| LibvirtError::Refused {
            code,
            message: "no such machine".into(),
        };
        assert_eq!(fit(Ok(()), 8), Ok(Fit::Fits));
        assert_eq!(fit(Err(refused(8)), 8), Ok(Fit::Unfit("no such machine".into())));
        assert_eq!(fit(Err(refused(3)), 8), Err(refused(3)));
        let lost = LibvirtError::ConnectionLost {
            message: String::new(),
        };
        assert_eq!(fit(Err(lost.clone()), 8), Err(lost));
    }
}
