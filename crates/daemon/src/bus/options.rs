//! The options of `Migrate`: named and written as those of `godwit migrate`. All of them are read before anybody is asked for anything.

use std::collections::{BTreeMap, HashMap};

use godwit_api::{
    typed::{self, Read},
    v1 as api,
};
use zbus::{OwnedVariant, Variant};

use super::error::BusError;

/// All there are.
pub(super) const NAMES: [&str; 17] = [
    "policy",
    "request-id",
    "probes",
    "keep",
    "ignore",
    "bandwidth",
    "post-copy-bandwidth",
    "downtime",
    "parallel",
    "auto-converge",
    "post-copy",
    "compress",
    "tls",
    "copy-storage",
    "copy-disks",
    "transfer-timeout",
    "timeout-action",
];

/// Of a name, or a value, so many characters are told.
const TOLD: usize = 64;

/// Of a guest to a destination, with these options.
pub(super) fn request(
    guest: String,
    destination: String,
    options: HashMap<String, OwnedVariant>,
) -> Result<api::CreateMigrationRequest, BusError> {
    let mut given = Given::read(options)?;
    Ok(api::CreateMigrationRequest {
        guest,
        destination,
        request_id: given.take("request-id", text)?.unwrap_or_default(),
        policy: given.take("policy", policy)?.unwrap_or_default().into(),
        probes_per_second: given.take("probes", number)?,
        keep: given.take("keep", keep)?.unwrap_or_default().into(),
        ignore: given.take("ignore", words)?.unwrap_or_default(),
        transfer: transfer(&mut given)?,
    })
}

/// None where nothing is said.
fn transfer(given: &mut Given) -> Result<Option<api::TransferOptions>, BusError> {
    let options = api::TransferOptions {
        bandwidth_mib_per_second: given.take("bandwidth", typed::rate)?,
        post_copy_bandwidth_mib_per_second: given.take("post-copy-bandwidth", typed::rate)?,
        downtime_ms: given.take("downtime", typed::milliseconds)?,
        parallel_connections: given.take("parallel", number)?,
        auto_converge: given.take("auto-converge", typed::auto_converge)?,
        post_copy: given.take("post-copy", typed::yes_no)?,
        compression: given.take("compress", typed::compression)?,
        tls: given.take("tls", typed::tls)?,
        storage: storage(given)?,
        timeout: timeout(given)?,
    };
    Ok(Some(options).filter(|options| *options != api::TransferOptions::default()))
}

fn storage(given: &mut Given) -> Result<Option<api::TransferStorage>, BusError> {
    let disks = given.take("copy-disks", words)?;
    let Some(copy) = given.take("copy-storage", typed::copy_storage)? else {
        return match disks {
            Some(_) => Err(BusError::invalid("option `copy-disks` needs `copy-storage`")),
            None => Ok(None),
        };
    };
    Ok(Some(api::TransferStorage {
        copy: copy.into(),
        disks: disks.unwrap_or_default(),
    }))
}

fn timeout(given: &mut Given) -> Result<Option<api::TransferTimeout>, BusError> {
    let seconds = given.take("transfer-timeout", typed::seconds)?;
    let action = given.take("timeout-action", typed::timeout_action)?;
    match (seconds, action) {
        (None, None) => Ok(None),
        (Some(seconds), Some(action)) => Ok(Some(api::TransferTimeout {
            seconds,
            action: action.into(),
        })),
        _ => Err(BusError::invalid(
            "options `transfer-timeout` and `timeout-action` go together",
        )),
    }
}

/// What was given, as it would be typed.
struct Given(BTreeMap<String, String>);

impl Given {
    fn read(options: HashMap<String, OwnedVariant>) -> Result<Given, BusError> {
        let mut all = BTreeMap::new();
        for (name, value) in options {
            if !NAMES.contains(&name.as_str()) {
                let known = NAMES.map(|known| format!("`{known}`")).join(", ");
                let unknown = format!("no option `{}`; there are {known}", told(&name));
                return Err(BusError::invalid(&unknown));
            }
            let wrong = || format!("option `{name}` is not a string, a number or a boolean");
            let text = as_typed(&value).ok_or_else(|| BusError::invalid(&wrong()))?;
            all.insert(name, text);
        }
        Ok(Given(all))
    }

