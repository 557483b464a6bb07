//! Stories of libvirt's own options of a transfer, and of what is found before one begins.

use anyhow::{Context, Result, ensure};
use godwit_rig::Host;
use godwit_rig::godwit::Move;
use godwit_rig::guest::WEB_1;

use crate::stage::{PATIENCE, Stage, refused};

/// What is typed is what libvirt and QEMU have while the memory is copied.
pub(crate) fn are_qemus(stage: &Stage) -> Result<()> {
    let to = "beta --bandwidth 2MiB/s --downtime 250ms --parallel 3 --auto-converge=25,15";
    let mut moving = Move::begin(&stage.place, Host::Alpha, WEB_1.name, to)?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    stage.memory_moves()?;
    let downtime = stage.on(Host::Alpha, "virsh -q migrate-getmaxdowntime web-1")?;
    ensure!(downtime.trim() == "250", "libvirt has the downtime {downtime:?}");
    let ask = r#"virsh -q qemu-monitor-command web-1 '{"execute":"query-migrate-parameters"}'"#;
    let answer: serde_json::Value = serde_json::from_str(&stage.on(Host::Alpha, ask)?)?;
    let wanted = [
        ("max-bandwidth", 2 << 20),
        ("downtime-limit", 250),
        ("multifd-channels", 3),
        ("cpu-throttle-initial", 25),
        ("cpu-throttle-increment", 15),
    ];
    for (name, value) in wanted {
        let has = &answer["return"][name];
        ensure!(
            has.as_u64() == Some(value),
            "QEMU has {name} {has} instead of {value}"
        );
    }
    let ask = r#"virsh -q qemu-monitor-command web-1 '{"execute":"query-migrate-capabilities"}'"#;
    let answer = stage.on(Host::Alpha, ask)?;
    let on = |name: &str| {
        let capabilities: serde_json::Value = serde_json::from_str(&answer)?;
        let all = capabilities["return"].as_array().context("no capabilities")?;
        let found = all.iter().find(|capability| capability["capability"] == name);
        Ok::<_, anyhow::Error>(found.is_some_and(|capability| capability["state"] == true))
    };
    for name in ["multifd", "auto-converge"] {
        ensure!(on(name)?, "{name} is off in QEMU");
    }
    let shown = stage.godwit(&format!("show {}", moving.last.id))?;
    let words =
        "at most 2 MiB/s, downtime 250 ms, 3 parallel connections, auto-converge (25 % first, 15 % more)";
    ensure!(shown.out.contains(words), "{}", shown.out);
    stage.transfer_ends()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    stage.guest_is_accelerated_on(Host::Beta)
}

/// From one host to the other with a part of its memory not yet there.
pub(crate) fn post_copy(stage: &Stage) -> Result<()> {
    let to = "beta --bandwidth 2MiB/s --post-copy --transfer-timeout 5s --timeout-action post-copy";
    let mut moving = Move::begin(&stage.place, Host::Alpha, WEB_1.name, to)?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    let mut details = moving
        .last
        .timeline
        .iter()
        .filter_map(|step| step.detail.as_deref());
    ensure!(
        details.any(|detail| detail.contains("went on in post-copy")),
        "it moved, and not in post-copy: {:?}",
        moving.last
    );
    stage.guest_is_accelerated_on(Host::Beta)?;
    ensure!(
        stage.guest_on(Host::Alpha)?.is_empty(),
        "alpha still knows the guest"
    );
    Ok(())
}

/// Its memory goes compressed, through connections that the hosts' certificates protect.
pub(crate) fn compressed_by_tls(stage: &Stage) -> Result<()> {
    for host in Host::ALL {
        let keys = "d=/etc/pki/qemu; mkdir -p $d && cp /etc/godwit/ca.pem $d/ca-cert.pem && \
                    for each in server client; do cp /etc/godwit/host.pem $d/$each-cert.pem && \
                    cp /etc/godwit/host.key $d/$each-key.pem; done";
        stage.on(host, keys)?;
    }
    let told = by_tls(stage);
    for host in Host::ALL {
        stage.on(host, "rm -rf /etc/pki/qemu")?;
    }
    told
}

fn by_tls(stage: &Stage) -> Result<()> {
    let to = "beta --bandwidth 2MiB/s --parallel 2 --compress zstd --tls=beta";
    let mut moving = Move::begin(&stage.place, Host::Alpha, WEB_1.name, to)?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    stage.memory_moves()?;
    let ask = r#"virsh -q qemu-monitor-command web-1 '{"execute":"query-migrate-parameters"}'"#;
    let answer: serde_json::Value = serde_json::from_str(&stage.on(Host::Alpha, ask)?)?;
    let has = |name: &str| answer["return"][name].as_str().unwrap_or_default().to_owned();
    ensure!(has("multifd-compression") == "zstd", "{answer}");
    ensure!(
        !has("tls-creds").is_empty() && has("tls-hostname") == "beta",
        "{answer}"
    );
    stage.transfer_ends()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    stage.guest_is_accelerated_on(Host::Beta)
}

