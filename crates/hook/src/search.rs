//! Is a guest Godwit's business? By a search for bytes in its XML: no guest that is not pays for more.

/// The namespace of Godwit's metadata; libvirt keeps it as it was written.
pub const NAMESPACE: &str = "urn:godwit:domain:1";

/// libvirt's element of a pair, and its word for the half that is a VF.
const TEAMING: (&str, &str) = ("<teaming", "transient");

/// Whether the guest has Godwit's metadata, or a VF in a pair of libvirt's own. Says yes rather than no: the daemon reads
/// what this only finds.
pub fn concerns(xml: &[u8]) -> bool {
    let (teaming, transient) = TEAMING;
    has(xml, NAMESPACE) || (has(xml, teaming) && has(xml, transient))
}

fn has(text: &[u8], wanted: &str) -> bool {
    let Some((first, rest)) = wanted.as_bytes().split_first() else {
        return true;
    };
    let mut left = text;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = &left[at + 1..];
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn guests_of_ours_and_others() {
        let metadata =
            br#"<domain><metadata><godwit:guest xmlns:godwit="urn:godwit:domain:1"/></metadata></domain>"#;
        assert!(concerns(metadata));
        // Also one that a later Godwit wrote, whose elements this one does not know.
        assert!(concerns(br#"<g:x xmlns:g='urn:godwit:domain:1' version="9"/>"#));
        assert!(concerns(
            br#"<interface type='hostdev'><teaming type='transient' persistent='ua-net0'/></interface>"#
        ));
        for other in [
            &b"<domain><name>transient</name></domain>"[..],
            b"<teaming type='persistent'/>",
            b"<hostdev mode='subsystem' type='pci' managed='yes'/>",
            b"",
            b"\xff\xfe\x00",
        ] {
            assert!(!concerns(other), "{}", String::from_utf8_lossy(other));
        }
    }

    proptest! {
        /// As the standard library finds it.
        #[test]
        fn a_search_finds_what_is_there(text in "[ab<]{0,40}", wanted in "[ab<]{1,4}") {
            prop_assert_eq!(has(text.as_bytes(), &wanted), text.contains(&wanted));
        }
    }
}
