//! What goes into each image that Billet can build: packages, and the few files beside them.

/// How one distribution's image is made.
#[derive(Debug)]
pub struct Recipe {
    /// What `billet image build` calls it.
    pub name: &'static str,
    /// What boot menus call it.
    pub title: &'static str,
    /// The release's code name, for mmdebstrap.
    pub suite: &'static str,
    /// Its directory on the ESP, and its kernels' sort key.
    pub token: &'static str,
    /// The kernel command line, after `root=`.
    pub cmdline: &'static str,
    /// Packages, beside those that every system has.
    pub packages: &'static [&'static str],
    /// Files to be there before packages are installed: path and content.
    pub before: &'static [(&'static str, &'static str)],
    /// Files to put in afterwards: path and content.
    pub after: &'static [(&'static str, &'static str)],
    /// Units to start at boot.
    pub enable: &'static [&'static str],
    /// Units not to start at boot, though their packages would.
    pub disable: &'static [&'static str],
}

/// All recipes.
pub const RECIPES: &[Recipe] = &[DEBIAN_12, DEBIAN_13];

/// Their names, for messages.
pub fn names() -> String {
    RECIPES
        .iter()
        .map(|recipe| recipe.name)
        .collect::<Vec<_>>()
        .join(", ")
}

const DEBIAN_12: Recipe = Recipe {
    name: "debian-12",
    title: "Debian GNU/Linux 12 (bookworm)",
    suite: "bookworm",
    token: "debian",
    cmdline: "rw console=tty0 console=ttyS0,115200n8 no_timer_check",
    packages: &[
        "linux-image-amd64",
        "initramfs-tools",
        "zstd",
        "systemd",
        "systemd-sysv",
        "systemd-boot",
        "systemd-boot-efi",
        "systemd-resolved",
        "systemd-timesyncd",
        "libpam-systemd",
        "dbus",
        "udev",
        "kmod",
        "cloud-init",
        "cloud-guest-utils",
        "fdisk",
        "e2fsprogs",
        "mdadm",
        "dosfstools",
        "openssh-server",
        "python3",
        "ca-certificates",
        "curl",
        "iproute2",
        "iputils-ping",
        "netbase",
        "procps",
        "pciutils",
        "sudo",
        "less",
        "vim-tiny",
    ],
    before: &[
        // Only what may hold the root file system: a fifth of the size, and so of
        // the time to unpack it, of an initrd with every module. udev loads what is
        // asked for; modules that are listed for initramfs-tools are all loaded.
        (
            "/etc/initramfs-tools/conf.d/billet",
            "MODULES=list\nCOMPRESS=zstd\nRESUME=none\n",
        ),
        (
            "/etc/initramfs-tools/hooks/billet",
            "#!/bin/sh\n\
             [ \"$1\" = prereqs ] && exit 0\n\
             . /usr/share/initramfs-tools/hook-functions\n\
             manual_add_modules nvme ahci sd_mod vmd virtio_pci virtio_blk virtio_scsi \\\n\
             \x20   megaraid_sas mpt3sas smartpqi ext4 crc32c_generic crc32c_intel raid1\n\
             # Of software RAID only what the root may be on is loaded at once: the others\n\
             # time themselves for a second.\n\
             sed -i -E '/^(linear|multipath|raid[04-9][0-9]*|raid10)$/d' \"$DESTDIR/conf/modules\"\n",
        ),
    ],
    after: &[
        (
            "/etc/cloud/cloud.cfg.d/90_billet.cfg",
            "# Billet puts its data on the drive, on a partition labelled CIDATA.\n\
             datasource_list: [NoCloud, None]\n\
             disable_root: false\n\
             ssh_pwauth: false\n\
             ssh_deletekeys: true\n\
             ssh_genkeytypes: [ed25519, ecdsa]\n\
             growpart: {mode: auto, devices: [/]}\n\
             resize_rootfs: true\n\
             locale: C.UTF-8\n\
             system_info: {network: {renderers: [networkd]}}\n\
             # As the distribution has it, without what configures GRUB: there is none.\n\
             cloud_config_modules: [ssh-import-id, keyboard, locale, set-passwords, apt-pipelining,\n\
             \x20 apt-configure, ntp, timezone, runcmd]\n",
        ),
        // A server has more ports than are connected: one that is up will do.
        (
            "/etc/systemd/system/systemd-networkd-wait-online.service.d/billet.conf",
            "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n",
        ),
        (
            "/etc/hosts",
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        ),
    ],
    enable: &[
        "systemd-networkd.service",
        "systemd-resolved.service",
        "ssh.service",
    ],
    // For snapshots of logical volumes, of which there are none.
    disable: &["e2scrub_all.timer", "e2scrub_reap.service"],
};

/// Its cloud-init is one process for all stages, and its packages have other
/// names for little.
const DEBIAN_13: Recipe = Recipe {
    name: "debian-13",
    title: "Debian GNU/Linux 13 (trixie)",
    suite: "trixie",
    ..DEBIAN_12
};
