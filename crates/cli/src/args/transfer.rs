//! libvirt's own options of a transfer, as they are typed.

use clap::ValueEnum;
use godwit_api::{
    typed::{auto_converge, compression, milliseconds, rate, seconds, tls, yes_no},
    v1 as api,
};

/// What is left out is as the daemon's configuration has it, and else libvirt's choice.
#[derive(Debug, Default, clap::Args)]
#[command(
    next_help_heading = "The transfer [each default: as the daemon's configuration has it, or libvirt's own]"
)]
pub(crate) struct Transfer {
    #[command(flatten)]
    pace: Pace,
    /// Slow down a guest that writes faster than is sent: its first and each next step, per cent, 1 to 99
    #[arg(long, value_name = "INITIAL,INCREMENT|no", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = auto_converge)]
    auto_converge: Option<api::AutoConverge>,
    /// Let the guest go on at the destination before all of its memory is there, after one pass over it; if a host or the network fails then, the guest is lost or waits
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = yes_no)]
    post_copy: Option<bool>,
    /// Compress the memory: xbzrle or mt; with --parallel zlib or zstd; no: not at all
    #[arg(long, value_name = "METHOD|no", value_parser = compression)]
    compress: Option<api::TransferCompression>,
    /// Let QEMU encrypt what it sends; with the name in the destination's certificate where it is not the host's
    #[arg(long, value_name = "NAME|no", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = tls)]
    tls: Option<api::TransferTls>,
    #[command(flatten)]
    disks: Disks,
    #[command(flatten)]
    late: Late,
}

#[derive(Debug, Default, clap::Args)]
struct Pace {
    /// Limit of its rate, as 100MiB/s or 2GiB/s
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<u64>,
    /// The same after the switch to post-copy
    #[arg(long, value_name = "RATE", value_parser = rate)]
    post_copy_bandwidth: Option<u64>,
    /// How long QEMU may pause the guest for the last of its memory, as 300ms or 2s; it aims at that, and promises nothing
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    downtime: Option<u64>,
    /// Connections that carry the memory side by side, 1 to 255; 0: one, in the old way
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=255))]
    parallel: Option<u32>,
}

#[derive(Debug, Default, clap::Args)]
struct Disks {
    /// Copy its disks: all of each, or what differs from images that the destination has
    #[arg(long, value_enum, value_name = "WHAT")]
    copy_storage: Option<CopyStorage>,
    /// Copy these alone, by their names in the guest, as vda,vdb [default: all that can be written and are not shared]
    #[arg(long, value_name = "DISK", value_delimiter = ',', requires = "copy_storage")]
    copy_disks: Vec<String>,
}

#[derive(Debug, Default, clap::Args)]
struct Late {
    /// After this long something is done about it, as 600s or 10min
    #[arg(long, value_name = "TIME", requires = "timeout_action", value_parser = seconds)]
    transfer_timeout: Option<u64>,
    /// What is done then
    #[arg(long, value_enum, value_name = "WHAT", requires = "transfer_timeout")]
    timeout_action: Option<TimeoutAction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CopyStorage {
    /// None: both hosts have them
    None,
    /// All of each
    All,
    /// What differs from an image that the destination has already
    Inc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TimeoutAction {
    /// It is given up, and the guest stays
    Cancel,
    /// The guest is paused until all of it is there
    Suspend,
    /// The guest goes on at the destination; needs --post-copy
    PostCopy,
}

impl Transfer {
    /// For the wire; none where nothing was typed.
    pub(crate) fn wire(&self) -> Option<api::TransferOptions> {
        let storage = self.disks.copy_storage.map(|copy| api::TransferStorage {
            copy: match copy {
                CopyStorage::None => api::StorageCopy::None,
                CopyStorage::All => api::StorageCopy::All,
                CopyStorage::Inc => api::StorageCopy::Incremental,
            }
            .into(),
            disks: self.disks.copy_disks.clone(),
        });
        let action = self.late.timeout_action.map(|action| match action {
            TimeoutAction::Cancel => api::TimeoutAction::Cancel,
            TimeoutAction::Suspend => api::TimeoutAction::Suspend,
            TimeoutAction::PostCopy => api::TimeoutAction::PostCopy,
        });
        let timeout = self.late.transfer_timeout.zip(action);
        let options = api::TransferOptions {
            bandwidth_mib_per_second: self.pace.bandwidth,
            post_copy_bandwidth_mib_per_second: self.pace.post_copy_bandwidth,
            downtime_ms: self.pace.downtime,
            parallel_connections: self.pace.parallel,
            auto_converge: self.auto_converge,
            post_copy: self.post_copy,
            compression: self.compress.clone(),
            tls: self.tls.clone(),
            storage,
            timeout: timeout.map(|(seconds, action)| api::TransferTimeout {
                seconds,
                action: action.into(),
            }),
        };
        Some(options).filter(|options| *options != api::TransferOptions::default())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};
    use crate::view::transfer::{typed, words};

    fn read(line: &str) -> Result<Option<api::TransferOptions>, String> {
        let words = ["godwit", "migrate", "web-1", "beta"]
            .into_iter()
            .chain(line.split_whitespace());
        match Args::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Migrate(migrate) => Ok(migrate.what.transfer.wire()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_typed_is_asked_for_and_can_be_typed_again() {
        for line in [
            "--bandwidth 100MiB/s --downtime 300ms --parallel 4 --auto-converge=20,10 --compress zstd --tls",
            "--post-copy --post-copy-bandwidth 2048MiB/s --transfer-timeout 600s --timeout-action post-copy",
            "--copy-storage inc --copy-disks vda,vdb --tls=beta.example --auto-converge",
            "--tls=yes --auto-converge=yes --post-copy=yes",
            "--auto-converge=no --post-copy=no --compress no --tls=no --copy-storage none --parallel 0",
        ] {
            let asked = read(line).unwrap().unwrap();
            let again = typed(&asked);
            assert_eq!(read(&again).unwrap(), Some(asked), "{line} is not {again}");
        }
        assert_eq!(read("").unwrap(), None);
        let units = read("--bandwidth 2GiB/s --downtime 2s --transfer-timeout 10min --timeout-action cancel")
            .unwrap();
        assert_eq!(
            words(&units.unwrap()),
            "at most 2048 MiB/s, downtime 2000 ms, given up after 600 s"
        );
    }

    #[test]
    fn what_means_nothing_is_wrong_usage() {
        for line in [
            "--bandwidth 100",
            "--bandwidth 100MB",
            "--bandwidth 1.5MiB/s",
            "--bandwidth 99999999999999999999GiB/s",
            "--downtime 300",
            "--parallel 256",
            "--auto-converge=20",
            "--auto-converge=0,10",
            "--post-copy=perhaps",
            "--compress lz4",
            "--copy-disks vda",
            "--copy-storage some",
            "--transfer-timeout 600s",
            "--timeout-action cancel",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
