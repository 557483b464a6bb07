//! A tar (POSIX 1003.1, ustar) of small texts, by gzip.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;
/// A name in a header is no longer.
const LONGEST: usize = 100;

/// The files, each with its name, all of them below `directory`; `time` in seconds since 1970.
///
/// # Errors
/// A name that is too long for tar.
pub(crate) fn packed(directory: &str, files: &[(&str, &str)], time: u64) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    for (name, text) in files {
        gzip.write_all(&header(&format!("{directory}/{name}"), text.len(), time)?)?;
        gzip.write_all(text.as_bytes())?;
        let over = text.len() % BLOCK;
        if over > 0 {
            gzip.write_all(&vec![0; BLOCK - over])?;
        }
    }
    gzip.write_all(&[0; 2 * BLOCK])?;
    gzip.finish()
}

fn header(name: &str, size: usize, time: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} is too long for tar"),
        ));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600");
    // Owner and group: root's, whoever makes it.
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{time:011o}"));
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    // The sum is made with blanks in its own place.
    put(148, "        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// The system's own tar takes it.
    #[test]
    fn tar_reads_it() {
        let long = "line\n".repeat(1000);
        let files = [
            ("README", "all of it\n"),
            ("records/a.json", &long),
            ("empty", ""),
        ];
        let packed = packed("godwit-support", &files, 1_767_323_045).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar")
            .args(["-xzvf", "-", "-C"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&packed).unwrap();
        let told = tar.wait_with_output().unwrap();
        assert!(told.status.success());
        assert_eq!(
            String::from_utf8(told.stdout).unwrap(),
            "godwit-support/README\ngodwit-support/records/a.json\ngodwit-support/empty\n"
        );
        for (name, text) in files {
            let read = std::fs::read_to_string(dir.path().join("godwit-support").join(name)).unwrap();
            assert_eq!(read, text, "{name}");
        }
        assert!(packed.len() < 1000, "it is not compressed");
        assert!(header(&"n".repeat(101), 1, 1).is_err());
    }
}
