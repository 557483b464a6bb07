//! The tracked files.

use std::{fs, path::PathBuf, process::Command, sync::LazyLock};

/// A tracked text file.
pub(crate) struct Text {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All of them. What is not UTF-8 is no text.
pub(crate) static FILES: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files: {listed:?}");
    let names = String::from_utf8(listed.stdout).expect("paths in UTF-8");
    let read = |path: &str| {
        let text = fs::read_to_string(root().join(path)).ok()?;
        let path = path.to_owned();
        Some(Text { path, text })
    };
    let files: Vec<Text> = names.split('\0').filter_map(read).collect();
    assert!(files.len() > 50, "only {} tracked files were read", files.len());
    files
});

pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Those whose name ends so.
pub(crate) fn ending(with: &str) -> impl Iterator<Item = &'static Text> {
    FILES.iter().filter(move |file| file.path.ends_with(with))
}

/// The text of one file.
pub(crate) fn text(path: &str) -> &'static str {
    let file = FILES.iter().find(|file| file.path == path);
    &file.unwrap_or_else(|| panic!("{path} is not tracked")).text
}

/// Whether a file or directory of this path is tracked.
pub(crate) fn exists(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let inside = |file: &Text| {
        file.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    FILES.iter().any(inside)
}
