//! An authority, and the keys that it signs.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use godwit_server::Files;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    /// A client of that name whose certificate has that serial number.
    pub(crate) fn client_with_serial(&self, name: &str, serial: u64) -> ClientTlsConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        self.trusted()
            .identity(Identity::from_pem(certificate, key.serialize_pem()))
    }

    /// Its list of revoked certificates, which ended long ago.
    pub(crate) fn list(&self, serials: &[u64]) -> String {
        self.listed(serials.iter().map(|serial| SerialNumber::from(*serial)))
    }

    /// The same, with that certificate.
    pub(crate) fn list_of(&self, pem: &[u8]) -> String {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        self.listed([SerialNumber::from_slice(certificate.raw_serial())].into_iter())
    }

    fn listed(&self, serials: impl Iterator<Item = SerialNumber>) -> String {
        let revoked = |serial_number: SerialNumber| RevokedCertParams {
            serial_number,
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2024, 1, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Certificate and key of that name, until the end of that year.
    fn signed(&self, name: &str, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// What a client needs to come as that name.
    pub(crate) fn client(&self, name: &str) -> ClientTlsConfig {
        self.client_until(name, 2099)
    }

    pub(crate) fn client_until(&self, name: &str, year: i32) -> ClientTlsConfig {
        let (certificate, key) = self.signed(name, year);
        self.trusted().identity(Identity::from_pem(certificate, key))
    }

    /// A client that shows nothing.
    pub(crate) fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem))
    }

    /// A host's files, until the end of that year.
    pub(crate) fn files(&self, directory: &Path, name: &str, year: i32) -> Files {
        let (certificate, key) = self.signed(name, year);
        let file = |name: &str, text: &str| -> PathBuf {
            let path = directory.join(name);
            // As a tool would do it that renews keys: a new file in the place of the old one.
            let _ = fs::remove_file(&path);
            let mut open = fs::OpenOptions::new();
            let mut made = open.create_new(true).write(true).mode(0o600).open(&path).unwrap();
            std::io::Write::write_all(&mut made, text.as_bytes()).unwrap();
            path
        };
        Files {
            ca: file("ca.pem", &self.pem),
            certificate: file("host.pem", &certificate),
            key: file("host.key", &key),
            crl: None,
        }
    }
}
