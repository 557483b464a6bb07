//! The rig's private network: a namespace with two bridges, and a tap for every port of a host.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{command, finish, output, run, succeeds};
use crate::guest::Guest;
use crate::{Host, Place, ssh};

/// The address of the client outside the hosts.
pub const CLIENT: &str = "10.77.0.1";
/// Its address in the network of second pairs, which shares the wire with the first.
pub const CLIENT_OF_SECOND: &str = "10.77.1.1";
/// The port at which the hosts' daemons hear each other (`listen` in `rig/godwitd.toml`).
const DAEMONS: u16 = 7716;
/// The port of `qemu+tcp` (libvirt's `LIBVIRTD_TCP_PORT`).
const LIBVIRTD: u16 = 16509;

const BRIDGES: [(&str, &str); 4] = [
    ("br-data", "10.77.0.1/24"),
    ("br-data", "fd77::1/64"),
    ("br-data", "10.77.1.1/24"),
    ("br-mgmt", "10.78.0.254/24"),
];

/// What a host's tap is for; the kernel limits interface names to 15 characters.
const PORTS: [(&str, &str); 4] = [
    ("mg", "br-mgmt"),
    ("up", "br-data"),
    ("pf", "br-data"),
    ("pf1", "br-data"),
];

/// Makes what is not there yet.
pub fn up(place: &Place) -> Result<()> {
    bridges(place, &BRIDGES)?;
    for host in Host::ALL {
        for (port, bridge) in PORTS {
            tap(place, &format!("{host}-{port}"), bridge)?;
        }
    }
    Ok(())
}

/// Makes what is not there yet of a network for one guest without hosts: one bridge, these taps.
pub(crate) fn up_flat(place: &Place, taps: [&str; 2]) -> Result<()> {
    bridges(place, &BRIDGES[..1])?;
    taps.into_iter()
        .try_for_each(|name| tap(place, name, BRIDGES[0].0))
}

/// Takes the cable of a port out of the switch, or puts it back; of a host's uplink it is `HOST-up`. The port itself keeps its carrier, and
/// notices nothing.
pub fn cable(place: &Place, tap: &str, plugged: bool) -> Result<()> {
    // States of a port (BR_STATE_DISABLED, BR_STATE_FORWARDING). Out of the bridge it would be a port of this machine itself.
    let state = if plugged { "3" } else { "0" };
    let mut bridge = command("bridge", ["-n", &place.namespace(), "link", "set", "dev", tap]);
    run(bridge.args(["state", state]))
}

fn bridges(place: &Place, bridges: &[(&str, &str)]) -> Result<()> {
    if !namespace(place).exists() {
        run(&mut command("ip", ["netns", "add", &place.namespace()]))?;
    }
    ip(place, "link set lo up")?;
    for (bridge, address) in bridges {
        if !exists(place, bridge) {
            ip(
                place,
                &format!("link add {bridge} type bridge forward_delay 0 stp_state 0"),
            )?;
        }
        ip(place, &format!("addr replace {address} dev {bridge}"))?;
        ip(place, &format!("link set {bridge} up"))?;
    }
    Ok(())
}

fn tap(place: &Place, name: &str, bridge: &str) -> Result<()> {
    if !exists(place, name) {
        ip(place, &format!("tuntap add dev {name} mode tap"))?;
    }
    ip(place, &format!("link set {name} master {bridge} up"))
}

/// Removes all of it.
pub fn down(place: &Place) -> Result<()> {
    if namespace(place).exists() {
        run(&mut command("ip", ["netns", "delete", &place.namespace()]))?;
    }
    Ok(())
}

/// Keeps the two hosts from hearing each other, or lets them again; this machine hears both all the while.
pub fn part(place: &Place, parted: bool) -> Result<()> {
    let switch = if parted { "on" } else { "off" };
    for host in Host::ALL {
        let mut bridge = command("bridge", ["-n", &place.namespace(), "link", "set", "dev"]);
        run(bridge.arg(format!("{host}-mg")).args(["isolated", switch]))?;
    }
    Ok(())
}

/// Keeps the hosts' daemons from hearing each other, or lets them again; libvirt and QEMU hear each other all the while.
pub fn part_daemons(place: &Place, parted: bool) -> Result<()> {
    let word = if parted { "add" } else { "del" };
    for host in Host::ALL {
        for end in ["sport", "dport"] {
            let rule = format!("ip rule {word} pref 1 ipproto tcp {end} {DAEMONS} blackhole");
            match parted {
                true => ssh::run(place, host, &rule)?,
                // There may be none.
                false => ssh::run(place, host, &format!("{rule} 2>/dev/null; true"))?,
            }
        }
    }
    Ok(())
}

