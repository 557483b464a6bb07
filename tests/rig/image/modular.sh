#!/bin/bash
# modular.sh MIRROR SUITE ROOT OUT - virtqemud, virtnetworkd and virtproxyd for the hosts: Debian packages libvirtd alone.
# ROOT is what root.sh made. They are made of the same source as its libvirt, and are linked to that very library: the
# drivers are the hosts' own, and only the daemons around them are new.
set -euo pipefail
mirror=$1 suite=$2 root=$3 out=$4
version=$(dpkg-query --admindir="$root/fs/var/lib/dpkg" --show --showformat='${Version}' libvirt0)

build=$out/build
packages=gcc,libc6-dev,meson,ninja-build,pkgconf,patch,xz-utils,gettext,python3,libxml2-utils,xsltproc
packages=$packages,libglib2.0-dev,libgnutls28-dev,libxml2-dev,libtirpc-dev,libjson-c-dev,libnl-3-dev,libnl-route-3-dev
# Of the source the two archives alone are needed, and not every mirror has the rest; apt has looked at their sums.
mmdebstrap --mode=root --variant=apt --quiet \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --include="$packages" \
  --customize-hook="echo 'deb-src $mirror $suite main' >>\"\$1/etc/apt/sources.list\"" \
  --customize-hook="mkdir \"\$1/source\" && chroot \"\$1\" sh -c 'apt-get -qq update && cd /source && { apt-get -qq source --download-only libvirt=$version 2>/dev/null || ls libvirt_*.orig.tar.* libvirt_*.debian.tar.*; } >/dev/null'" \
  "$suite" "$build" "$mirror"
mkdir "$build/libvirt"
cp -a "$root"/fs/usr/lib/x86_64-linux-gnu/libvirt{,-lxc,-qemu}.so.0.* "$build/libvirt"

cat >"$build/make.sh" <<'MAKE'
set -euo pipefail
mkdir /source/tree
cd /source/tree
tar --extract --strip-components=1 --file ../libvirt_*.orig.tar.xz
tar --extract --file ../libvirt_*.debian.tar.xz
sed '/^#/d;/^$/d' debian/patches/series | while read -r name; do patch --silent -p1 <"debian/patches/$name"; done
# As Debian's where it matters to a daemon: the folders, and which daemon a client looks for.
meson setup build --auto-features=disabled --prefix=/usr --libdir=lib/x86_64-linux-gnu --sysconfdir=/etc \
  --localstatedir=/var -Drunstatedir=/run -Dno_git=true -Drpath=disabled -Dtests=disabled -Ddocs=disabled \
  -Dinit_script=none -Dtls_priority=NORMAL -Dremote_default_mode=legacy -Ddriver_libvirtd=enabled \
  -Ddriver_remote=enabled -Ddriver_qemu=enabled -Ddriver_network=enabled -Dqemu_user=root -Dqemu_group=root \
  -Dfirewall_backend_priority=iptables,nftables -Djson_c=enabled -Dlibnl=enabled >/source/meson.log ||
  { tail -n 20 /source/meson.log; exit 1; }
cd build
cp /libvirt/* src/
for daemon in virtqemud virtnetworkd virtproxyd; do
  ninja --quiet src/admin/libvirt_admin_driver.a $(ninja -t query "src/$daemon" | sed -n 's/^ *\(src\/.*\.o\)$/\1/p')
  # The library has what it needs on the hosts.
  link=$(ninja -t commands "src/$daemon" | tail -n 1 | sed "s/'//g; s/-Wl,-rpath,[^ ]*//")
  $link -Wl,--allow-shlib-undefined
  strip -o "/$daemon" "src/$daemon"
done
MAKE
chroot "$build" bash /make.sh
mv "$build"/virt{qemud,networkd,proxyd} "$out"
rm -rf "$build"
