//! Stories of what arrives for a guest while it stands still between its hosts, whatever fails meanwhile.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{Migration, Move};
use godwit_rig::guest::{Guest, TAP_1, VHOST_1, VLAN_1, WEB_1, WEB_2, domain_state};
use godwit_rig::kept::Kept;
use godwit_rig::prober::{Line, Prober};
use godwit_rig::{Host, build, network, ready, ssh};

use crate::stage::{PATIENCE, Stage, refused};

/// Datagrams a second, each way.
const RATE: u32 = 50;
/// So many come twice at most where the traffic is switched: the guest takes what comes by either port then. One of the two is quicker, so
/// some come behind later ones, as many as wait for an emulator whose main loop plugs a VF. In a guest without a pair nothing comes twice
/// but two of the pause, and what comes behind later ones is what was between the hosts when the network moved.
const SWITCHED: u64 = 8;
/// Before and after, so that a loss near the edges is seen.
const MARGIN: Duration = Duration::from_secs(3);
/// The guest stands still so long after a fault.
const STILL: Duration = Duration::from_secs(3);

/// What the traffic alone says of its way to the guest.
#[derive(Debug)]
struct Heard {
    sent: u64,
    lost: u64,
    twice: u64,
    reordered: u64,
}

/// Traffic to one address of a guest.
struct Traffic<'a> {
    stage: &'a Stage,
    prober: Prober,
}

impl<'a> Traffic<'a> {
    fn begin(stage: &'a Stage, address: &str) -> Result<Traffic<'a>> {
        let probe = build::build_static(&stage.place, "godwit-probe")?;
        let prober = Prober::start_at(&stage.place, &probe, address, RATE)?;
        sleep(MARGIN);
        Ok(Traffic { stage, prober })
    }

    fn end(self) -> Result<Heard> {
        sleep(MARGIN);
        let record = self.prober.stop(&self.stage.place)?;
        let lost = |line: &&Line| matches!(line, Line::Sent { arrived: false, .. });
        let lost = record.iter().filter(lost).count() as u64;
        let total = record.iter().find_map(|line| match *line {
            Line::Total {
                sent,
                duplicates: twice,
                reordered,
                ..
            } => Some(Heard {
                sent,
                lost,
                twice,
                reordered,
            }),
            _ => None,
        });
        total.context("the record has no sums")
    }
}

/// A move whose guest stands still: all of its memory has come, and beta's libvirtd, which would run it, is stopped until this
/// is dropped.
struct Pause<'a> {
    stage: &'a Stage,
    moving: Move,
}

