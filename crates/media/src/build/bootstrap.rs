//! Runs mmdebstrap, and has its last hook write the tree into the image's root partition.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::disk::Layout;
use super::recipe::Recipe;
use super::{BuildError, io_error};
use crate::command;

/// What the bootstrap left behind; gone when dropped.
#[derive(Debug)]
pub struct Tree {
    directory: TempDir,
}

impl Tree {
    /// The raw image, with the root file system in its place and nothing else.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// A file that was taken out of the tree, one of [`TAKEN`].
    pub fn taken(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// What is needed beside the file system: the shell pattern of its path, and its name here.
const TAKEN: &[(&str, &str)] = &[
    ("boot/vmlinuz-*", "linux"),
    ("boot/initrd.img-*", "initrd"),
    (
        "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
        "systemd-boot",
    ),
];

/// The kernel's release is left here.
pub const RELEASE: &str = "release";

/// Puts the system together and writes it into the image's root partition.
pub fn run(recipe: &Recipe, layout: &Layout, mirror: Option<&str>) -> Result<Tree, BuildError> {
    let mode = mode()?;
    let directory = TempDir::with_prefix("billet-build-")
        .map_err(|e| io_error("creating a directory in", &std::env::temp_dir(), e))?;
    let tree = Tree { directory };
    prepare(&tree, layout, mode)?;

    let mut command = Command::new("mmdebstrap");
    command
        .arg("--variant=minbase")
        .arg(format!("--mode={mode}"))
        .arg("--format=null")
        .arg(format!("--include={}", recipe.packages.join(",")))
        .args([
            // The tree is thrown away if this fails: nothing in it needs to be safe.
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
        ])
        .arg(format!("--essential-hook={}", write_files(recipe.before)))
        .arg(format!("--customize-hook={}", customize(recipe)))
        .arg(format!(
            "--customize-hook={}",
            write_image(tree.directory.path(), layout)
        ))
        .arg(recipe.suite)
        .arg("/dev/null");
    if let Some(mirror) = mirror {
        command.arg(mirror);
    }
    command::run(&mut command, "mmdebstrap").map_err(|source| BuildError::Tool {
        doing: "installing the distribution's packages",
        source,
    })?;
    close(&tree)?;
    Ok(tree)
}

/// Takes back what [`prepare`] gave to everyone.
fn close(tree: &Tree) -> Result<(), BuildError> {
    let path = tree.directory.path();
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(|e| io_error("setting permissions of", path, e))?;
    let path = tree.image();
    fs::set_permissions(&path, Permissions::from_mode(0o644))
        .map_err(|e| io_error("setting permissions of", &path, e))
}

/// Makes the files that the hook writes to. In a user namespace the hook is
/// another user, so there anyone may write to them until [`close`].
fn prepare(tree: &Tree, layout: &Layout, mode: &str) -> Result<(), BuildError> {
    let (directory_mode, file_mode) = match mode {
        "root" => (0o700, 0o600),
        _ => (0o711, 0o666),
    };
    let path = tree.directory.path();
    fs::set_permissions(path, Permissions::from_mode(directory_mode))
        .map_err(|e| io_error("setting permissions of", path, e))?;
    let names = TAKEN.iter().map(|(_, name)| *name);
    for name in names.chain(["image", RELEASE]) {
        let path = tree.taken(name);
        let file = File::create(&path).map_err(|e| io_error("creating", &path, e))?;
        file.set_permissions(Permissions::from_mode(file_mode))
            .map_err(|e| io_error("setting permissions of", &path, e))?;
        if name == "image" {
            file.set_len(layout.size)
                .map_err(|e| io_error("sizing", &path, e))?;
        }
    }
    Ok(())
}

/// `root` for root, else `unshare`, if the system lets users have namespaces.
fn mode() -> Result<&'static str, BuildError> {
    if rustix::process::geteuid().is_root() {
        return Ok("root");
    }
    command::run(
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]),
        "util-linux",
    )
    .map_err(|e| BuildError::NoPrivileges {
        reason: e.to_string(),
        remedy: "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)",
    })?;
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let reason = if !Path::new("/usr/bin/newuidmap").exists() {
        "newuidmap is not installed"
    } else if ranges.trim().is_empty() {
        "nobody has a range of user ids to give away (/etc/subuid is empty)"
    } else {
        return Ok("unshare");
    };
    Err(BuildError::NoPrivileges {
        reason: reason.to_owned(),
        remedy: "install the package uidmap, and give your user a range (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER)",
    })
}

