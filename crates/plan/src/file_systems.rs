//! The hook by which a tenant's system makes and mounts the file systems of its
//! lease's arrays, on its first boot.
//!
//! The arrays are there by then: the agent marked their drives, and the image's
//! own `mdadm` puts them together whenever it boots. File systems are made by the
//! image's own tools, so that its kernel and its tools know all that is in them.
//! It is a hook and not cloud-init's `fs_setup` and `mounts`, since a tenant's own
//! keys of these names would take their place.

use std::fmt::Write as _;

use billet_model::lease::Lease;

use crate::layout;

/// Where what came of it is left for the phone-home.
pub const SAID: &str = "/run/billet/drives";

/// Each step is one that can be repeated: a boot that ends in the middle is
/// followed by one that goes on. What is found on an array is never made anew.
const HEAD: &str = r#"#!/bin/sh
done=/var/lib/cloud/instance/sem/billet_drives
[ -e "$done" ] && exit 0
said=
wrong() {
  echo "billet: $1" >&2
  said="$said${said:+; }$1"
}
array() {
  name=$1 device=$2 kind=$3 id=$4 at=$5 kept=$6 scratch=$7
  tries=0
  while [ ! -b "$device" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 60 ]; then
      wrong "$name: its drives did not come up"
      return
    fi
    if [ $tries = 5 ] && command -v mdadm >/dev/null; then
      mdadm --assemble --scan --no-degraded >&2
    fi
    sleep 1
  done
  if [ -z "$(blkid -p -o value -s TYPE "$device")" ]; then
    if [ "$kept" = kept ]; then
      wrong "$name: kept, and without a file system"
      return
    fi
    case $kind in
      xfs) mkfs.xfs -q -f -K -L "$name" -m uuid="$id" "$device" >&2 ;;
      *) mkfs.ext4 -q -F -E nodiscard -L "$name" -U "$id" "$device" >&2 ;;
    esac || wrong "$name: no file system could be made"
  fi
  kind=$(blkid -p -o value -s TYPE "$device")
  id=$(blkid -p -o value -s UUID "$device")
  [ -n "$id" ] || return
  mkdir -p "$at"
  grep -q "^UUID=$id " /etc/fstab || printf '%s\n' \
    "UUID=$id $at $kind defaults,nofail,x-systemd.device-timeout=90 0 2" >>/etc/fstab
  mountpoint -q "$at" || mount -t "$kind" "$device" "$at" || {
    wrong "$name: not mounted"
    return
  }
  if [ "$scratch" = scratch ]; then chmod 1777 "$at"; fi
  if command -v restorecon >/dev/null; then restorecon "$at"; fi
}
command -v udevadm >/dev/null && udevadm settle --timeout=60
"#;

const TAIL: &str = r#"systemctl daemon-reload
mkdir -p /run/billet
printf '%s' "${said:-ok}" | tr -c 'A-Za-z0-9.:;,_-' '+' | cut -c1-200 >{said}
[ -z "$said" ] && : >"$done"
exit 0
"#;

/// The hook for a lease; `None` where there is nothing to make or to mount.
pub(crate) fn hook(lease: &Lease) -> Option<String> {
    let layout = lease.layout.as_ref().filter(|l| !l.arrays.is_empty())?;
    // One that is mounted below another comes after it.
    let mut arrays: Vec<_> = layout.arrays.iter().collect();
    arrays.sort_by_key(|a| &a.mount);
    let mut script = HEAD.to_owned();
    for array in arrays {
        let kept = if layout::is_kept(lease, array) {
            "kept"
        } else {
            "new"
        };
        let scratch = if array.scratch { "scratch" } else { "data" };
        let _ = writeln!(
            script,
            "array {} {} {} {} {} {kept} {scratch}",
            array.name,
            array.device(),
            array.file_system,
            array.file_system_id,
            array.mount
        );
    }
    script.push_str(&TAIL.replace("{said}", SAID));
    Some(script)
}
