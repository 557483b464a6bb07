//! What hosts and guest wrote, for a person who looks for the reason of a failure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::{Host, Place, command, host, ssh};

const COLLECT: &str = "virsh() { timeout 20 /usr/bin/virsh \"$@\"; }; cd / && (dmesg >/tmp/dmesg.log; virsh list --all >/tmp/domains.txt; \
    for domain in $(virsh -q list --all --name); do virsh dumpxml $domain >/tmp/$domain.xml; done; \
    timeout 60 rig-vf list >/tmp/vfs.txt; ip -s -d link >/tmp/links.txt) 2>/dev/null; \
    tar --create --ignore-failed-read var/log/libvirt $(ls -d var/log/*.log var/log/*.console tmp/*.log \
    tmp/*.txt tmp/*.xml var/lib/godwit 2>/dev/null)";

/// Copies everything into `dir`, one directory per host, and what the guests themselves have to say.
pub fn collect(place: &Place, dir: &Path) -> Result<()> {
    for host in Host::ALL {
        let dir = dir.join(host.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for file in ["console", "console.previous", "qemu.log"] {
            let from = place.run().join(format!("{host}.{file}"));
            let _ = fs::copy(from, dir.join(file));
        }
        if host::process(place, host).is_none() {
            continue;
        }
        let archive = dir.join("logs.tar");
        let mut ssh = ssh::command(place, host, COLLECT);
        let out = ssh
            .stdin(std::process::Stdio::null())
            .stdout(fs::File::create(&archive)?)
            .status()?;
        let mut extract = command::command("tar", ["--extract", "--file"]);
        extract.arg(&archive).arg("--directory").arg(&dir);
        if out.success() && command::succeeds(&mut extract) {
            fs::remove_file(archive)?;
        }
    }
    for guest in Guest::ALL {
        let Some(host) = guest.locate(place)? else {
            continue;
        };
        let ask = "dmesg; cat /proc/net/bonding/*; ip address; ip route; ps";
        let said = guest
            .shell(place, host, ask)
            .map_or_else(|error| format!("{error:#}"), |answer| answer.text);
        fs::write(dir.join(format!("{guest}.txt")), said)?;
    }
    Ok(())
}

/// Collects into a directory named after what failed; says where, and shows the ends of the daemons' logs.
pub fn after_failure(place: &Place, what: &str) {
    let dir: PathBuf = place.dir.join("logs").join(what.replace(' ', "-"));
    let _ = fs::remove_dir_all(&dir);
    if let Err(error) = collect(place, &dir) {
        crate::say(format!("not all logs could be collected: {error:#}"));
    }
    crate::say(format!("logs of hosts and guest are in {}", dir.display()));
    for host in Host::ALL {
        let logs = dir.join(host.name()).join("var/log");
        crate::say(format!("the end of godwitd's log on {host}:"));
        for line in end_of(&logs.join("godwitd.log"), 25) {
            crate::say(format!("  {line}"));
        }
        // Those that ran when the logs were collected: they were asked then.
        let ran = |guest: &Guest| dir.join(format!("{guest}.txt")).exists();
        for guest in Guest::ALL.into_iter().filter(ran) {
            for line in end_of(&logs.join(format!("{guest}.console")), 8) {
                crate::say(format!("{guest} on {host}: {}", line.escape_debug()));
            }
        }
    }
}

/// The last lines of a file; none if there is none.
fn end_of(file: &Path, most: usize) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(most);
    lines[from..].iter().map(|line| (*line).to_owned()).collect()
}
