//! Stories of what VFs are part of: VLANs that keep traffic apart, a second PF, a host whose own driver takes them.

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::guest::{self, WEB_1, WEB_2};
use godwit_rig::{Host, godwit, network, ready, ssh, vf};

use crate::hardware::vf_in;
use crate::moves::takes_address;
use crate::stage::{PATIENCE, Stage, refused};

/// The guest's address in its VLAN, and the one that a host has there.
const IN_VLAN: &str = "10.77.100.100";

/// The fabric carries tags as they are. Where they are taken off and put on are the VFs, and the hosts' bridges: every port of
/// them but the uplink is in VLAN 100, and so is the host itself.
const INTO_VLAN: &str = "ip link set br0 type bridge vlan_default_pvid 100 && ip link set br0 type bridge vlan_filtering 1 && \
     { bridge vlan del dev up0 vid 100; bridge vlan add dev up0 vid 100; }";
const OUT_OF_VLAN: &str = "ip link set br0 type bridge vlan_filtering 0; ip link set br0 type bridge vlan_default_pvid 1; \
     ip addr flush dev br0";

fn address_in_vlan(host: Host) -> String {
    format!("10.77.100.{}", host.id())
}

/// A guest whose VF is in a VLAN is reached there and nowhere else, on its VF and on its standby, before and after its move;
/// its VF of before is then as good as new for the next guest.
pub(crate) fn in_a_vlan(stage: &Stage) -> Result<()> {
    let told = told_in_a_vlan(stage);
    // Whatever came of it: the next story is in no VLAN.
    let at = WEB_1.locate(&stage.place)?.unwrap_or(Host::Alpha);
    for host in Host::ALL {
        stage.on(host, OUT_OF_VLAN)?;
    }
    let number = vf::of(&stage.place, at, WEB_1).context("its VF is in no VLAN again");
    let cleared = number.and_then(|number| vf::set(&stage.place, at, number, "vlan 0 max_tx_rate 0"));
    network::forget_guests(&stage.place)?;
    let without = WEB_1.shell(&stage.place, at, &format!("ip addr del {IN_VLAN}/24 dev bond0"));
    told.and(cleared).and(without.map(drop))
}

fn told_in_a_vlan(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    for host in Host::ALL {
        let address = format!("ip addr add {}/24 dev br0", address_in_vlan(host));
        stage.on(host, &format!("{INTO_VLAN} && {address}"))?;
    }
    let line = format!("ip addr add {IN_VLAN}/24 dev bond0");
    WEB_1.shell(place, Host::Alpha, &line)?;
    let first = vf::of(place, Host::Alpha, WEB_1)?;
    let from_beta = || reaches(stage, Host::Beta);
    ensure!(!from_beta(), "it is reached in VLAN 100 before its VF is there");
    vf::set(place, Host::Alpha, first, "vlan 100")?;
    is_reached(stage, Host::Beta)?;
    ensure!(!WEB_1.answers(place), "it is reached outside its VLAN");
    // What a wrong VLAN looks like.
    vf::set(place, Host::Alpha, first, "vlan 200")?;
    ensure!(
        !from_beta(),
        "it is reached in VLAN 100 while its VF is in VLAN 200"
    );
    vf::set(place, Host::Alpha, first, "vlan 100 max_tx_rate 500")?;
    is_reached(stage, Host::Beta)?;

    ready::move_to(place, Host::Beta)?;
    is_reached(stage, Host::Alpha)?;
    ensure!(
        !WEB_1.answers(place),
        "it is reached outside its VLAN after its move"
    );
    let now = vf::shown(place, Host::Beta, vf::of(place, Host::Beta, WEB_1)?)?;
    for word in [
        "vlan 100",
        "spoof checking on",
        "trust off",
        "max_tx_rate 500Mbps",
    ] {
        ensure!(now.contains(word), "beta's VF shows {now}");
    }
    ensure!(
        !takes_address(stage, Host::Beta, "52:54:00:aa:00:99")?,
        "a guest that is not trusted gave its VF another address"
    );
    for way in ["standby", "accelerate"] {
        godwit::run(place, Host::Beta, &format!("{way} {WEB_1} --wait"))?.done()?;
        is_reached(stage, Host::Alpha).with_context(|| format!("after {way}"))?;
    }

    wait_for("alpha's VF without anything of the guest", PATIENCE, || {
        Ok(vf::is_neutral(&vf::shown(place, Host::Alpha, first)?).then_some(()))
    })?;
    WEB_2.start(place, Host::Alpha)?;
    let next = vf::of(place, Host::Alpha, WEB_2)?;
    ensure!(next == first, "{WEB_2} has VF {next}, not {first}");
    stage.is_accelerated_on(WEB_2, Host::Alpha)
}

