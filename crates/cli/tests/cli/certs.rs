//! `godwit certs`: a small authority, in files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::story::{Run, run};

fn certs(args: &[&str]) -> Run {
    let mut all = vec!["certs"];
    all.extend(args);
    run(Path::new("/nowhere"), &all)
}

#[test]
fn an_authority_is_made_once_and_signs_whoever_comes_later() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("ca");
    let at = |name: &str| dir.join(name).display().to_string();
    let dir_name = dir.display().to_string();
    let made = certs(&[
        "init",
        "--dir",
        &dir_name,
        "--host",
        "alpha",
        "--operator",
        "spiffe://fleet/mover",
    ]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for key in ["ca.key", "alpha.key", "spiffe___fleet_mover.key"] {
        assert_eq!(mode(&dir.join(key)), 0o600, "{key}");
    }
    let authority = fs::read(dir.join("ca.pem")).unwrap();

    // The same again, and with a new name beside it: nothing is made.
    let again = certs(&["init", "--dir", &dir_name, "--host", "beta", "--host", "alpha"]);
    assert_eq!(again.code, 1);
    assert!(
        again
            .err
            .contains("alpha.pem is there already, and nothing was made"),
        "{}",
        again.err
    );
    assert!(!dir.join("beta.pem").exists());
    let later = certs(&["init", "--dir", &dir_name, "--host", "beta", "--days", "20"]);
    assert_eq!((later.code, later.err.as_str()), (0, ""));
    assert_eq!(
        fs::read(dir.join("ca.pem")).unwrap(),
        authority,
        "the authority is the same"
    );

    let good = certs(&["check", &at("alpha.pem"), &at("ca.pem")]);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert!(
        good.out.contains("alpha.pem: alpha; valid for 82"),
        "{}",
        good.out
    );
    assert_eq!(certs(&["check", &at("beta.pem")]).code, 3, "it ends soon");
    let json = certs(&["--json", "check", &at("spiffe___fleet_mover.pem")]);
    assert!(
        json.out.contains(r#""names":["spiffe://fleet/mover"]"#),
        "{}",
        json.out
    );
    // As somebody sees it who knows nothing of Godwit.
    let verified = std::process::Command::new("openssl")
        .args([
            "verify",
            "-CAfile",
            &at("ca.pem"),
            &at("alpha.pem"),
            &at("beta.pem"),
        ])
        .output();
    if let Ok(verified) = verified {
        assert!(verified.status.success(), "{verified:?}");
    }
}

#[test]
fn names_lead_nowhere_else_and_half_an_authority_is_none() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("ca");
    let dir_name = dir.display().to_string();
    let out = certs(&["init", "--dir", &dir_name, "--host", "../../../etc/evil"]);
    assert_ne!(out.code, 101);
    assert!(fs::read_dir(place.path()).unwrap().count() <= 1);
    let own = certs(&["init", "--dir", &dir_name, "--host", "ca"]);
    assert_eq!(own.code, 1, "a host named as the authority's files");
    fs::remove_file(dir.join("ca.key")).unwrap();
    let half = certs(&["init", "--dir", &dir_name, "--host", "alpha"]);
    assert_eq!(half.code, 1);
    assert!(half.err.contains("ca.key is not"), "{}", half.err);
    let none = certs(&["check", &dir.join("none.pem").display().to_string()]);
    assert_eq!(none.code, 1);
}

#[test]
fn what_was_revoked_stays_revoked() {
    let place = tempfile::tempdir().unwrap();
    let (dir, other) = (place.path().join("ca"), place.path().join("other"));
    let at = |name: &str| dir.join(name).display().to_string();
    let (dir_name, other_name) = (dir.display().to_string(), other.display().to_string());
    let init = |dir: &str, name: &str| certs(&["init", "--dir", dir, "--host", name]);
    for (dir, name) in [
        (&dir_name, "alpha"),
        (&dir_name, "beta"),
        (&dir_name, "gamma"),
        (&other_name, "alpha"),
    ] {
        assert_eq!(init(dir, name).code, 0);
    }
    let first = certs(&["revoke", "--dir", &dir_name, "gamma"]);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert!(
        first.out.contains("gamma.pem is revoked\n") && first.out.contains("ca.crl"),
        "{}",
        first.out
    );
    // A host that was lost and made again: its old certificate is elsewhere by now.
    let old = place.path().join("old.pem");
    fs::rename(dir.join("beta.pem"), &old).unwrap();
    fs::remove_file(dir.join("beta.key")).unwrap();
    assert_eq!(init(&dir_name, "beta").code, 0);
    let again = certs(&[
        "revoke",
        "--dir",
        &dir_name,
        "gamma",
        "--file",
        &old.display().to_string(),
    ]);
    assert!(
        again.out.contains("gamma.pem is already revoked"),
        "{}",
        again.out
    );
    let (foreign, own) = (other.join("alpha.pem").display().to_string(), at("ca.pem"));
    for (what, args) in [
        ("of another authority", ["--file", foreign.as_str()]),
        ("the authority itself", ["--file", own.as_str()]),
        ("nobody.pem", ["--", "nobody"]),
    ] {
        let refused = certs(&[&["revoke", "--dir", dir_name.as_str()][..], &args].concat());
        assert_eq!(refused.code, 1, "{what}");
        assert!(refused.err.contains(what), "{}", refused.err);
    }
    // As somebody sees it who knows nothing of Godwit.
    let verify = |file: &str| {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args([
            "verify",
            "-crl_check",
            "-CAfile",
            &at("ca.pem"),
            "-CRLfile",
            &at("ca.crl"),
            file,
        ]);
        openssl.output().map(|output| output.status.success())
    };
    if let Ok(good) = verify(&at("alpha.pem")) {
        assert!(good);
        assert!(verify(&at("beta.pem")).unwrap(), "the new one");
        assert!(!verify(&at("gamma.pem")).unwrap() && !verify(&old.display().to_string()).unwrap());
    }
}
