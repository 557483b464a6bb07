//! `godwit certs`: a small authority for those who have none. It asks no daemon.

mod revoke;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use godwit_api::v1::Failure;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::args::Certs;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;

/// The authority's own certificate.
const AUTHORITY_DAYS: u32 = 3650;
/// A certificate that ends this soon is a warning.
const SOON_DAYS: i64 = 30;

pub(super) fn certs(act: &Certs, out: &mut Output) -> Result<u8, Error> {
    match act {
        Certs::Init {
            dir,
            host,
            operator,
            days,
        } => {
            let hosts = host.iter().map(|name| (name, true));
            let wanted: Vec<_> = hosts.chain(operator.iter().map(|name| (name, false))).collect();
            let made = init(dir, &wanted, *days)?;
            told(&made, out)
        }
        Certs::Revoke { dir, name, file } => {
            let named = name
                .iter()
                .map(|name| Files::of(dir, &file_name(name)).certificate);
            let wanted: Vec<PathBuf> = named.chain(file.iter().cloned()).collect();
            revoke::revoke(dir, &wanted, out)
        }
        Certs::Check { files } => check(files, out),
    }
}

/// Makes the authority where there is none, and a certificate for each name; the files. Nothing is made if one of them
/// is there already.
fn init(dir: &Path, wanted: &[(&String, bool)], days: u32) -> Result<Vec<PathBuf>, Error> {
    let ca = Files::of(dir, "ca");
    let names = wanted.iter().map(|(name, _)| Files::of(dir, &file_name(name)));
    let names: Vec<Files> = names.collect();
    let all = names.iter().flat_map(|files| [&files.certificate, &files.key]);
    let all: Vec<&PathBuf> = all.collect();
    for (index, path) in all.iter().enumerate() {
        if path.exists() || all[..index].contains(path) || [&ca.certificate, &ca.key].contains(path) {
            return Err(there(path));
        }
    }
    directory(dir)?;
    let mut made = Vec::new();
    let issuer = match (ca.certificate.exists(), ca.key.exists()) {
        (true, true) => ca.read()?,
        (false, false) => {
            made.extend([ca.certificate.clone(), ca.key.clone()]);
            ca.make_authority()?
        }
        (true, false) => return Err(lacks(&ca.key, &ca.certificate)),
        (false, true) => return Err(lacks(&ca.certificate, &ca.key)),
    };
    for ((name, is_host), files) in wanted.iter().zip(names) {
        let params = of_name(name, *is_host, days)?;
        let key = KeyPair::generate().map_err(odd)?;
        let certificate = params.signed_by(&key, &issuer).map_err(odd)?;
        files.write(&certificate.pem(), &key.serialize_pem())?;
        made.extend([files.certificate, files.key]);
    }
    Ok(made)
}

/// Certificate and key of one name.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(dir: &Path, name: &str) -> Files {
        Files {
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        }
    }

    fn make_authority(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let mut params = CertificateParams::new(Vec::new()).map_err(odd)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Godwit authority");
        valid(&mut params, AUTHORITY_DAYS)?;
        let key = KeyPair::generate().map_err(odd)?;
        let certificate = params.self_signed(&key).map_err(odd)?;
        self.write(&certificate.pem(), &key.serialize_pem())?;
        Ok(Issuer::new(params, key))
    }

    fn read(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let text = |path: &Path| fs::read_to_string(path).map_err(|error| unusable(path, &error));
        let key = KeyPair::from_pem(&text(&self.key)?).map_err(|error| unusable(&self.key, &error))?;
        Issuer::from_ca_cert_pem(&text(&self.certificate)?, key)
            .map_err(|error| unusable(&self.certificate, &error))
    }

    /// The key first, and readable for this user alone from its first moment on.
    fn write(&self, certificate: &str, key: &str) -> Result<(), Error> {
        write(&self.key, key, 0o600)?;
        write(&self.certificate, certificate, 0o644)
    }
}

/// Whoever has a host's certificate answers and asks; an operator only asks.
fn of_name(name: &str, is_host: bool, days: u32) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(odd)?;
    let text = name.try_into().map_err(odd)?;
    let alternative = match () {
        () if !is_host && name.contains("://") => SanType::URI(text),
        () if !is_host && name.contains('@') => SanType::Rfc822Name(text),
        () => SanType::DnsName(text),
    };
    params.subject_alt_names = vec![alternative];
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if is_host {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, days)?;
    Ok(params)
}

