//! Nothing that a client of an earlier version knows is taken away or means something else: numbers, names, types and calls
//! stay. What is new comes beside it.
//!
//! `before/` has the wires as they once were, a directory for each time: all of them count, and stay as they are.
//! `GODWIT_SNAPSHOT=1 cargo test -p godwit-api --test compatible` adds today's as the next one, for a release.

use std::{collections::BTreeMap, fs, io, path::Path, path::PathBuf};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

/// Each wire by its package, with the file in `proto/`.
const WIRES: [(&str, &str); 3] = [
    ("godwit.v1", "godwit/v1/godwit.proto"),
    ("godwit.peer.v1", "godwit/peer/v1/peer.proto"),
    ("godwit.agent.v1", "godwit/agent/v1/agent.proto"),
];

/// What a client relies on, a line for each: `godwit.v1.Guest field 1` is `name String Optional`.
fn promised(set: &[u8]) -> BTreeMap<String, String> {
    let set = FileDescriptorSet::decode(set).expect("descriptors");
    let mut all = BTreeMap::new();
    for file in set
        .file
        .iter()
        .filter(|file| file.package().starts_with("godwit."))
    {
        let package = file.package();
        file.message_type
            .iter()
            .for_each(|message| of_message(package, message, &mut all));
        file.enum_type
            .iter()
            .for_each(|values| of_enum(package, values, &mut all));
        file.service
            .iter()
            .for_each(|service| of_service(package, service, &mut all));
    }
    all
}

fn of_message(parent: &str, message: &DescriptorProto, all: &mut BTreeMap<String, String>) {
    let name = format!("{parent}.{}", message.name());
    for field in &message.field {
        all.insert(format!("{name} field {}", field.number()), shape(field));
    }
    message
        .nested_type
        .iter()
        .for_each(|inner| of_message(&name, inner, all));
    message
        .enum_type
        .iter()
        .for_each(|inner| of_enum(&name, inner, all));
    all.insert(name, "message".into());
}

fn shape(field: &FieldDescriptorProto) -> String {
    let optional = if field.proto3_optional() { " explicit" } else { "" };
    format!(
        "{} {:?} {:?} {}{optional}",
        field.name(),
        field.r#type(),
        field.label(),
        field.type_name()
    )
}

fn of_enum(parent: &str, values: &EnumDescriptorProto, all: &mut BTreeMap<String, String>) {
    for value in &values.value {
        let key = format!("{parent}.{} value {}", values.name(), value.number());
        all.insert(key, value.name().into());
    }
}

fn of_service(parent: &str, service: &ServiceDescriptorProto, all: &mut BTreeMap<String, String>) {
    for call in &service.method {
        let key = format!("{parent}.{} call {}", service.name(), call.name());
        let (asks, answers) = (call.client_streaming(), call.server_streaming());
        all.insert(
            key,
            format!("{} {asks} {} {answers}", call.input_type(), call.output_type()),
        );
    }
}

/// What of an earlier one is gone or different.
fn broken(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let differs = |(key, was): (&String, &String)| match now.get(key) {
        Some(is) if is == was => None,
        Some(is) => Some(format!("{key} was `{was}` and is `{is}`")),
        None => Some(format!("{key}, `{was}`, is gone")),
    };
    before.iter().filter_map(differs).collect()
}

/// A wire as `proto/` has it now, without its comments.
fn now(file: &str) -> Vec<u8> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut set = protox::compile([file], [proto]).expect("proto/ compiles");
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set.encode_to_vec()
}

fn before() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before")
}

/// The directories of earlier versions, by their numbers.
fn snapshots(kept: &Path) -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(kept).expect("earlier versions");
    let one = |entry: io::Result<fs::DirEntry>| {
        let path = entry.expect("a directory").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        (name.parse().expect("a number"), path)
    };
    entries.map(one).collect()
}

/// Adds a wire to the directory of a version; one that is there is never written over.
fn keep(directory: &Path, package: &str, descriptors: &[u8]) -> io::Result<()> {
    let path = directory.join(format!("{package}.bin"));
    io::Write::write_all(&mut fs::File::create_new(path)?, descriptors)
}

/// Today's wires, as the version after the last.
fn take(kept: &Path) -> io::Result<PathBuf> {
    let next = snapshots(kept).last_key_value().map_or(1, |(last, _)| last + 1);
    let directory = kept.join(next.to_string());
    fs::create_dir(&directory)?;
    for (package, file) in WIRES {
        keep(&directory, package, &now(file))?;
    }
    Ok(directory)
}

/// Clients, hosts and agents of every earlier version: hosts are upgraded one after the other, and agents long after them.
#[test]
fn every_earlier_version_is_still_understood() {
    let kept = snapshots(&before());
    for (package, file) in WIRES {
        let now = promised(&now(file));
        for directory in kept.values() {
            let path = directory.join(format!("{package}.bin"));
            let was = promised(&fs::read(&path).expect("a wire of each version"));
            assert!(was.len() > 60, "{}: {}", path.display(), was.len());
            let broken = broken(&was, &now);
            assert!(broken.is_empty(), "{}: {broken:#?}", path.display());
        }
    }
    // After the comparison: what breaks an earlier version becomes no version itself.
    if std::env::var_os("GODWIT_SNAPSHOT").is_some() {
        take(&before()).expect("a new version is written");
    }
}

/// Each version has all that the one before it had, and more: one that was written over would have lost something, or be of the wrong time.
#[test]
fn versions_only_grow() {
    let kept = snapshots(&before());
    assert!(kept.keys().copied().eq(1..=kept.len() as u32), "{kept:?}");
    assert!(kept.len() >= 2);
    for (package, _) in WIRES {
        let size =
            |path: &PathBuf| promised(&fs::read(path.join(format!("{package}.bin"))).expect("a wire")).len();
        let sizes: Vec<usize> = kept.values().map(size).collect();
        assert!(sizes.is_sorted(), "{package}: {sizes:?}");
        assert!(sizes[0] < sizes[1], "{package}: {sizes:?}");
    }
}

#[test]
fn a_version_that_is_there_is_not_written_over() {
    let kept = tempfile::tempdir().expect("a temporary directory");
    let first = take(kept.path()).expect("the first");
    assert_eq!(take(kept.path()).expect("the next"), kept.path().join("2"));
    let again = keep(&first, "godwit.v1", b"other").expect_err("it is there");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn what_would_break_a_client_is_noticed() {
    let mut set = FileDescriptorSet::decode(godwit_api::DESCRIPTORS).expect("descriptors");
    let before = promised(godwit_api::DESCRIPTORS);
    let file = set
        .file
        .iter_mut()
        .find(|file| file.package() == "godwit.v1")
        .expect("ours");
    file.message_type[0].field[0].number = Some(99);
    file.message_type[1].field[0].name = Some("other".into());
    file.enum_type[0].value.pop();
    file.service[0].method[0].server_streaming = Some(true);
    let broken = broken(&before, &promised(&set.encode_to_vec()));
    assert_eq!(broken.len(), 4, "{broken:#?}");
}
