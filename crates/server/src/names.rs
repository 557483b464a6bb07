//! The names in a certificate, and when it ends.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// More names of a certificate do not count.
const MOST: usize = 64;

/// DNS names, URIs and mail addresses of its subject alternative names. The common name counts for nothing (RFC 9525),
/// nor does a name that cannot be printed.
pub(crate) fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    };
    let plain = |name: &String| {
        let fits = |c: char| c.is_ascii_graphic();
        !name.is_empty() && name.len() <= 253 && name.chars().all(fits)
    };
    let all = names.value.general_names.iter().filter_map(text);
    all.filter(plain).take(MOST).collect()
}

/// "Not after", milliseconds since 1970.
pub(crate) fn ends_ms(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    certificate.validity().not_after.timestamp().checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["alpha".into()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn only_alternative_names_count() {
        let named = der(|params| {
            params.distinguished_name.push(DnType::CommonName, "beta");
            let uri = SanType::URI("spiffe://fleet/mover".try_into().unwrap());
            params.subject_alt_names.push(uri);
        });
        assert_eq!(names(&named), ["alpha", "spiffe://fleet/mover"]);
        let common = der(|params| {
            params.subject_alt_names.clear();
            params.distinguished_name.push(DnType::CommonName, "alpha");
        });
        assert_eq!(names(&common), Vec::<String>::new());
        assert_eq!(names(b"\x30\x03garbage"), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_would_write_lines_of_its_own_is_none() {
        let hostile = der(|params| {
            let name = SanType::URI("beta\nrefused: nothing".try_into().unwrap());
            params.subject_alt_names.push(name);
        });
        assert_eq!(names(&hostile), ["alpha"]);
    }

    #[test]
    fn a_certificate_says_when_it_ends() {
        let ends = der(|params| params.not_after = rcgen::date_time_ymd(2031, 1, 2));
        assert_eq!(ends_ms(&ends), Some(1_925_078_400_000));
        for garbage in [&b""[..], b"\xff\0", &ends[..ends.len() / 2]] {
            assert_eq!(ends_ms(garbage), None);
        }
    }
}
