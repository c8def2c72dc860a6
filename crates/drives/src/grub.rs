//! Kernel arguments in file systems that the kernel mounts: GRUB's own
//! configuration for the next boot, and the files that updates read afterwards.

use std::{fs, io, path::Path};

use crate::{args, bls};

/// Files and directories that arguments may stand in.
const PLACES: &[&str] = &[
    "boot/grub/grub.cfg",
    "boot/grub2/grub.cfg",
    "boot/loader/entries",
    "grub/grub.cfg",
    "grub2/grub.cfg",
    "loader/entries",
    "etc/kernel/cmdline",
    "etc/default/grub",
];

/// Whether [`set`] would find anything below `root`.
pub(crate) fn concerned(root: &Path) -> bool {
    PLACES.iter().any(|place| root.join(place).exists())
}

/// Sets the arguments below `root`, a mounted file system of the image. Returns
/// the files that the next boot reads (`boots`) and those for later updates.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn set(root: &Path, extra: &[String]) -> io::Result<Changed> {
    let mut changed = Changed::default();
    for dir in ["boot", ""] {
        for name in ["grub/grub.cfg", "grub2/grub.cfg"] {
            let path = root.join(dir).join(name);
            if rewrite(&path, |text| edit(text, extra))? {
                changed.boots.push(shown(root, &path));
            }
        }
        let entries = root.join(dir).join("loader/entries");
        for entry in fs::read_dir(&entries).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_entry = path.extension().is_some_and(|e| e == "conf");
            if is_entry && rewrite(&path, |text| bls::edit(text, extra))? {
                changed.boots.push(shown(root, &path));
            }
        }
    }
    let kernel_install = root.join("etc/kernel/cmdline");
    if rewrite(&kernel_install, |text| args::extend(text, extra) + "\n")? {
        changed.updates.push(shown(root, &kernel_install));
    }
    if root.join("etc/default/grub").is_file() {
        let dir = root.join("etc/default/grub.d");
        fs::create_dir_all(&dir)?;
        let path = dir.join("99-billet.cfg");
        let line = format!(
            "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {}\"\n",
            extra.join(" ")
        );
        fs::write(&path, line)?;
        changed.updates.push(shown(root, &path));
    }
    Ok(changed)
}

/// Which files have the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Read at the next boot.
    pub boots: Vec<String>,
    /// Read when a kernel is installed or GRUB is set up anew.
    pub updates: Vec<String>,
}

fn shown(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", inside.display())
}

/// Rewrites a file and reads it back; whether it was there and has something to say.
fn rewrite(path: &Path, edit: impl Fn(&str) -> String) -> io::Result<bool> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let edited = edit(&text);
    if edited == text {
        // Already so, or no line to put them on.
        return Ok(edit(&edited) == edited && text != edit(""));
    }
    fs::write(path, &edited)?;
    Ok(true)
}

/// GRUB's configuration with the arguments on every line that loads a kernel.
pub(crate) fn edit(text: &str, extra: &[String]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.split_inclusive('\n') {
        let loads = line
            .split_whitespace()
            .next()
            .is_some_and(|word| ["linux", "linuxefi", "linux16"].contains(&word));
        if loads {
            out.push_str(&args::extend(line, extra));
            out.push('\n');
        } else {
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_line_gets_the_arguments() {
        let extra = ["a=1".to_owned()];
        let text = "menuentry 'x' {\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro\n\tinitrd /i\n}\nset linux=no\n";
        let edited = edit(text, &extra);
        assert!(edited.contains("\tlinux\t/boot/vmlinuz root=/dev/vda1 ro a=1\n"));
        assert_eq!(edit(&edited, &extra), edited);
        assert_eq!(edited.matches("a=1").count(), 1);
    }

    #[test]
    fn files_for_the_boot_and_for_updates_are_told_apart() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        for dir in ["boot/grub", "etc/default", "etc/kernel"] {
            fs::create_dir_all(root.path().join(dir))?;
        }
        fs::write(root.path().join("boot/grub/grub.cfg"), "linux /v ro\n")?;
        fs::write(root.path().join("etc/default/grub"), "GRUB_TIMEOUT=0\n")?;
        fs::write(root.path().join("etc/kernel/cmdline"), "root=x\n")?;
        let changed = set(root.path(), &["iommu=pt".to_owned()])?;
        assert_eq!(changed.boots, ["/boot/grub/grub.cfg"]);
        assert_eq!(
            changed.updates,
            ["/etc/kernel/cmdline", "/etc/default/grub.d/99-billet.cfg"]
        );
        let text = fs::read_to_string(root.path().join("etc/kernel/cmdline"))?;
        assert_eq!(text, "root=x iommu=pt\n");
        let again = set(root.path(), &["iommu=pt".to_owned()])?;
        assert_eq!(again.boots, changed.boots);
        Ok(())
    }

    #[test]
    fn an_empty_file_system_has_nothing_to_change() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        assert!(!concerned(root.path()));
        assert_eq!(set(root.path(), &["a".to_owned()])?, Changed::default());
        fs::create_dir_all(root.path().join("boot/grub2"))?;
        fs::write(root.path().join("boot/grub2/grub.cfg"), "")?;
        assert!(concerned(root.path()));
        Ok(())
    }
}
