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