/// Keeps a host's libvirtd from answering who has come over the network, or lets it again; it hears all the while.
pub fn mute_libvirtd(place: &Place, host: Host, mute: bool) -> Result<()> {
    let word = if mute { "add" } else { "del" };
    let rule = format!("ip rule {word} pref 1 ipproto tcp sport {LIBVIRTD} blackhole");
    ssh::run(place, host, &rule)
}

/// Gives the client one more address, with its length, or takes it back.
pub fn client_has(place: &Place, address: &str, has: bool) -> Result<()> {
    let word = if has { "replace" } else { "del" };
    ip(place, &format!("addr {word} {address} dev br-data"))
}

/// Sends that many echo requests of that many bytes to a guest, two milliseconds apart, and waits for no answer. The client has no doubts of its
/// neighbour meanwhile, which may stand still.
pub fn flood(place: &Place, guest: Guest, count: u32, bytes: u32) -> Result<()> {
    let Guest { address, mac, .. } = guest;
    ip(
        place,
        &format!("neigh replace {address} lladdr {mac} nud reachable dev br-data"),
    )?;
    let (count, bytes) = (count.to_string(), bytes.to_string());
    let mut ping = command("ip", ["netns", "exec", &place.namespace(), "ping", "-q"]);
    ping.args(["-i", "0.002", "-W", "1", "-c", &count, "-s", &bytes, address]);
    // Without an answer it says that it failed.
    finish(&mut ping).map(drop)
}

/// Whether it is there.
pub fn is_up(place: &Place) -> bool {
    namespace(place).exists()
}

/// Makes the client forget where the guest was: a test may have changed that behind its back.
pub fn forget_neighbours(place: &Place) -> Result<()> {
    ip(place, "neigh flush dev br-data")
}

/// Makes the client answer who asks for its address by ARP, or nobody.
pub(crate) fn answer_arp(place: &Place, answers: bool) -> Result<()> {
    // `arp_ignore` 8: for no local address (Linux Documentation/networking/ip-sysctl.rst).
    let ignores = format!("net.ipv4.conf.br-data.arp_ignore={}", if answers { 0 } else { 8 });
    let mut exec = command("ip", ["netns", "exec", &place.namespace()]);
    run(exec.args(["sysctl", "-q", "-w", &ignores]))
}

/// Makes the client have a MAC for an IP address, without asking anybody.
pub(crate) fn set_neighbour(place: &Place, address: &str, mac: &str) -> Result<()> {
    ip(
        place,
        &format!("neigh replace {address} lladdr {mac} nud stale dev br-data"),
    )
}

/// The MAC that the client has for an IP address; empty if it has none.
pub(crate) fn neighbour(place: &Place, address: &str) -> Result<String> {
    let words = [
        "-n",
        &place.namespace(),
        "neigh",
        "show",
        address,
        "dev",
        "br-data",
    ];
    let shown = output(&mut command("ip", words))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
    Ok(words.nth(1).unwrap_or_default().to_owned())
}

/// Makes client and switch forget where guests were, after the hosts' wiring has changed.
pub fn forget_guests(place: &Place) -> Result<()> {
    ip(place, "link set br-data type bridge fdb_flush")?;
    forget_neighbours(place)
}

/// Opens a connection from inside the namespace.
pub fn connect(place: &Place, address: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    // A namespace belongs to a thread and a socket keeps the one it was made in, so a thread of its own makes it.
    let namespace = namespace(place);
    let opened = std::thread::spawn(move || -> Result<TcpStream> {
        let file = File::open(namespace).context("the rig's network is not there")?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(TcpStream::connect_timeout(&address, timeout)?)
    });
    opened
        .join()
        .map_err(|_| anyhow!("the connecting thread panicked"))?
}

fn namespace(place: &Place) -> PathBuf {
    PathBuf::from("/run/netns").join(place.namespace())
}

fn exists(place: &Place, link: &str) -> bool {
    succeeds(&mut command(
        "ip",
        ["-n", &place.namespace(), "link", "show", "dev", link],
    ))
}

fn ip(place: &Place, words: &str) -> Result<()> {
    run(command("ip", ["-n", &place.namespace()]).args(words.split(' ')))
}