/// A disk that only the source has: a plan finds it, and with its copy the guest has the same bytes at the destination.
pub(crate) fn disk_of_its_host(stage: &Stage) -> Result<()> {
    let file = "/var/tmp/rig-disk.raw";
    let both = |line: &str| {
        Host::ALL
            .into_iter()
            .try_for_each(|host| stage.on(host, line).map(drop))
    };
    both(&format!("truncate -s 16M {file}"))?;
    stage.on(
        Host::Alpha,
        &format!("echo bytes-of-alpha | dd of={file} conv=notrunc 2>/dev/null"),
    )?;
    stage.on(
        Host::Alpha,
        &format!("virsh -q attach-disk {WEB_1} {file} vdz --targetbus virtio --live --config"),
    )?;
    let told = copied(stage, file);
    for host in Host::ALL {
        let line = format!("virsh -q detach-disk {WEB_1} vdz --live --config 2>/dev/null; true");
        stage.on(host, &line)?;
    }
    both(&format!("rm -f {file}"))?;
    told
}

fn copied(stage: &Stage, file: &str) -> Result<()> {
    let plan = stage.godwit(&format!("plan {WEB_1} beta"))?;
    ensure!(plan.out.contains("DISK_LOCAL"), "{}", plan.out);
    stage
        .godwit(&format!("migrate {WEB_1} beta --copy-storage all --wait"))?
        .done()?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    let read = stage.on(Host::Beta, &format!("head -c 14 {file}"))?;
    ensure!(read == "bytes-of-alpha", "beta's disk begins with {read:?}");
    Ok(())
}

/// Wrong options, and a disk that the guest has not, are refused with everything as it was.
pub(crate) fn wrong(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    let wrong = [
        ("--downtime 9999s", "the downtime is not 1 to 2,000,000 ms"),
        ("--compress zstd", "needs parallel connections"),
        ("--copy-storage all --copy-disks vdz", "has no disk vdz"),
        ("--parallel 2 --post-copy --compress mt", "does not go with"),
    ];
    for (options, words) in wrong {
        let answer = stage.godwit(&format!("migrate {WEB_1} beta --wait {options}"))?;
        refused(&answer, words).with_context(|| options.to_owned())?;
    }
    stage.nothing_changed(&before)
}

/// Nothing stands in the way of a guest between two hosts that are alike, and it is said how long it may take.
pub(crate) fn nothing_in_the_way(stage: &Stage) -> Result<()> {
    let (code, plan) = plan(stage, &format!("{WEB_1} beta"))?;
    let errors: Vec<&serde_json::Value> = findings(&plan)
        .filter(|found| found["severity"] == "error")
        .collect();
    ensure!(code == 0 && errors.is_empty(), "exit code {code}: {plan}");
    let steps: Vec<&str> = plan["estimate"]
        .as_array()
        .context("no estimate")?
        .iter()
        .filter_map(|part| part["step"].as_str())
        // Of the transfer something is said where the NIC tells its speed, or one went there before.
        .filter(|step| *step != "transfer")
        .collect();
    ensure!(
        steps == ["unplug", "pause", "plug"],
        "{steps:?} are estimated: {plan}"
    );
    let skipped = plan["not_checked"].as_array().into_iter().flatten();
    let skipped: Vec<&str> = skipped.filter_map(|skipped| skipped["check"].as_str()).collect();
    ensure!(
        !skipped.iter().any(|check| check.contains("port of QEMU")),
        "no port of beta's was tried: {plan}"
    );
    // An emulated host may be too slow for a look that has a deadline.
    if !skipped.is_empty() {
        godwit_rig::say(format!("not looked at in time: {}", skipped.join(", ")));
    }
    Ok(())
}

/// A smaller MTU at the destination is told and keeps nobody; a firewall is told as well.
pub(crate) fn something_in_the_way(stage: &Stage) -> Result<()> {
    stage.on(Host::Beta, "ip link set br0 mtu 1400")?;
    let told = plan(stage, &format!("{WEB_1} beta"));
    stage.on(Host::Beta, "ip link set br0 mtu 1500")?;
    let (code, told) = told?;
    let small = findings(&told).find(|found| found["reason"] == "NETWORK_MTU");
    let small = small.with_context(|| format!("the MTU is not told: {told}"))?;
    ensure!(
        code == 0 && small["severity"] == "warning" && small["about"] == "beta",
        "exit code {code}: {small}"
    );
    let (code, told) = plan(
        stage,
        &format!("{WEB_1} beta --copy-storage all --copy-disks vdz"),
    )?;
    ensure!(
        code == 1 && findings(&told).any(|found| found["reason"] == "DISK_UNKNOWN"),
        "exit code {code}: {told}"
    );
    Ok(())
}

/// The exit code of `godwit plan` with these words, and what it says.
pub(crate) fn plan(stage: &Stage, words: &str) -> Result<(i32, serde_json::Value)> {
    let answer = stage.godwit(&format!("--json plan {words}"))?;
    let plan = serde_json::from_str(&answer.out).with_context(|| format!("{answer:?}"))?;
    Ok((answer.code, plan))
}

/// What it found.
pub(crate) fn findings(plan: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    plan["findings"].as_array().into_iter().flatten()
}
