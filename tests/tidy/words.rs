//! One word for one thing: what docs/glossary.md says, as a list of what is not written in text for people.

use crate::{
    exceptions::{Measured, Rule, judge},
    prose,
};

const WORD: Rule = Rule {
    name: "word",
    limit: 0,
    advice: "docs/glossary.md has the word for it",
};

pub(crate) const RULES: [Rule; 1] = [WORD];

/// Not this, but that. A `*` stands for any ending.
const NOT: [(&str, &str); 47] = [
    ("failover*", "fail over"),
    ("failed-over", "on standby"),
    ("failback*", "fail back"),
    ("hotplug*", "plug"),
    ("hot-plug*", "plug"),
    ("hot plug*", "plug"),
    ("hotunplug*", "unplug"),
    ("hot-unplug*", "unplug"),
    ("hot unplug*", "unplug"),
    ("attach*", "plug"),
    ("detach*", "unplug"),
    ("replug*", "plug again"),
    ("reservation*", "hold"),
    ("lease*", "hold"),
    ("backup nic*", "standby"),
    ("backup interface*", "standby"),
    ("backup port*", "standby"),
    ("backup path*", "standby"),
    ("secondary", "standby"),
    ("failover nic*", "standby"),
    ("slave*", "port"),
    ("live-migrat*", "move, migrate"),
    ("live migrate*", "move, migrate"),
    ("live migrating", "move, migrate"),
    ("relocat*", "move, migrate"),
    ("evacuat*", "move, migrate"),
    ("vmotion*", "migration"),
    ("switchover*", "switch-over"),
    ("cutover*", "switch-over"),
    ("hypervisor*", "host"),
    ("compute node*", "host"),
    ("source node*", "source"),
    ("source host*", "source"),
    ("sending host*", "source"),
    ("origin host*", "source"),
    ("target*", "destination"),
    ("destination node*", "destination"),
    ("receiving host*", "destination"),
    ("remote host*", "peer"),
    ("virtual machine*", "guest"),
    ("vm", "guest"),
    ("vms", "guests"),
    ("hostname*", "host name"),
    ("network card*", "NIC"),
    ("network adapter*", "NIC"),
    ("blacklist*", "quarantine"),
    ("guest-agent*", "agent"),
];

/// Spelled so only, small and capital letters included.
const SPELLED: [&str; 10] = [
    "libvirt", "QEMU", "SR-IOV", "VF", "VFs", "MAC", "UUID", "PCI", "gRPC", "SQLite",
];

#[test]
fn text_for_people_has_the_words_of_the_glossary() {
    // It says what the words stand for, so it has others.
    let lines = prose::all()
        .into_iter()
        .filter(|line| line.path != "docs/glossary.md");
    let mut found: Vec<Measured> = Vec::new();
    for line in lines {
        for (wrong, right) in wrong(&line.text) {
            let place = format!("{} {wrong}", line.path);
            let detail = format!("line {}: say {right}", line.number);
            match found.iter_mut().find(|found| found.place == place) {
                Some(found) => {
                    found.number += 1;
                    found.detail = format!("{}, {detail}", found.detail);
                }
                None => found.push(Measured {
                    place,
                    number: 1,
                    detail,
                }),
            }
        }
    }
    judge(&WORD, &found);
}

/// What is in the text, and what is to be said instead.
fn wrong(text: &str) -> Vec<(&'static str, &'static str)> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && !"-_".contains(c))
        .collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let mut all = Vec::new();
    for at in 0..words.len() {
        all.extend(NOT.iter().filter(|(wrong, _)| begins(&words[at..], wrong)));
        let word = words[at];
        let misspelled = |right: &&&str| {
            word.eq_ignore_ascii_case(right) && word != **right && word != right.to_uppercase()
        };
        all.extend(SPELLED.iter().filter(misspelled).map(|right| (*right, *right)));
    }
    all
}

/// Names of code (`FailOver`, `all_slaves_active`) are no words.
fn begins(words: &[&str], pattern: &str) -> bool {
    let is = |word: &str, pattern: &str| {
        let hump = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
        let name = word.contains('_') || word.as_bytes().windows(2).any(hump);
        let word = word.to_lowercase();
        !name
            && match pattern.strip_suffix('*') {
                Some(stem) => word.starts_with(stem),
                None => word == pattern,
            }
    };
    let count = pattern.split(' ').count();
    words.len() >= count
        && pattern
            .split(' ')
            .zip(words)
            .all(|(pattern, word)| is(word, pattern))
}

#[test]
fn wrong_words_are_seen_and_names_are_not() {
    let seen = |text: &str| wrong(text).iter().map(|(wrong, _)| *wrong).collect::<Vec<_>>();
    assert_eq!(
        seen("A failover, then Attached; a backup NIC."),
        ["failover*", "attach*", "backup nic*"]
    );
    assert_eq!(seen("VMs are live migrated"), ["vms", "live migrate*"]);
    assert_eq!(
        seen("Libvirt, qemu, LIBVIRT and libvirt: a vf"),
        ["libvirt", "QEMU", "VF"]
    );
    assert!(seen("FailOver moves it, net_failover too; an active-backup bond in live migration").is_empty());
}
