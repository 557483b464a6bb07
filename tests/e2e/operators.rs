//! An operator who asks another host than the one he is on, and what he sends to who is to help him.

use std::fs;

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::guest::WEB_1;
use godwit_rig::{Host, ssh};

use crate::stage::{PATIENCE, Stage, refused};

/// On alpha, which is here no more than where the operator sits.
const DESK: &str = "/tmp/operator";

/// By the rig's own authority, with a role on beta that may look and no more.
pub(crate) fn asks_another_host(stage: &Stage) -> Result<()> {
    stage.on(Host::Alpha, &format!("rm -rf {DESK} && mkdir -m 700 {DESK}"))?;
    for name in ["ca.pem", "ca.key"] {
        let bytes = fs::read(stage.place.tls().join(name))?;
        ssh::run_with(
            &stage.place,
            Host::Alpha,
            &format!("umask 077; cat >{DESK}/{name}"),
            &bytes,
        )?;
    }
    stage
        .godwit(&format!("certs init --dir {DESK} --operator fleet"))?
        .done()?;
    stage.configure(Host::Beta, "[[operator]]\nname = \"fleet\"\nrole = \"view\"\n")?;
    let beta = Host::Beta.address();
    let set = format!(
        "context set lab --address {beta}:7716 --server-name beta --ca {DESK}/ca.pem \
         --certificate {DESK}/fleet.pem --key {DESK}/fleet.key"
    );
    stage.godwit(&set)?.done()?;
    let hosts = wait_for("beta's daemon", PATIENCE, || {
        let answer = stage.godwit("--context lab hosts --json")?;
        Ok((answer.code == 0).then_some(answer))
    })?;
    ensure!(
        hosts.out.contains("{\"name\":\"beta\",\"here\":true,"),
        "{}",
        hosts.out
    );
    refused(&stage.godwit(&format!("--context lab accelerate {WEB_1}"))?, "")?;
    // Alpha answers at its address, and is not called so.
    let alpha = format!("--context lab --host {}:7716 guests", Host::Alpha.address());
    refused(&stage.godwit(&alpha)?, "its certificate has another name")?;
    // Everybody on alpha could be the operator.
    stage.on(Host::Alpha, &format!("chmod 644 {DESK}/fleet.key"))?;
    refused(&stage.godwit("--context lab guests")?, "can be read by everybody")?;
    stage.godwit("context remove lab")?.done()?;
    stage.on(Host::Alpha, &format!("rm -rf {DESK}")).map(drop)
}

pub(crate) fn bundle_without_keys(stage: &Stage) -> Result<()> {
    stage.on(Host::Alpha, &format!("rm -rf {DESK} && mkdir -m 700 {DESK}"))?;
    let answer = stage.godwit(&format!("support-bundle {WEB_1} --output {DESK}/bundle.tar.gz"))?;
    // Whether a host of the rig has a journald is all one.
    ensure!(matches!(answer.code, 0 | 3), "{answer:?}");
    let look = format!(
        "cd {DESK} && stat -c %a bundle.tar.gz && tar -xzf bundle.tar.gz && cd godwit-support-alpha-* && \
         key=$(sed -n 2p /etc/godwit/host.key) && [ -n \"$key\" ] && ! grep -rqF -e \"$key\" . && \
         ! grep -rq -e '-----BEGIN' . && grep -q '^host = \"alpha\"' godwitd.toml && \
         grep -q '\"here\": true' hosts.json && grep -q '\"name\": \"{WEB_1}\"' guests.json && \
         test -s libvirtd.txt && test -s kernel.txt && test -s pools.json"
    );
    let mode = stage.on(Host::Alpha, &look)?;
    ensure!(mode.trim() == "600", "{mode}");
    stage.on(Host::Alpha, &format!("rm -rf {DESK}")).map(drop)
}