impl<'a> Pause<'a> {
    fn begin(stage: &'a Stage) -> Result<Pause<'a>> {
        let moving = stage.begin_slow_move()?;
        let pause = Pause { stage, moving };
        stage.on(Host::Beta, "kill -STOP $(cat /run/libvirtd.pid)")?;
        stage.transfer_ends()?;
        let paused = format!(
            "for n in $(seq 1200); do [ \"$(virsh -q domstate {WEB_1})\" = paused ] && exit 0; done; exit 1"
        );
        stage.on(Host::Alpha, &paused)?;
        Ok(pause)
    }

    fn id(&self) -> String {
        self.moving.last.id.clone()
    }

    /// The guest runs as soon as beta's libvirtd has seen to it.
    fn ends(&self) -> Result<()> {
        self.stage
            .on(Host::Beta, "kill -CONT $(cat /run/libvirtd.pid)")
            .map(drop)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.ends() {
            godwit_rig::say(format!("beta's libvirtd stands still: {error:#}"));
        }
    }
}

/// Seconds of it, a hundred times as long as a pause should be: all of what came meanwhile comes, once.
pub(crate) fn of_seconds(stage: &Stage) -> Result<()> {
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let mut pause = Pause::begin(stage)?;
    sleep(STILL);
    pause.ends()?;
    let (code, said) = pause.moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code}: {said}");
    let heard = traffic.end()?;
    let kept = kept(stage, &pause.id(), Host::Alpha)?;
    println!("  a pause of seconds: {heard:?}, {kept:?}");
    all_came(&heard)?;
    ensure!(
        kept.delivered == kept.frames && kept.frames > u64::from(RATE),
        "{kept:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// What was sent before they lost each other is in the guest's way; the rest is lost, and the record says so. The move is the
/// same.
pub(crate) fn daemons_parted(stage: &Stage) -> Result<()> {
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let pause = Pause::begin(stage)?;
    let id = pause.id();
    sleep(STILL);
    network::part_daemons(&stage.place, true)?;
    let told = parted(stage, &pause);
    network::part_daemons(&stage.place, false)?;
    told?;
    let kept = comes_in_part(stage, traffic, &id, "daemons that lost each other")?;
    ensure!(
        !kept.not_kept.is_empty(),
        "nobody says that frames were lost: {kept:?}"
    );
    Ok(())
}

/// The guest has moved by both records, with some of what came in its pause of seconds.
fn comes_in_part(stage: &Stage, traffic: Traffic, id: &str, story: &str) -> Result<Kept> {
    for host in Host::ALL {
        stage.migration(host, id, |migration| migration.ended && migration.moved == "yes")?;
    }
    let heard = traffic.end()?;
    let kept = kept(stage, id, Host::Alpha)?;
    println!("  {story} in the pause: {heard:?}, {kept:?}");
    ensure!(heard.twice <= SWITCHED, "{heard:?}: {kept:?}");
    // Two seconds' at least had come before.
    ensure!(
        kept.frames > 2 * u64::from(RATE) && heard.lost < kept.frames,
        "{heard:?}: {kept:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)?;
    Ok(kept)
}

fn parted(stage: &Stage, pause: &Pause) -> Result<()> {
    sleep(STILL);
    pause.ends()?;
    wait_for("the guest on its VF on beta", PATIENCE, || {
        let runs = stage.guest_on(Host::Beta)? == "running";
        Ok((runs && WEB_1.state(&stage.place, Host::Beta)?.is_on_vf()).then_some(()))
    })?;
    // Longer than the source waits for a word about its frames.
    sleep(Duration::from_secs(12));
    Ok(())
}

/// The destination's daemon dies while frames wait there: those that it had put into the kernel's queue come.
pub(crate) fn daemon_killed(stage: &Stage) -> Result<()> {
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let pause = Pause::begin(stage)?;
    let id = pause.id();
    sleep(STILL);
    stage.daemon(Host::Beta, "kill")?;
    pause.ends()?;
    wait_for("the guest on beta", PATIENCE, || {
        Ok((stage.guest_on(Host::Beta)? == "running").then_some(()))
    })?;
    stage.daemon(Host::Beta, "start")?;
    comes_in_part(stage, traffic, &id, "a daemon killed").map(drop)
}

/// The copy at the destination dies before it ever ran. The guest goes on at the source and finds what came meanwhile, once.
pub(crate) fn never_resumes(stage: &Stage) -> Result<()> {
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let mut pause = Pause::begin(stage)?;
    sleep(STILL);
    stage.on(Host::Beta, "kill -9 $(cat /run/libvirt/qemu/web-1.pid)")?;
    pause.ends()?;
    let (code, said) = pause.moving.finish(PATIENCE)?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    let heard = traffic.end()?;
    println!("  a copy that never ran: {heard:?}");
    all_came(&heard)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// A person who cancels in the pause is refused or the guest goes on where it was: nothing is lost.
pub(crate) fn cancelled(stage: &Stage) -> Result<()> {
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let mut pause = Pause::begin(stage)?;
    let id = pause.id();
    // The answer may have to wait for libvirt, which waits for beta's.
    stage.on(
        Host::Alpha,
        &format!("(godwit cancel {id} >/run/cancelled 2>&1 </dev/null; true) >/dev/null 2>&1 &"),
    )?;
    sleep(STILL);
    pause.ends()?;
    let (code, said) = pause.moving.finish(PATIENCE)?;
    let answer = stage.on(Host::Alpha, "cat /run/cancelled")?;
    let host = match code {
        0 => Host::Beta,
        4 => Host::Alpha,
        code => anyhow::bail!("exit code {code}: {said}"),
    };
    let heard = traffic.end()?;
    println!(
        "  cancelled in the pause, the guest is on {host}: {heard:?}; {}",
        answer.trim_end()
    );
    all_came(&heard)?;
    stage.guest_is_accelerated_on(host)
}

/// Both hosts keep no more than they have room for: the oldest come, and what had no room is counted.
pub(crate) fn no_room(stage: &Stage) -> Result<()> {
    for host in Host::ALL {
        stage.configure(host, "[keep]\nroom_mib = 1\n")?;
    }
    let traffic = Traffic::begin(stage, WEB_1.address)?;
    let mut pause = Pause::begin(stage)?;
    // Two MiB of other frames for it, in some three seconds: libvirt gives a transfer up whose other side says nothing for half a minute.
    network::flood(&stage.place, WEB_1, 1500, 1400)?;
    pause.ends()?;
    let (code, said) = pause.moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code}: {said}");
    let heard = traffic.end()?;
    let kept = kept(stage, &pause.id(), Host::Alpha)?;
    println!("  a pause with more than there is room for: {heard:?}, {kept:?}");
    ensure!(kept.no_room > 0 && kept.delivered > 500, "{kept:?}");
    ensure!(
        kept.delivered + kept.no_room + kept.lost >= kept.frames,
        "{kept:?}"
    );
    ensure!(heard.lost > 0 && heard.twice <= SWITCHED, "{heard:?}");
    stage.guest_is_accelerated_on(Host::Beta)
}

/// A guest that has one NIC and no VF is moved as it is, there and back; what arrives in its pauses comes as well.
pub(crate) fn of_a_guest_without_a_pair(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    WEB_2.start_plain(place, Host::Alpha)?;
    network::forget_neighbours(place)?;
    WEB_2.wait_for_answer(place)?;
    stage
        .godwit(&format!("adopt {WEB_2} --policy standby-only"))?
        .done()?;
    for from in Host::ALL {
        comes_whole(stage, WEB_2, from, WEB_2.address)?;
    }
    WEB_2.stop(place)
}

/// The kernel's vhost carries the standby, as libvirt has it where nobody says otherwise: there and back.
pub(crate) fn with_vhost(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    stage.starts(VHOST_1)?;
    for from in Host::ALL {
        comes_whole(stage, VHOST_1, from, VHOST_1.address)?;
    }
    VHOST_1.stop(place)
}

/// Traffic with a tag of the guest's own, where the bridges sort by VLAN: what has none on the wire is in VLAN 100 on the hosts, and
/// leaves by the port of the guest's NIC with its tag.
pub(crate) fn with_a_vlan_of_its_own(stage: &Stage) -> Result<()> {
    let told = in_its_vlan(stage);
    // Whatever came of it, each step: the next story's bridges sort nothing.
    let stopped = VLAN_1.stop(&stage.place);
    let plain = Host::ALL.map(|host| {
        stage.on(
            host,
            "bridge vlan del dev up0 vid 100; bridge vlan add dev up0 vid 1 pvid untagged; \
             ip link set br0 type bridge vlan_filtering 0",
        )
    });
    let without = network::client_has(&stage.place, CLIENT_IN_VLAN, false);
    told?;
    stopped?;
    plain.into_iter().try_for_each(|told| told.map(drop))?;
    without
}

fn in_its_vlan(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    for host in Host::ALL {
        stage.on(
            host,
            "ip link set br0 type bridge vlan_filtering 1 && bridge vlan add dev up0 vid 100 pvid untagged",
        )?;
    }
    network::client_has(place, CLIENT_IN_VLAN, true)?;
    VLAN_1.start_plain(place, Host::Alpha)?;
    let line = format!(
        "modprobe 8021q; ip link add link bond0 name bond0.100 type vlan id 100 && \
         ip addr add {IN_VLAN}/24 dev bond0.100 && ip link set bond0.100 up"
    );
    let answer = VLAN_1.shell(place, Host::Alpha, &line)?;
    ensure!(answer.status == 0, "no VLAN in the guest: {}", answer.text);
    stage
        .godwit(&format!("adopt {VLAN_1} --policy standby-only"))?
        .done()?;
    comes_whole(stage, VLAN_1, Host::Alpha, IN_VLAN)
}

/// Of a move under traffic to one of its addresses; a guest without a VF stays on what it has.
fn comes_whole(stage: &Stage, guest: Guest, from: Host, address: &str) -> Result<()> {
    let (place, to) = (&stage.place, from.other());
    let traffic = Traffic::begin(stage, address)?;
    let mut moving = Move::begin(place, from, guest.name, to.name())?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0 || code == 3, "exit code {code}: {said}");
    let heard = traffic.end()?;
    let kept = kept(stage, &moving.last.id, from)?;
    println!("  {guest} from {from}: {heard:?}, {kept:?}");
    all_came(&heard)?;
    ensure!(code == 0 || heard.twice <= 2, "nothing was switched: {heard:?}");
    // A host that is busy sees what its network brings a moment later than the guest's tap does.
    let unseen = u64::from(RATE / 10);
    ensure!(
        code == 0 || heard.reordered <= kept.late + unseen,
        "more came behind later ones than the record says: {heard:?}"
    );
    ensure!(
        kept.not_kept.is_empty() && kept.delivered == kept.frames,
        "{kept:?}"
    );
    for host in Host::ALL {
        stage.migration(host, &moving.last.id, |migration| migration.ended)?;
    }
    let state = |host| domain_state(place, host, guest.name);
    ensure!(
        state(to)? == "running" && state(from)?.is_empty(),
        "{guest} did not move"
    );
    match code {
        0 => stage.is_accelerated_on(guest, to),
        _ => Ok(()),
    }
}

/// The guest has another NIC, of no pair, in a network of its own.
pub(crate) fn of_a_nic_without_a_pair(stage: &Stage) -> Result<()> {
    let nic = format!(
        "<interface type='bridge'><mac address='{NIC_MAC}'/><source bridge='br0'/>\
         <model type='virtio'/><driver name='qemu'/></interface>"
    );
    let plugged = ssh::run_with(
        &stage.place,
        Host::Alpha,
        &format!("virsh -q attach-device {WEB_1} /dev/stdin --live"),
        nic.as_bytes(),
    );
    let told = plugged.and_then(|()| moves_with_its_nic(stage));
    // Whatever came of it: the next story's guest has one NIC.
    let at = WEB_1.locate(&stage.place)?.unwrap_or(Host::Alpha);
    let detach = format!("virsh -q detach-interface {WEB_1} bridge {NIC_MAC} --live 2>/dev/null; true");
    stage.on(at, &detach)?;
    told
}

/// The guest's address in its VLAN.
const IN_VLAN: &str = "10.77.100.109";
/// And the client's.
const CLIENT_IN_VLAN: &str = "10.77.100.1/24";

const NIC_MAC: &str = "52:54:00:aa:00:12";
const NIC_ADDRESS: &str = "10.77.1.110";

fn moves_with_its_nic(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    let set_up = format!(
        "for nic in /sys/class/net/*; do [ \"$(cat $nic/address)\" = {NIC_MAC} ] || continue; \
         ip link set $(basename $nic) up && ip addr add {NIC_ADDRESS}/24 dev $(basename $nic) && exit 0; done; exit 1"
    );
    wait_for("the NIC in the guest", PATIENCE, || {
        let answer = WEB_1.shell(place, Host::Alpha, &set_up)?;
        Ok((answer.status == 0).then_some(()))
    })?;
    let traffic = Traffic::begin(stage, NIC_ADDRESS)?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code}: {said}");
    let heard = traffic.end()?;
    let kept = kept(stage, &moving.last.id, Host::Alpha)?;
    println!("  a NIC of no pair: {heard:?}, {kept:?}");
    all_came(&heard)?;
    ensure!(kept.frames > 0 && kept.delivered == kept.frames, "{kept:?}");
    stage.guest_is_accelerated_on(Host::Beta)
}

/// Who wants a move only with the frames of its pause is told before it begins that they cannot be kept.
pub(crate) fn refused_where_none_are_kept(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    stage.configure(Host::Beta, "[keep]\nmode = \"off\"\n")?;
    refused(&stage.godwit("migrate web-1 beta --wait --keep on")?, "kept")?;
    stage.nothing_changed(&before)?;
    let place = &stage.place;
    stage.starts(TAP_1)?;
    let answer = stage.godwit(&format!("migrate {TAP_1} beta --wait --keep on"))?;
    refused(&answer, "macvtap")?;
    stage.is_accelerated_on(TAP_1, Host::Alpha)?;
    TAP_1.stop(place)?;
    // And without that word it goes.
    ready::move_to(place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// Each datagram to the guest, few of them twice.
fn all_came(heard: &Heard) -> Result<()> {
    let few = heard.sent < u64::from(RATE) * 5;
    ensure!(!few && heard.lost == 0 && heard.twice <= SWITCHED, "{heard:?}");
    Ok(())
}

/// What the source's record says at its end.
fn kept(stage: &Stage, id: &str, source: Host) -> Result<Kept> {
    let ended = |migration: &Migration| migration.ended;
    let migration = stage.migration(source, id, ended)?;
    migration
        .kept
        .with_context(|| format!("{source}'s record does not say what was kept"))
}
