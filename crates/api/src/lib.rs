//! Godwit's wires as Rust types: generated from `proto/`, nothing else.
//!
//! The generated files are checked in, so that a build needs no `protoc`; the test
//! `tests/generated.rs` makes them again and compares (`GODWIT_REGENERATE=1` writes them).

// Generated code follows prost's and tonic's taste, not ours.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

/// Host to guest agent.
pub mod agent {
    /// Version 1.
    pub mod v1 {
        include!("generated/godwit.agent.v1.rs");
    }
}

/// Operators and control planes to a host's daemon.
#[cfg(feature = "grpc")]
pub mod v1 {
    include!("generated/godwit.v1.rs");
}

/// Daemon to daemon.
#[cfg(feature = "grpc")]
pub mod peer {
    /// Version 1.
    pub mod v1 {
        include!("generated/godwit.peer.v1.rs");
    }
}