/// From yesterday, because clocks differ.
fn valid(params: &mut CertificateParams, days: u32) -> Result<(), Error> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    let end = today.checked_add(i64::from(days).days()).map_err(odd)?;
    params.not_before = day(today.yesterday().map_err(odd)?);
    params.not_after = day(end);
    Ok(())
}

/// A URI has characters that a file's name should not.
fn file_name(name: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '@' => c,
        '.' => c,
        _ => '_',
    };
    name.chars()
        .map(plain)
        .collect::<String>()
        .trim_start_matches('.')
        .into()
}

fn directory(dir: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| unusable(dir, &error))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there(path),
        _ => unusable(path, &error),
    })
}

fn told(made: &[PathBuf], out: &mut Output) -> Result<u8, Error> {
    let files: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
    if out.is_json() {
        out.json(&serde_json::json!({ "files": files }))?;
    } else {
        for file in &files {
            out.ours(&format!("made {file}\n"))?;
        }
    }
    Ok(exit::DONE)
}

/// What a certificate says.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    /// Those by which Godwit knows who it is.
    names: Vec<String>,
    ends: String,
    days_left: i64,
    valid: bool,
}

fn check(files: &[PathBuf], out: &mut Output) -> Result<u8, Error> {
    let now = Timestamp::now().as_second();
    let mut worst = exit::DONE;
    for file in files {
        let bytes = fs::read(file).map_err(|error| unusable(file, &error))?;
        for pem in Pem::iter_from_buffer(&bytes) {
            let pem = pem.map_err(|error| unusable(file, &error))?;
            let certificate = pem.parse_x509().map_err(|error| unusable(file, &error))?;
            let checked = checked(file, &certificate, now)?;
            worst = worst.max(match checked.days_left {
                _ if !checked.valid => exit::NEEDS_PERSON,
                days if days < SOON_DAYS => exit::ON_STANDBY,
                _ => exit::DONE,
            });
            if out.is_json() {
                out.json(&checked)?;
            } else {
                out.ours(&sentence(&checked))?;
            }
        }
    }
    Ok(worst)
}

fn checked(file: &Path, certificate: &X509Certificate<'_>, now: i64) -> Result<Checked, Error> {
    let validity = certificate.validity();
    let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some(name.chars().filter(|c| !c.is_control()).collect())
        }
        _ => None,
    };
    let named = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = named
        .iter()
        .flat_map(|names| names.value.general_names.iter().filter_map(name))
        .collect();
    // An authority needs none.
    let known = certificate.is_ca() || !names.is_empty();
    Ok(Checked {
        file: file.display().to_string(),
        names,
        ends: Timestamp::from_second(ends).map_err(odd)?.to_string(),
        days_left: (ends - now).div_euclid(86_400),
        valid: known && begins <= now && now < ends,
    })
}

fn sentence(checked: &Checked) -> String {
    let names = match checked.names.as_slice() {
        [] => "no name".into(),
        names => names.join(", "),
    };
    let state = match checked.valid {
        true => format!("valid for {} days", checked.days_left),
        false => "not valid".into(),
    };
    format!("{}: {names}; {state}, until {}\n", checked.file, checked.ends)
}

fn there(path: &Path) -> Error {
    let message = format!("{} is there already, and nothing was made", path.display());
    refused(
        message,
        "take another name or directory, or move the file away first",
    )
}

fn lacks(missing: &Path, beside: &Path) -> Error {
    let message = format!("{} is there, and {} is not", beside.display(), missing.display());
    refused(
        message,
        "an authority is both: bring the other one back, or take another directory",
    )
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Error {
    refused(format!("{}: {error}", path.display()), "")
}

fn odd(error: impl std::error::Error) -> Error {
    refused(format!("no certificate can be made: {error}"), "")
}

fn refused(message: String, hint: &str) -> Error {
    let failure = Failure {
        reason: "CERTIFICATES".into(),
        message,
        causes: Vec::new(),
        hint: hint.into(),
    };
    Error::Refused {
        failure: Box::new(failure),
    }
}