/// From a host, in the VLAN.
fn reaches(stage: &Stage, from: Host) -> bool {
    let forget = "ip neigh flush dev br0";
    stage
        .on(from, &format!("{forget}; ping -c 2 -W 2 -q {IN_VLAN} >&2"))
        .is_ok()
}

fn is_reached(stage: &Stage, from: Host) -> Result<()> {
    wait_for(&format!("an answer to {from} in VLAN 100"), PATIENCE, || {
        Ok(reaches(stage, from).then_some(()))
    })
}

/// Both of beta's PFs are in the guest's pool, and the first is being worked on: the guest gets a VF of the other, and leaves
/// nothing on it.
pub(crate) fn another_pf(stage: &Stage) -> Result<()> {
    let both = "sed -i -e 's/^pfs = .*pf1.*/pfs = [\"pf9\"]/' -e 's/^pfs = .*pf0.*/pfs = [\"pf0\", \"pf1\"]/' /etc/godwit/godwitd.toml";
    stage.configure(Host::Beta, "")?;
    stage.on(Host::Beta, &format!("{both} && rig-service restart godwitd"))?;
    godwit::run(&stage.place, Host::Beta, "standby --pf pf0 --wait")?.done()?;
    let told = of_another_pf(stage);
    godwit::run(&stage.place, Host::Beta, "accelerate --pf pf0 --wait")?.done()?;
    told
}

