//! `godwit certs revoke`: the authority's list of certificates that count no more.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use super::{AUTHORITY_DAYS, Files, odd, refused, unusable, valid};
use crate::exit;
use crate::failure::Error;
use crate::output::Output;

/// The list, in the authority's directory. No host's files are named so.
const LIST: &str = "ca.crl";

/// Adds these certificates to the list, and writes it whole or not at all.
pub(super) fn revoke(dir: &Path, wanted: &[PathBuf], out: &mut Output) -> Result<u8, Error> {
    let ca = Files::of(dir, "ca");
    let issuer = ca.read()?;
    let authority = authority(&ca.certificate)?;
    let path = dir.join(LIST);
    let mut dates = CertificateParams::new(Vec::new()).map_err(odd)?;
    valid(&mut dates, AUTHORITY_DAYS)?;
    let (number, mut revoked) = read(&path)?;
    let mut told = Vec::new();
    for file in wanted {
        let serial = serial(file, &authority)?;
        let fresh = !revoked
            .iter()
            .any(|known| bare(&known.serial_number.to_bytes()) == bare(&serial));
        if fresh {
            revoked.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: dates.not_before,
                reason_code: None,
                invalidity_date: None,
            });
        }
        told.push((file, fresh));
    }
    let params = CertificateRevocationListParams {
        this_update: dates.not_before,
        next_update: dates.not_after,
        crl_number: SerialNumber::from(number + 1),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = params.signed_by(&issuer).map_err(odd)?;
    let draft = dir.join("ca.crl.new");
    let text = signed.pem().map_err(odd)?;
    let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path));
    written.map_err(|error| unusable(&path, &error))?;
    tell(&told, &path, out)
}

fn tell(told: &[(&PathBuf, bool)], list: &Path, out: &mut Output) -> Result<u8, Error> {
    if out.is_json() {
        let revoked: Vec<_> = told.iter().map(|(file, _)| file.display().to_string()).collect();
        out.json(&serde_json::json!({ "revoked": revoked, "list": list.display().to_string() }))?;
        return Ok(exit::DONE);
    }
    for (file, fresh) in told {
        let already = if *fresh { "" } else { " already" };
        out.ours(&format!("{} is{already} revoked\n", file.display()))?;
    }
    let list = list.display();
    out.ours(&format!(
        "wrote {list}: copy it to every host, to the place that `crl` in its [tls] names\n"
    ))?;
    Ok(exit::DONE)
}

/// Number and entries of the list as it is; none where there is no list yet.
fn read(path: &Path) -> Result<(u64, Vec<RevokedCertParams>), Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(unusable(path, &error)),
    };
    let (_, pem) = parse_x509_pem(&bytes).map_err(|error| unusable(path, &error))?;
    let (_, list) =
        CertificateRevocationList::from_der(&pem.contents).map_err(|error| unusable(path, &error))?;
    let number = list
        .crl_number()
        .and_then(|number| number.to_u64_digits().first().copied());
    let entry = |entry: &RevokedCertificate<'_>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(entry.raw_serial()),
        revocation_time: entry.revocation_date.to_datetime(),
        reason_code: None,
        invalidity_date: None,
    };
    Ok((
        number.unwrap_or_default(),
        list.iter_revoked_certificates().map(entry).collect(),
    ))
}

/// By what a certificate names its authority: the name, and the key's identifier where it has one. All of `godwit certs init` have one name.
type Authority = (Vec<u8>, Option<Vec<u8>>);

fn authority(file: &Path) -> Result<Authority, Error> {
    with_certificate(file, |certificate| {
        let key = certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_owned()),
                _ => None,
            });
        Ok((certificate.subject().as_raw().to_owned(), key))
    })
}

/// The serial number of a certificate that this authority signed: a list speaks of no others.
fn serial(file: &Path, (name, key): &Authority) -> Result<Vec<u8>, Error> {
    with_certificate(file, |certificate| {
        let signed_by =
            certificate
                .iter_extensions()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::AuthorityKeyIdentifier(of) => {
                        of.key_identifier.as_ref().map(|key| key.0.to_owned())
                    }
                    _ => None,
                });
        let same_key = key.is_none() || signed_by.is_none() || *key == signed_by;
        match certificate.issuer().as_raw() == name.as_slice() && same_key {
            _ if certificate.is_ca() => Err(refused(
                format!("{} is the authority itself", file.display()),
                "make a new one with `godwit certs init`, in another directory",
            )),
            true => Ok(certificate.raw_serial().to_owned()),
            false => Err(refused(
                format!("{} is of another authority", file.display()),
                "name the directory of the one that signed it with --dir",
            )),
        }
    })
}

fn with_certificate<T>(
    file: &Path,
    look: impl FnOnce(&X509Certificate<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let bytes = fs::read(file).map_err(|error| unusable(file, &error))?;
    let (_, pem) = parse_x509_pem(&bytes).map_err(|error| unusable(file, &error))?;
    let certificate = pem.parse_x509().map_err(|error| unusable(file, &error))?;
    look(&certificate)
}

/// Without the zeros that DER may put before a number.
fn bare(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}
