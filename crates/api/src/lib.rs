//! Godwit's wires as Rust types: generated from `proto/`, and how a failure travels (`status`).
//!
//! The generated files are checked in, so that a build needs no `protoc`; the test
//! `tests/generated.rs` makes them again and compares (`GODWIT_REGENERATE=1` writes them).

#![forbid(unsafe_code)]

#[cfg(feature = "grpc")]
pub mod status;
#[cfg(feature = "grpc")]
pub mod typed;

/// `godwit.v1` as a `google.protobuf.FileDescriptorSet` with all that it imports, for server reflection.
#[cfg(feature = "grpc")]
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/godwit.v1.bin");

/// Host to guest agent.
// Generated code follows prost's and tonic's taste, not ours.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
pub mod agent {
    /// Version 1.
    pub mod v1 {
        include!("generated/godwit.agent.v1.rs");
    }
}

/// Operators and control planes to a host's daemon.
#[cfg(feature = "grpc")]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
pub mod v1 {
    include!("generated/godwit.v1.rs");
}

/// Daemon to daemon.
#[cfg(feature = "grpc")]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
pub mod peer {
    /// Version 1.
    pub mod v1 {
        include!("generated/godwit.peer.v1.rs");
    }
}
