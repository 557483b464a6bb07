#!/bin/bash
# root.sh MIRROR SUITE OUT - the packages everything else is made of.
#
# OUT/fs      a Debian root file system: what a host runs, and the QEMU this machine runs the hosts with
# OUT/kernel  the kernel package, unpacked; hosts and guest boot the same one
#
# The caller renames OUT when this has ended well, so a half-made one is never used.
set -euo pipefail
mirror=$1 suite=$2 out=$3
mkdir -p "$out/kernel"

tools=iproute2,iputils-ping,ethtool,pciutils,kmod,procps,tcpdump,busybox-static,openssh-server
# Not started with a host, but by the story of hosts that have it; the second keeps systemd out.
tools=$tools,udev,systemd-standalone-sysusers
# libvirt's own networks: one story has one.
networks=libvirt-daemon-driver-network
# One story has a standby on it.
networks=$networks,openvswitch-switch
virtualisation=libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients,qemu-system-x86,qemu-utils

# --variant=apt because smaller variants leave no apt in the root, and the kernel is fetched with it:
# installing that package instead would bring an initramfs generator which the rig has no use for.
mmdebstrap --mode=root --variant=apt --quiet \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include="$tools" --include="$virtualisation" --include="$networks" \
  --customize-hook='mkdir "$1/kernel-package"' \
  --customize-hook='chroot "$1" sh -c "cd /kernel-package && apt-get -qq download \$(apt-cache depends linux-image-amd64 | sed -n \"s/.*Depends: *\(linux-image-[0-9].*\)/\1/p\" | head -n 1)"' \
  "$suite" "$out/fs" "$mirror"

dpkg-deb -x "$out"/fs/kernel-package/linux-image-*.deb "$out/kernel"
rm -rf "$out/fs/kernel-package" "$out"/fs/var/cache/apt/* "$out"/fs/var/lib/apt/lists/*
# At its first start libvirtd questions every emulator it finds; this one would double that time.
rm -f "$out/fs/usr/bin/qemu-system-i386"

# One place for the modules whatever the package's layout is, with their dependencies worked out.
modules=$out/kernel/lib/modules
if [ ! -d "$modules" ]; then
  mkdir -p "$out/kernel/lib"
  ln -s ../usr/lib/modules "$modules"
fi
version=$(ls "$modules")
depmod -b "$out/kernel" "$version"
cp "$out/kernel/boot/vmlinuz-$version" "$out/vmlinuz"
echo "$version" >"$out/version"
