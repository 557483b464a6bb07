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

/// Where a host's are.
pub fn identity(place: &Place, host: Host) -> Identity {
    let file = |name: String| place.tls().join(name);
    Identity {
        ca: file("ca.pem".into()),
        certificate: file(format!("{host}.pem")),
        key: file(format!("{host}.key")),
    }
}

/// Makes what is missing.
pub fn make(place: &Place) -> Result<()> {
    fs::create_dir_all(place.tls())?;
    let ca_key = place.tls().join("ca.key");
    for host in Host::ALL {
        let Identity { ca, certificate, key } = identity(place, host);
        if !ca.exists() {
            let mut make = command("openssl", NEW_KEY);
            make.args(["-x509", "-days", "3650", "-subj", "/CN=Godwit rig"]);
            make.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
            make.args(["-addext", "keyUsage=critical,keyCertSign"]);
            made(&ca, make.arg("-keyout").arg(&ca_key))?;
        }
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
    }
    Ok(())
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
