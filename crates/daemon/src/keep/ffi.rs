//! Options of a packet socket that no crate sets: `nix` and `rustix` know none of them.
//!
//! One of two files of the workspace with `unsafe`: each option is a call of the C library with a pointer to its value.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_uint},
    io,
    os::fd::{AsFd, AsRawFd},
};

use godwit_migration::MacAddress;
use nix::libc::{
    PACKET_AUXDATA, PACKET_STATISTICS, PACKET_VNET_HDR, SO_ATTACH_FILTER, SO_RCVBUFFORCE, SOL_PACKET,
    SOL_SOCKET, getsockopt, setsockopt, sock_filter, sock_fprog, socklen_t,
};

/// Sets an option.
///
/// # Safety
/// `value` is of the type that the kernel reads for this option, and what it points to in turn lives as long as the call.
unsafe fn set<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: the value is readable for its length during the call; the rest is the caller's promise.
    let result = unsafe {
        setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Each frame has what its sender left to the NIC before it, in both directions.
pub(super) fn with_header(socket: &impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the kernel reads a C int for this option (packet_setsockopt()).
    unsafe { set(socket, SOL_PACKET, PACKET_VNET_HDR, &on) }
}

/// What the kernel keeps beside a frame comes as a control message: its VLAN tag.
pub(super) fn with_tag(socket: &impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: as above.
    unsafe { set(socket, SOL_PACKET, PACKET_AUXDATA, &on) }
}

/// So many bytes may wait to be read, whatever the host's limit for others is.
pub(super) fn with_room(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: the kernel reads a C int for this option (sk_setsockopt()).
    unsafe { set(socket, SOL_SOCKET, SO_RCVBUFFORCE, &bytes) }
}

/// What a packet socket is given of the frames of its interface.
pub(crate) enum Only<'a> {
    /// What leaves by it.
    Leaving,
    /// Of that, what is for one of these.
    LeavingTo(&'a [MacAddress]),
    /// What arrives there, for one of these or from one of them.
    Arriving(&'a [MacAddress]),
    /// Of what arrives there, answers to who asks where somebody is (ARP, neighbour discovery).
    Answers,
}

impl Only<'_> {
    /// So many bytes may wait of it, where that much may of what a guest is sent.
    pub(super) fn room(&self, of_a_guest: u32) -> u32 {
        match self {
            Only::Answers => of_a_guest / 128,
            _ => of_a_guest,
        }
    }
}

/// The socket is given nothing else.
pub(super) fn only(socket: &impl AsFd, what: &Only<'_>) -> io::Result<()> {
    let mut program = filter(what);
    let program = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel reads a sock_fprog for this option and copies its steps, which outlive the call.
    unsafe { set(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program) }
}

/// Of the kernel's filter.h and if_packet.h: BPF_LD|BPF_B|BPF_ABS of SKF_AD_OFF + SKF_AD_PKTTYPE, BPF_JMP|BPF_JEQ|BPF_K with
/// PACKET_OUTGOING, BPF_RET|BPF_K: all of it, or nothing; and BPF_LD|BPF_W or BPF_H|BPF_ABS of an address' two parts.
fn filter(what: &Only<'_>) -> Vec<sock_filter> {
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let (all, nothing) = (step(0x06, 0, 0, u32::MAX), step(0x06, 0, 0, 0));
    let (skip_if_leaves, macs, places): (_, &[MacAddress], &[u32]) = match what {
        Only::Leaving => (true, &[], &[]),
        Only::LeavingTo(macs) => (true, macs, &[0]),
        Only::Arriving(macs) => (false, macs, &[0, 6]),
        Only::Answers => return answers(),
    };
    let leaves = match skip_if_leaves {
        true => step(0x15, 1, 0, 4),
        false => step(0x15, 0, 1, 4),
    };
    let mut program = vec![step(0x30, 0, 0, 0xffff_f000 + 4), leaves, nothing];
    for mac in macs {
        let [a, b, c, d, e, f] = mac.bytes();
        let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([0, 0, e, f]));
        for place in places {
            program.extend([
                step(0x20, 0, 0, *place),
                step(0x15, 0, 3, high),
                step(0x28, 0, 0, place + 4),
                step(0x15, 0, 1, low),
                all,
            ]);
        }
    }
    program.push(if places.is_empty() { all } else { nothing });
    program
}

/// As above: a reply of ARP, an advertisement, or what has a tag more than the kernel keeps beside it, whatever is behind that.
fn answers() -> Vec<sock_filter> {
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(0x30, 0, 0, 0xffff_f000 + 4),
        step(0x15, 12, 0, 4),
        step(0x28, 0, 0, 12),
        step(0x15, 9, 0, 0x8100),
        step(0x15, 8, 0, 0x88a8),
        step(0x15, 0, 2, 0x0806),
        step(0x28, 0, 0, 20),
        step(0x15, 5, 6, 2),
        step(0x15, 0, 5, 0x86dd),
        step(0x30, 0, 0, 20),
        step(0x15, 0, 3, 58),
        step(0x30, 0, 0, 54),
        step(0x15, 0, 1, 136),
        step(0x06, 0, 0, u32::MAX),
        step(0x06, 0, 0, 0),
    ]
}

/// How many frames were lost since this was asked last, because nobody read them in time.
pub(super) fn lost(socket: &impl AsFd) -> u32 {
    /// `struct tpacket_stats` of if_packet.h.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: c_uint,
        drops: c_uint,
    }
    let mut statistics = Statistics::default();
    let mut length = size_of::<Statistics>() as socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the value, which is two C unsigned ints as it expects.
    let result = unsafe {
        getsockopt(
            socket.as_fd().as_raw_fd(),
            SOL_PACKET,
            PACKET_STATISTICS,
            std::ptr::from_mut(&mut statistics).cast(),
            &mut length,
        )
    };
    if result == 0 { statistics.drops } else { 0 }
}
