//! The checked-in code is what `proto/` says.

use std::{fs, path::Path};

use prost::Message;

const FILES: [&str; 3] = [
    "godwit/v1/godwit.proto",
    "godwit/peer/v1/peer.proto",
    "godwit/agent/v1/agent.proto",
];

/// What reflection tells: of the operators' wire alone.
const REFLECTED: &str = "godwit/v1/godwit.proto";

fn generate(out: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let set = protox::compile(FILES, [&proto]).expect("proto/ compiles");
    tonic_prost_build::configure()
        .out_dir(out)
        .build_client(true)
        .build_server(true)
        .compile_fds(set)
        .expect("code is generated");
    let mut reflected = protox::compile([REFLECTED], [proto]).expect("proto/ compiles");
    // Comments stay in the source: they would be three quarters of it.
    for file in &mut reflected.file {
        file.source_code_info = None;
    }
    fs::write(out.join("godwit.v1.bin"), reflected.encode_to_vec()).expect("descriptors are written");
}

#[test]
fn checked_in_code_is_what_proto_says() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("GODWIT_REGENERATE").is_some() {
        generate(&kept);
        return;
    }
    let fresh = tempfile::tempdir().expect("a temporary directory");
    generate(fresh.path());
    for entry in fs::read_dir(fresh.path()).expect("generated files") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name");
        let (new, old) = (fs::read(&path), fs::read(kept.join(name)));
        assert!(
            new.expect("readable") == old.unwrap_or_default(),
            "{} is stale: run GODWIT_REGENERATE=1 cargo test -p godwit-api",
            name.display()
        );
    }
}
