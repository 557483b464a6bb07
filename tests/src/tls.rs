//! A certificate for each host, and the authority that signed them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::{Host, Place};

/// The files one host needs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The authority both trust.
    pub ca: PathBuf,
    /// The host's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes what is missing.
pub fn identity(place: &Place, host: Host) -> Result<Identity> {
    let dir = place.tls();
    fs::create_dir_all(&dir)?;
    let (ca, ca_key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !ca.exists() {
        let mut make = command("openssl", NEW_KEY);
        make.args(["-x509", "-days", "3650", "-subj", "/CN=Godwit rig"]);
        make.args([
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        made(&ca, make.arg("-keyout").arg(&ca_key))?;
    }
    let certificate = dir.join(format!("{host}.pem"));
    let key = dir.join(format!("{host}.key"));
    if !certificate.exists() {
        let mut make = command("openssl", NEW_KEY);
        make.args(["-x509", "-days", "3650", "-subj", &format!("/CN={host}")]);
        make.arg("-CA").arg(&ca).arg("-CAkey").arg(&ca_key);
        for extension in [
            &format!("subjectAltName=DNS:{host}"),
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            "extendedKeyUsage=serverAuth,clientAuth",
        ] {
            make.args(["-addext", extension]);
        }
        made(&certificate, make.arg("-keyout").arg(&key))?;
    }
    Ok(Identity { ca, certificate, key })
}

const NEW_KEY: [&str; 6] = [
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
];

/// The certificate gets its name last: without it, key and all are made again.
fn made(certificate: &PathBuf, openssl: &mut std::process::Command) -> Result<()> {
    let making = certificate.with_extension("making");
    run(openssl.arg("-noenc").arg("-out").arg(&making)).context("cannot make certificates")?;
    fs::rename(making, certificate).context("cannot make certificates")
}
