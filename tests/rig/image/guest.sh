#!/bin/bash
# guest.sh ROOT ASSETS OUT - the guest's initramfs, without this checkout's binaries.
# ROOT is what root.sh made. The binaries come in a second archive, appended by `rig install`.
set -euo pipefail
root=$1 assets=$2 out=$3
. "$assets/image/modules.sh"

tree=$out/tree
mkdir -p "$tree"/{bin,dev,proc,run,sbin,sys}
cp "$root/fs/usr/bin/busybox" "$tree/bin/busybox"
ln -s /bin/busybox "$tree/sbin/modprobe"
install -m755 "$assets/guest/init" "$tree/init"
copy_modules "$root/kernel" "$tree" virtio_pci virtio_net virtio_console bonding 8021q igbvf igb
pack "$tree" "$out/guest.cpio"
rm -rf "$tree"