fn of_another_pf(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    ready::move_to(place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    let xml = guest::xml(place, Host::Beta, WEB_1.name, false)?;
    let [vf, _] = vf_in(&xml).context("the guest has no VF")?;
    let pf = stage.on(Host::Beta, &format!("ls /sys/bus/pci/devices/{vf}/physfn/net"))?;
    ensure!(pf.trim() == "pf1", "{vf} is of {pf}");
    ready::move_to(place, Host::Alpha)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let clean = format!("! ip link show pf1 | grep {}", WEB_1.mac);
    wait_for("pf1 without the guest's MAC", PATIENCE, || {
        stage.on(Host::Beta, &clean).map(Some)
    })
    .map(drop)
}

/// libvirt's own network has one of beta's two VFs, and may give it to any guest: the guest gets the other. When it has
/// both there is none.
pub(crate) fn libvirts_own(stage: &Stage) -> Result<()> {
    let second = stage.on(
        Host::Beta,
        "basename $(readlink /sys/class/net/pf0/device/virtfn1)",
    )?;
    let told = with_network(stage, &vf_element(second.trim())?, &|stage| {
        let vfs = godwit::run(&stage.place, Host::Beta, "vfs")?.out;
        let line = vfs.lines().find(|line| line.contains(second.trim()));
        ensure!(
            line.is_some_and(|line| line.contains("libvirt's network `passthrough` gives it to guests")),
            "{vfs}"
        );
        ready::move_to(&stage.place, Host::Beta)?;
        stage.guest_is_accelerated_on(Host::Beta)?;
        let first = vf::of(&stage.place, Host::Beta, WEB_1)?;
        ensure!(first == 0, "the guest has VF {first}, which is libvirt's");
        ready::move_to(&stage.place, Host::Alpha)
    });
    told?;
    with_network(stage, "<pf dev='pf0'/>", &|stage| {
        refused(&stage.godwit(&format!("migrate {WEB_1} beta --wait"))?, "VF")?;
        stage.guest_is_accelerated_on(Host::Alpha)
    })
}

/// While beta's libvirt has a network with these VFs.
fn with_network(stage: &Stage, of: &str, tell: &dyn Fn(&Stage) -> Result<()>) -> Result<()> {
    let xml = format!(
        "<network><name>passthrough</name><forward mode='hostdev' managed='yes'>{of}</forward></network>"
    );
    ssh::run_with(
        &stage.place,
        Host::Beta,
        "virsh -q net-create /dev/stdin",
        xml.as_bytes(),
    )?;
    let told = tell(stage);
    stage.on(Host::Beta, "virsh -q net-destroy passthrough")?;
    told
}

fn vf_element(address: &str) -> Result<String> {
    let [domain, bus, slot, function] = vf::parts(address)?;
    Ok(format!(
        "<address type='pci' domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"
    ))
}

const MAKE_VFS: &str = "echo 1 >/sys/class/net/pf0/device/sriov_drivers_autoprobe && vfs=$(cat /sys/class/net/pf0/device/sriov_numvfs) && \
     echo 0 >/sys/class/net/pf0/device/sriov_numvfs && echo $vfs >/sys/class/net/pf0/device/sriov_numvfs";
const NETDEVS: &str = "for vf in /sys/class/net/pf0/device/virtfn*; do ls $vf/net 2>/dev/null; done; true";

/// beta has udev, which loads the VFs' driver, and that makes an interface of each. The guest gets one that is idle; one that is
/// up stays the host's.
pub(crate) fn own_driver(stage: &Stage) -> Result<()> {
    stage.on(Host::Beta, "/usr/lib/systemd/systemd-udevd --daemon")?;
    let told = with_own_driver(stage);
    // Whatever came of it: the next story's host has no driver of its own.
    let moved = match WEB_1.locate(&stage.place)? {
        Some(Host::Beta) => ready::move_to(&stage.place, Host::Alpha),
        _ => Ok(()),
    };
    let gone = stage.on(
        Host::Beta,
        "udevadm control --exit; rig-vf sweep; modprobe -r igbvf",
    );
    told.and(moved).and(gone.map(drop))
}

fn with_own_driver(stage: &Stage) -> Result<()> {
    stage.on(Host::Beta, MAKE_VFS)?;
    let names = wait_for("an interface of each VF, by udev's name", PATIENCE, || {
        let names = stage.on(Host::Beta, NETDEVS)?;
        let names: Vec<String> = names.lines().map(Into::into).collect();
        let named = names.iter().all(|name| !name.starts_with("eth"));
        Ok((names.len() == 2 && named).then_some(names))
    })?;
    let mine = &names[0];
    stage.on(Host::Beta, &format!("ip link set {mine} up"))?;
    ready::move_to(&stage.place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    let vfs = godwit::run(&stage.place, Host::Beta, "vfs")?.out;
    ensure!(vfs.contains(&format!("{mine}, which is up")), "{vfs}");
    let still = stage.on(Host::Beta, NETDEVS)?;
    ensure!(still.trim() == *mine, "{mine} was taken: {still}");
    // The VF that comes back stays away from the driver.
    ready::move_to(&stage.place, Host::Alpha)?;
    let free = || {
        let vfs = godwit::run(&stage.place, Host::Beta, "vfs")?.out;
        let of_pf0 = vfs.lines().filter(|line| line.contains("pf0"));
        Ok((of_pf0.filter(|line| line.contains("free")).count() == 1).then_some(()))
    };
    wait_for("beta's free VF", PATIENCE, free)?;
    let still = stage.on(Host::Beta, NETDEVS)?;
    ensure!(still.trim() == *mine, "igbvf has it again: {still}");
    stage.on(Host::Beta, &format!("ip link set {mine} down"))?;
    let vfs = godwit::run(&stage.place, Host::Beta, "vfs")?.out;
    ensure!(!vfs.contains("which is up"), "{vfs}");
    Ok(())
}
