//! Nothing that a client of the first version knows is taken away or means something else: numbers, names, types and calls
//! stay. What is new comes beside it.
//!
//! The first versions are in `first/` and stay as they are.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

const FIRST: &[u8] = include_bytes!("first/godwit.v1.bin");
const FIRST_OF_PEERS: &[u8] = include_bytes!("first/godwit.peer.v1.bin");
const FIRST_OF_AGENTS: &[u8] = include_bytes!("first/godwit.agent.v1.bin");

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

/// What of the first is gone or different.
fn broken(first: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let differs = |(key, was): (&String, &String)| match now.get(key) {
        Some(is) if is == was => None,
        Some(is) => Some(format!("{key} was `{was}` and is `{is}`")),
        None => Some(format!("{key}, `{was}`, is gone")),
    };
    first.iter().filter_map(differs).collect()
}

/// A wire as `proto/` has it now.
fn now(file: &str) -> Vec<u8> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let set = protox::compile([file], [proto]).expect("proto/ compiles");
    set.encode_to_vec()
}

#[test]
fn clients_of_the_first_version_are_still_understood() {
    let (first, now) = (promised(FIRST), promised(godwit_api::DESCRIPTORS));
    assert!(first.len() > 300, "{}", first.len());
    let broken = broken(&first, &now);
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Hosts are upgraded one after the other, and agents long after them.
#[test]
fn hosts_and_agents_of_the_first_version_are_still_understood() {
    for (first, file, least) in [
        (FIRST_OF_PEERS, "godwit/peer/v1/peer.proto", 300),
        (FIRST_OF_AGENTS, "godwit/agent/v1/agent.proto", 60),
    ] {
        let (first, now) = (promised(first), promised(&now(file)));
        assert!(first.len() > least, "{file}: {}", first.len());
        let broken = broken(&first, &now);
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

#[test]
fn what_would_break_a_client_is_noticed() {
    let first = promised(FIRST);
    let mut set = FileDescriptorSet::decode(FIRST).expect("descriptors");
    let file = set
        .file
        .iter_mut()
        .find(|file| file.package() == "godwit.v1")
        .expect("ours");
    file.message_type[0].field[0].number = Some(99);
    file.message_type[1].field[0].name = Some("other".into());
    file.enum_type[0].value.pop();
    file.service[0].method[0].server_streaming = Some(true);
    let broken = broken(&first, &promised(&set.encode_to_vec()));
    assert_eq!(broken.len(), 4, "{broken:#?}");
}
