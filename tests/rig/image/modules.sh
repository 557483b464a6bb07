# modules.sh - sourced: copy_modules KERNEL DEST NAME...
# Puts kernel modules and all they need under DEST, decompressed: xz costs seconds where the CPU is emulated.
copy_modules() {
  local kernel=$1 dest=$2 version from file relative
  shift 2
  version=$(cat "$kernel/../version")
  from=$kernel/lib/modules/$version
  mkdir -p "$dest/lib/modules/$version"
  # "builtin" lines of modprobe's answer name no file.
  modprobe --dirname "$kernel" --set-version "$version" --show-depends --all "$@" |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u |
    while read -r file; do
      relative=${file#*/lib/modules/"$version"/}
      mkdir -p "$dest/lib/modules/$version/${relative%/*}"
      case $file in
        *.xz) xz -dc "$file" >"$dest/lib/modules/$version/${relative%.xz}" ;;
        *) cp "$file" "$dest/lib/modules/$version/$relative" ;;
      esac
    done
  cp "$from"/modules.{builtin,builtin.modinfo,order} "$dest/lib/modules/$version/"
  depmod -b "$dest" "$version"
}

# pack DIR FILE: an initramfs of DIR.
pack() {
  (cd "$1" && find . | cpio --quiet --owner 0:0 -o -H newc) >"$2"
}
