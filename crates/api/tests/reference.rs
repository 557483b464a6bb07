//! docs/api.md is what the comments of proto/ say (`GODWIT_REGENERATE=1` writes it).

use std::{collections::HashMap, fmt::Write, fs, path::Path};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const HEAD: &str = "\
# The API

Generated from the comments of `proto/godwit/v1/godwit.proto`; a test compares the two. How to use it from a control plane is in [control-planes.md](control-planes.md), who may
call what in [security.md](security.md), and every reason of a failure in [reasons.md](reasons.md).
";

/// Comments by the path of what they stand at (google.protobuf.SourceCodeInfo).
type Comments = HashMap<Vec<i32>, String>;

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let said = |text: &str| {
        text.lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    };
    locations
        .map(|location| (location.path.clone(), said(location.leading_comments())))
        .collect()
}

fn reference(file: &FileDescriptorProto) -> String {
    let said = comments(file);
    let mut page = HEAD.to_owned();
    for (index, service) in file.service.iter().enumerate() {
        of_service(&mut page, service, index as i32, &said);
    }
    page.push_str("\n## Messages\n");
    for (index, message) in file.message_type.iter().enumerate() {
        of_message(&mut page, message, index as i32, &said);
    }
    page.push_str("\n## Enumerations\n");
    for (index, values) in file.enum_type.iter().enumerate() {
        of_enum(&mut page, values, index as i32, &said);
    }
    page
}

fn at<'a>(said: &'a Comments, path: &[i32]) -> &'a str {
    said.get(path).map(String::as_str).unwrap_or_default()
}

fn of_service(page: &mut String, service: &ServiceDescriptorProto, index: i32, said: &Comments) {
    let _ = writeln!(page, "\n## {}\n\n{}\n", service.name(), at(said, &[6, index]));
    page.push_str("| call | request | answer | |\n|---|---|---|---|\n");
    for (number, call) in service.method.iter().enumerate() {
        let stream = if call.server_streaming() { "stream of " } else { "" };
        let (request, answer) = (link(call.input_type()), link(call.output_type()));
        let words = at(said, &[6, index, 2, number as i32]);
        let _ = writeln!(
            page,
            "| `{}` | {request} | {stream}{answer} | {words} |",
            call.name()
        );
    }
}

fn of_message(page: &mut String, message: &DescriptorProto, index: i32, said: &Comments) {
    let _ = writeln!(page, "\n### `{}`", message.name());
    let words = at(said, &[4, index]);
    if !words.is_empty() {
        let _ = writeln!(page, "\n{words}");
    }
    if message.field.is_empty() {
        page.push_str("\nNo fields.\n");
        return;
    }
    page.push_str("\n| field | number | type | |\n|---|---|---|---|\n");
    for (number, field) in message.field.iter().enumerate() {
        let words = at(said, &[4, index, 2, number as i32]);
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {words} |",
            field.name(),
            field.number(),
            kind(field)
        );
    }
}

fn of_enum(page: &mut String, values: &EnumDescriptorProto, index: i32, said: &Comments) {
    let _ = writeln!(page, "\n### `{}`\n\n{}\n", values.name(), at(said, &[5, index]));
    page.push_str("| value | number | |\n|---|---|---|\n");
    for (number, value) in values.value.iter().enumerate() {
        let words = at(said, &[5, index, 2, number as i32]);
        let _ = writeln!(page, "| `{}` | {} | {words} |", value.name(), value.number());
    }
}

fn kind(field: &FieldDescriptorProto) -> String {
    let one = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        plain => format!("{plain:?}").to_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("list of {one}"),
        _ if field.proto3_optional() => format!("{one}, or absent"),
        _ => one,
    }
}

/// Of ours a link within the page.
fn link(name: &str) -> String {
    match name.strip_prefix(".godwit.v1.") {
        Some(ours) => format!("[`{ours}`](#{})", ours.to_lowercase()),
        None => format!("`{}`", name.trim_start_matches('.')),
    }
}

#[test]
fn the_reference_is_what_proto_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let set = protox::compile(["godwit/v1/godwit.proto"], [root.join("proto")]).expect("proto/ compiles");
    let file = set
        .file
        .iter()
        .find(|file| file.package() == "godwit.v1")
        .expect("ours");
    let (fresh, kept) = (reference(file), root.join("docs/api.md"));
    if std::env::var_os("GODWIT_REGENERATE").is_some() {
        fs::write(&kept, fresh).expect("docs/api.md is written");
        return;
    }
    assert!(
        fs::read_to_string(&kept).unwrap_or_default() == fresh,
        "docs/api.md is stale: run GODWIT_REGENERATE=1 cargo test -p godwit-api"
    );
}
