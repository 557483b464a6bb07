"""Reads a tap as an emulator does: argv[1] is its name. Orders on the standard input, one word a line: `run`, `hold` (the guest
stands still: one frame more is read and not taken), `throw` (the next one is thrown away, and then the guest stands still), `stop` (nothing is read, as by the kernel), `announce` (the guest tells its
network where it is), `quiet` (it runs, and says nothing until it is to `tell`). Says `ready`, and the number of each frame that the guest
got; of those it was quiet about also when, and how long after they were sent."""
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", sys.argv[1].encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
print("ready", flush=True)
mode, held, came = "stop", None, []


def get(frame):
    data = frame[10:]
    tagged = data[12:14] == b"\x81\x00"
    if tagged:
        data = data[:12] + data[16:]
    if data[12:14] == b"\x08\x00" and data[23] == 17 and data[36:38] == struct.pack(">H", 9999):
        print(("tagged " if tagged else "got ") + str(struct.unpack(">I", data[42:46])[0]), flush=True)


def get_quietly():
    try:
        for _ in range(256):
            data = os.read(tap, 70000)[10:]
            if data[12:14] == b"\x08\x00" and data[23] == 17 and data[36:38] == struct.pack(">H", 9999):
                came.append((data[42:54], time.monotonic_ns() // 1000))
    except BlockingIOError:
        pass


def tell():
    for data, at in came:
        number, sent = struct.unpack(">IQ", data)
        print("came", number, at, at - sent)


while True:
    reads = mode in ("run", "quiet", "throw") or (mode == "hold" and held is None)
    ready, _, _ = select.select([0] + [tap] * reads, [], [])
    if 0 in ready:
        told = os.read(0, 100)
        if not told:
            sys.exit()
        order = told.decode().split()[-1]
        if order == "announce":
            mac = b"\x52\x54\x00\xaa\x00\x10"
            os.write(tap, bytes(10) + b"\xff" * 6 + mac + b"\x80\x35" + bytes(46))
            print("mode announce", flush=True)
            continue
        mode = order
        os.set_blocking(tap, mode != "quiet")
        if mode == "tell":
            tell()
        if mode == "run" and held is not None:
            get(held)
            held = None
        print("mode " + mode, flush=True)
    elif tap in ready and mode == "quiet":
        get_quietly()
    elif tap in ready:
        frame = os.read(tap, 70000)
        if mode == "hold":
            held = frame
        elif mode == "throw":
            mode = "hold"
        else:
            get(frame)