    fn take<T>(&mut self, name: &str, read: impl Fn(&str) -> Read<T>) -> Result<Option<T>, BusError> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        let wrong = |why| BusError::invalid(&format!("option `{name}` is `{}`: {why}", told(&text)));
        read(&text).map(Some).map_err(wrong)
    }
}

/// Numbers as they are written, and booleans as yes and no.
fn as_typed(value: &Variant<'_>) -> Option<String> {
    Some(match value {
        Variant::Str(text) => text.to_string(),
        Variant::Bool(true) => "yes".into(),
        Variant::Bool(false) => "no".into(),
        Variant::U8(number) => number.to_string(),
        Variant::U16(number) => number.to_string(),
        Variant::I16(number) => number.to_string(),
        Variant::U32(number) => number.to_string(),
        Variant::I32(number) => number.to_string(),
        Variant::U64(number) => number.to_string(),
        Variant::I64(number) => number.to_string(),
        _ => return None,
    })
}

fn told(text: &str) -> String {
    text.chars().take(TOLD).flat_map(char::escape_debug).collect()
}

fn text(text: &str) -> Read<String> {
    Ok(text.to_owned())
}

fn number(text: &str) -> Read<u32> {
    text.parse().map_err(|_| "it must be a whole number")
}

/// Separated by commas.
fn words(text: &str) -> Read<Vec<String>> {
    let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    match words.iter().any(String::is_empty) {
        true => Err("it must be words with commas between them"),
        false => Ok(words),
    }
}

fn policy(text: &str) -> Read<api::Policy> {
    match text {
        "require" => Ok(api::Policy::Require),
        "prefer" => Ok(api::Policy::Prefer),
        "standby-only" => Ok(api::Policy::StandbyOnly),
        _ => Err("it must be require, prefer or standby-only"),
    }
}