/// A shell script that writes files into the tree, which is `$1`.
fn write_files(files: &[(&str, &str)]) -> String {
    let mut script = String::from("set -eu\n");
    for (path, content) in files {
        let _ = write!(
            script,
            "mkdir -p \"$1$(dirname {path})\"\ncat > \"$1{path}\" <<'END-OF-FILE'\n{content}END-OF-FILE\n"
        );
        if content.starts_with("#!") {
            let _ = writeln!(script, "chmod 755 \"$1{path}\"");
        }
    }
    script
}

/// Makes the system one that has never been booted, and can be by anyone.
fn customize(recipe: &Recipe) -> String {
    let mut script = write_files(recipe.after);
    for unit in recipe.enable {
        let _ = writeln!(script, "chroot \"$1\" systemctl --quiet enable {unit}");
    }
    for unit in recipe.disable {
        let _ = writeln!(script, "chroot \"$1\" systemctl --quiet disable {unit}");
    }
    // New kernels of the tenant's go where this one is.
    let _ = writeln!(
        script,
        "mkdir -p \"$1/etc/kernel\"\necho {} > \"$1/etc/kernel/entry-token\"",
        recipe.token
    );
    script.push_str(
        r#"mkdir -p "$1/boot/efi"
rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub
rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/var/lib/dbus/machine-id"
ln -s ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"
rm -f "$1/initrd.img.old" "$1/vmlinuz.old" "$1/var/lib/systemd/random-seed"
: > "$1/etc/machine-id"
"#,
    );
    script
}

/// Undoes what mmdebstrap would only undo after this hook, and writes the tree.
fn write_image(directory: &Path, layout: &Layout) -> String {
    let directory = directory.display();
    let mut script = format!("set -eu\nout='{directory}'\n");
    let _ = write!(
        script,
        "cat > \"$1/etc/fstab\" <<'END-OF-FILE'\n{}END-OF-FILE\n",
        layout.fstab()
    );
    for (pattern, name) in TAKEN {
        let _ = writeln!(script, "cat \"$1\"/{pattern} > \"$out/{name}\"");
    }
    let _ = write!(
        script,
        r#"ls "$1/lib/modules" > "$out/{RELEASE}"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/archives/*.deb "$1"/var/cache/apt/*.bin
rm -f "$1"/var/log/dpkg.log "$1"/var/log/alternatives.log "$1"/var/log/apt/* "$1"/var/cache/ldconfig/aux-cache
rm -f "$1/usr/sbin/policy-rc.d" "$1/etc/apt/apt.conf.d/00mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
if [ -e "$1/sbin/start-stop-daemon.REAL" ]; then mv "$1/sbin/start-stop-daemon.REAL" "$1/sbin/start-stop-daemon"; fi
export TREE="$1"
unshare --mount sh -euc '
    mount --bind "$TREE" /mnt
    mke2fs -q -t ext4 -L root -U {uuid} -E offset={offset},hash_seed={uuid} -d /mnt "'"$out"'/image" {kib}k
'
: > "$1/etc/apt/apt.conf.d/00mmdebstrap"
"#,
        uuid = layout.root_fs,
        offset = layout.root.start,
        kib = layout.root.len / 1024,
    );
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let content = "a 'quoted' $variable\nand `more`\n";
        let script = write_files(&[("/etc/deep/file", content)]);
        let done = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(done.success());
        let written = fs::read_to_string(directory.path().join("etc/deep/file")).unwrap();
        assert_eq!(written, content);
    }
}
