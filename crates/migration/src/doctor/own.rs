//! The daemon's own configuration: its certificate, and the ways to its peers' libvirts.

use super::{Diagnosis, Finding, OwnFacts, RouteFacts, Severity, endpoint};

/// A certificate that ends so soon is told of, days.
const SOON: i64 = 14;

pub(super) fn own(facts: &OwnFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    if let Some(Some(days)) = diagnosis.known("this host's certificate", &facts.certificate_days) {
        let fix = "sign a new one, put it where [tls] in godwitd.toml has it: it is used without a restart";
        diagnosis
            .findings
            .extend(certificate(*days, "", "this host's certificate", fix));
    }
    if facts.routes.is_empty() {
        diagnosis.add(Finding {
            severity: Severity::Hint,
            reason: "NO_PEER",
            about: String::new(),
            what: "the configuration names no peer".into(),
            why: "guests can be put on standby and accelerated here, and migrated nowhere".into(),
            fix: "add [tls] and a [[peer]] to godwitd.toml; systemctl restart godwitd".into(),
        });
    } else if !facts.listens {
        diagnosis.add(Finding {
            severity: Severity::Hint,
            reason: "NO_LISTENER",
            about: String::new(),
            what: "the configuration has no `listen`".into(),
            why: "this host sends guests and receives none".into(),
            fix: "add `listen` with address and port to godwitd.toml; systemctl restart godwitd".into(),
        });
    }
    diagnosis.findings.extend(facts.routes.iter().filter_map(route));
    diagnosis
}

/// Whole days from now until a certificate ends, both in milliseconds since 1970; less than 0 afterwards.
pub fn days_left(end_ms: i64, now_ms: i64) -> i64 {
    end_ms.saturating_sub(now_ms).div_euclid(86_400_000)
}

/// A certificate that has ended, or will soon. `whose` begins the sentence.
pub(super) fn certificate(days: i64, about: &str, whose: &str, fix: &str) -> Option<Finding> {
    let (severity, what) = match days {
        ..0 => (Severity::Error, format!("{whose} has ended, {} days ago", -days)),
        0..=SOON => (Severity::Warning, format!("{whose} ends in {days} days")),
        _ => return None,
    };
    Some(Finding {
        severity,
        reason: "CERTIFICATE",
        about: about.into(),
        what,
        why: "hosts talk to each other by mutual TLS alone: with a certificate that has ended they do not"
            .into(),
        fix: fix.into(),
    })
}

/// What is wrong with the way to a peer's libvirt.
pub fn route(facts: &RouteFacts) -> Option<Finding> {
    let RouteFacts {
        peer,
        migrate_uri,
        reached,
    } = facts;
    let finding = |severity, what, why: &str, fix: String| Finding {
        severity,
        reason: "MIGRATE_URI",
        about: peer.clone(),
        what,
        why: why.into(),
        fix,
    };
    let transfer = "libvirt here sends guests to libvirt there by this URI: the transfer would fail";
    let place = match endpoint(migrate_uri) {
        Ok(place) => place,
        Err(wrong) => {
            let what = format!("`migrate_uri` of peer {peer} is not plausible: {wrong} (`{migrate_uri}`)");
            let fix = format!("in godwitd.toml, for example: `migrate_uri = \"qemu+tls://{peer}/system\"`");
            return Some(finding(Severity::Error, what, transfer, fix));
        }
    };
    if let Some(Err(why)) = reached {
        let what = format!(
            "nobody answers at {} port {}, `migrate_uri` of peer {peer}: {why}",
            place.host, place.port
        );
        let fix = format!(
            "virsh -c {migrate_uri} list; on {peer}: systemctl status libvirtd-tls.socket virtproxyd-tls.socket"
        );
        return Some(finding(Severity::Error, what, transfer, fix));
    }
    (place.transport == "tcp").then(|| {
        let what = format!("libvirt's connection to {peer} is not encrypted (`qemu+tcp`)");
        let why = "whoever is on that network can read it, and command the libvirt there";
        let fix = format!(
            "`migrate_uri = \"qemu+tls://{peer}/system\"` in godwitd.toml, with certificates for libvirt"
        );
        finding(Severity::Hint, what, why, fix)
    })
}