fn keep(text: &str) -> Read<api::Keep> {
    match text {
        "auto" => Ok(api::Keep::Auto),
        "off" => Ok(api::Keep::Off),
        "on" => Ok(api::Keep::On),
        _ => Err("it must be auto, on or off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[(&str, Variant<'_>)]) -> Result<api::CreateMigrationRequest, BusError> {
        let own = |(name, value): &(&str, Variant<'_>)| {
            let value = value.try_clone().and_then(OwnedVariant::try_from).unwrap();
            ((*name).to_owned(), value)
        };
        request("web-1".into(), "beta".into(), options.iter().map(own).collect())
    }

    #[test]
    fn nothing_said_is_nothing_asked_for() {
        let plain = api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            ..Default::default()
        };
        assert_eq!(asked(&[]).unwrap(), plain);
    }

    #[test]
    fn every_option_reaches_the_request() {
        let all = asked(&[
            ("policy", "prefer".into()),
            ("request-id", "x".into()),
            ("probes", 50_u32.into()),
            ("keep", "off".into()),
            ("ignore", "CPU_UNFIT, DISK_LOCAL".into()),
            ("bandwidth", "2GiB/s".into()),
            ("post-copy-bandwidth", "50MiB/s".into()),
            ("downtime", "2s".into()),
            ("parallel", "4".into()),
            ("auto-converge", "20,10".into()),
            ("post-copy", true.into()),
            ("compress", "zstd".into()),
            ("tls", "beta.example".into()),
            ("copy-storage", "inc".into()),
            ("copy-disks", "vda,vdb".into()),
            ("transfer-timeout", "10min".into()),
            ("timeout-action", "post-copy".into()),
        ]);
        let wanted = api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            request_id: "x".into(),
            policy: api::Policy::Prefer.into(),
            probes_per_second: Some(50),
            keep: api::Keep::Off.into(),
            ignore: vec!["CPU_UNFIT".into(), "DISK_LOCAL".into()],
            transfer: Some(api::TransferOptions {
                bandwidth_mib_per_second: Some(2048),
                post_copy_bandwidth_mib_per_second: Some(50),
                downtime_ms: Some(2000),
                parallel_connections: Some(4),
                auto_converge: Some(api::AutoConverge {
                    enabled: true,
                    initial_percent: Some(20),
                    increment_percent: Some(10),
                }),
                post_copy: Some(true),
                compression: Some(api::TransferCompression {
                    methods: vec![api::CompressionMethod::Zstd.into()],
                }),
                tls: Some(api::TransferTls {
                    enabled: true,
                    destination: "beta.example".into(),
                }),
                storage: Some(api::TransferStorage {
                    copy: api::StorageCopy::Incremental.into(),
                    disks: vec!["vda".into(), "vdb".into()],
                }),
                timeout: Some(api::TransferTimeout {
                    seconds: 600,
                    action: api::TimeoutAction::PostCopy.into(),
                }),
            }),
        };
        assert_eq!(all.unwrap(), wanted);
    }

    #[test]
    fn the_document_has_all_of_them() {
        let document = include_str!("../../../../docs/dbus.md");
        let (_, table) = document.split_once("### Options of Migrate").unwrap();
        let rows = table.lines().take_while(|line| !line.starts_with("```"));
        let named = rows.filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
        let mut named: Vec<&str> = named
            .flat_map(|(names, _)| names.split(", "))
            .filter(|name| *name != "option")
            .collect();
        let mut known = NAMES.to_vec();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn booleans_and_numbers_are_what_would_be_typed() {
        let transfer = |name, value: Variant<'_>| asked(&[(name, value)]).unwrap().transfer.unwrap();
        assert_eq!(transfer("post-copy", false.into()).post_copy, Some(false));
        assert_eq!(transfer("tls", true.into()), transfer("tls", "yes".into()));
        assert!(!transfer("tls", false.into()).tls.unwrap().enabled);
        assert!(
            transfer("auto-converge", true.into())
                .auto_converge
                .unwrap()
                .enabled
        );
        assert_eq!(transfer("parallel", 4_u8.into()).parallel_connections, Some(4));
        assert_eq!(transfer("parallel", 4_i64.into()).parallel_connections, Some(4));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_must_be() {
        let long = "x".repeat(1 << 20);
        let wrong: [(&[(&str, Variant<'_>)], &str); 20] = [
            (
                &[("polcy", "prefer".into())],
                "no option `polcy`; there are `policy`, ",
            ),
            (&[("persist", true.into())], "no option `persist`"),
            (&[(&long, "prefer".into())], "no option `xxx"),
            (
                &[("policy", "perhaps".into())],
                "option `policy` is `perhaps`: it must be require, prefer or",
            ),
            (&[("policy", 3_u32.into())], "option `policy` is `3`"),
            (
                &[("policy", vec!["prefer"].into())],
                "option `policy` is not a string, a number or a boolean",
            ),
            (&[("bandwidth", 1.5.into())], "option `bandwidth` is not a string"),
            (
                &[("bandwidth", 100_u64.into())],
                "option `bandwidth` is `100`: it must be a whole number with its unit",
            ),
            (&[("downtime", "300".into())], "as 300ms or 2s"),
            (&[("parallel", "many".into())], "it must be a whole number"),
            (&[("parallel", (-1_i32).into())], "option `parallel` is `-1`"),
            (&[("auto-converge", "20".into())], "two steps in per cent"),
            (
                &[("post-copy", "perhaps\n".into())],
                "option `post-copy` is `perhaps\\n`",
            ),
            (&[("compress", "lz4".into())], "option `compress` is `lz4`"),
            (&[("copy-storage", "some".into())], "it must be none, all or inc"),
            (
                &[("copy-disks", "vda".into())],
                "`copy-disks` needs `copy-storage`",
            ),
            (
                &[("copy-storage", "all".into()), ("copy-disks", "vda,,vdb".into())],
                "words with commas",
            ),
            (&[("transfer-timeout", "600s".into())], "go together"),
            (&[("timeout-action", "cancel".into())], "go together"),
            (&[("keep", "always".into())], "it must be auto, on or off"),
        ];
        for (options, why) in wrong {
            let error = asked(options).unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert!(error.to_string().len() < 500, "{why}");
            assert!(matches!(&error, BusError::Refused { name, .. } if name == "org.godwit.Error.INVALID"));
        }
    }
}
