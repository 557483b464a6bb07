#!/bin/bash
# host.sh ROOT ASSETS PUBLIC_KEY OUT - a host's disk and the initramfs that mounts it.
# ROOT is what root.sh made, PUBLIC_KEY the file of the key the rig logs in with.
set -euo pipefail
root=$1 assets=$2 public_key=$3 out=$4
. "$assets/image/modules.sh"

fs=$out/fs
cp -a "$root/fs" "$fs"
copy_modules "$root/kernel" "$fs" kvm_amd kvm_intel vfio_pci vfio_iommu_type1 igb igbvf bridge stp tun \
  virtio_net virtio_rng vhost_net af_packet openvswitch macvtap
mkdir -p "$fs/srv/guest" "$fs/etc/godwit" "$fs/var/lib/godwit"
cp "$root/vmlinuz" "$fs/srv/guest/vmlinuz"

install -m755 "$assets/host/init" "$fs/sbin/rig-init"
install -m755 "$assets/host/rig-service" "$assets/host/rig-vf" "$fs/usr/local/sbin/"
cp "$assets/host/libvirtd.conf" "$assets/host/qemu.conf" "$fs/etc/libvirt/"
cp "$assets/host/sshd_config" "$fs/etc/ssh/sshd_config"
install -d -m700 "$fs/root/.ssh"
install -m600 "$public_key" "$fs/root/.ssh/authorized_keys"
rm -f "$fs"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C rig -f "$fs/etc/ssh/ssh_host_ed25519_key"

# With a journal: a host whose plug is pulled must mount again.
# 1 GiB to spare, for logs and databases; the file is sparse.
size=$(du -sm --apparent-size "$fs" | cut -f1)
mke2fs -q -t ext4 -O ^metadata_csum -E lazy_itable_init=1,root_owner=0:0 -m 0 \
  -d "$fs" "$out/host.ext4" $((size * 13 / 10 + 1024))M
rm -rf "$fs"

tree=$out/tree
mkdir -p "$tree"/{bin,dev,new,proc,sbin}
cp "$root/fs/usr/bin/busybox" "$tree/bin/busybox"
ln -s /bin/busybox "$tree/sbin/modprobe"
install -m755 "$assets/host/initramfs" "$tree/init"
copy_modules "$root/kernel" "$tree" virtio_pci virtio_blk ext4 crc32c
pack "$tree" "$out/host.cpio"
rm -rf "$tree"
