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
}

/// All recipes.
pub const RECIPES: &[Recipe] = &[DEBIAN_12];

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
    cmdline: "rw console=tty0 console=ttyS0,115200n8",
    packages: &[
        "linux-image-amd64",
        "initramfs-tools",
        "zstd",
        "systemd",
        "systemd-sysv",
        "systemd-boot",
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
        // Only what may hold the root file system: a third of the size, and so of
        // the time to unpack it, of an initrd with every module.
        (
            "/etc/initramfs-tools/conf.d/billet",
            "MODULES=list\nCOMPRESS=zstd\nRESUME=none\n",
        ),
        (
            "/usr/share/initramfs-tools/modules.d/billet",
            "nvme\nahci\nsd_mod\nvmd\nvirtio_pci\nvirtio_blk\nvirtio_scsi\nmegaraid_sas\nmpt3sas\nsmartpqi\next4\ncrc32c\n",
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
             system_info: {network: {renderers: [networkd]}}\n",
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
};
