//! Options of a transfer as people type them, on a command line or in a call on D-Bus: numbers with their units, and words.

use crate::v1 as api;

/// A reading, or what it must be.
pub type Read<T> = Result<T, &'static str>;

/// A limit of the rate, MiB/s: `100MiB/s`, `2GiB/s`.
///
/// # Errors
/// It is none; so with all of these.
pub fn rate(text: &str) -> Read<u64> {
    let units = [("MiB/s", 1), ("GiB/s", 1024)];
    with_unit(text, &units).ok_or("it must be a whole number with its unit, as 100MiB/s or 2GiB/s")
}

/// Milliseconds: `300ms`, `2s`.
pub fn milliseconds(text: &str) -> Read<u64> {
    let units = [("ms", 1), ("s", 1000)];
    with_unit(text, &units).ok_or("it must be a whole number with its unit, as 300ms or 2s")
}

/// Seconds: `600s`, `10min`, `1h`.
pub fn seconds(text: &str) -> Read<u64> {
    let units = [("s", 1), ("min", 60), ("h", 3600)];
    with_unit(text, &units).ok_or("it must be a whole number with its unit, as 600s, 10min or 1h")
}

/// `yes`, `no`.
pub fn yes_no(text: &str) -> Read<bool> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it must be yes or no"),
    }
}

/// `yes` (or nothing), `no`, or its two steps: `20,10`.
pub fn auto_converge(text: &str) -> Read<api::AutoConverge> {
    let steps = |initial_percent, increment_percent| api::AutoConverge {
        enabled: true,
        initial_percent,
        increment_percent,
    };
    let percent = |text: &str| text.parse::<u32>().ok().filter(|step| (1..100).contains(step));
    match text {
        "" | "yes" => Ok(steps(None, None)),
        "no" => Ok(api::AutoConverge::default()),
        both => {
            let read = both
                .split_once(',')
                .and_then(|(initial, increment)| Some((percent(initial)?, percent(increment)?)));
            let wrong = "it must be yes, no, or two steps in per cent, as 20,10";
            read.map(|(initial, increment)| steps(Some(initial), Some(increment)))
                .ok_or(wrong)
        }
    }
}

/// `no`, `xbzrle`, `mt`, `zlib`, `zstd`.
pub fn compression(text: &str) -> Read<api::TransferCompression> {
    let method = match text {
        "no" => return Ok(api::TransferCompression::default()),
        "xbzrle" => api::CompressionMethod::Xbzrle,
        "mt" => api::CompressionMethod::Mt,
        "zlib" => api::CompressionMethod::Zlib,
        "zstd" => api::CompressionMethod::Zstd,
        _ => return Err("it must be no, xbzrle, mt, zlib or zstd"),
    };
    Ok(api::TransferCompression {
        methods: vec![method.into()],
    })
}

/// `no`, `yes` (or nothing), or the name in the destination's certificate.
pub fn tls(text: &str) -> Read<api::TransferTls> {
    let destination = match text {
        "no" => return Ok(api::TransferTls::default()),
        "yes" => "",
        name => name,
    };
    Ok(api::TransferTls {
        enabled: true,
        destination: destination.into(),
    })
}

/// `none`, `all`, `inc`.
pub fn copy_storage(text: &str) -> Read<api::StorageCopy> {
    match text {
        "none" => Ok(api::StorageCopy::None),
        "all" => Ok(api::StorageCopy::All),
        "inc" => Ok(api::StorageCopy::Incremental),
        _ => Err("it must be none, all or inc"),
    }
}

/// `cancel`, `suspend`, `post-copy`.
pub fn timeout_action(text: &str) -> Read<api::TimeoutAction> {
    match text {
        "cancel" => Ok(api::TimeoutAction::Cancel),
        "suspend" => Ok(api::TimeoutAction::Suspend),
        "post-copy" => Ok(api::TimeoutAction::PostCopy),
        _ => Err("it must be cancel, suspend or post-copy"),
    }
}

/// A whole number and one of these units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(known, _)| *known == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}
