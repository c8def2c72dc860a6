//! Kernel arguments in file systems that the kernel mounts: GRUB's own
//! configuration for the next boot, and the files that updates read afterwards.

use std::{io, path::Path};

use crate::{args, bls, inside::Inside};

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
///
/// # Errors
/// When `root` is no directory.
pub(crate) fn concerned(root: &Path) -> io::Result<bool> {
    let inside = Inside::new(root)?;
    Ok(PLACES.iter().any(|place| inside.has(place)))
}

/// Sets the arguments below `root`, a mounted file system of the image. Returns
/// the files that the next boot reads (`boots`) and those for later updates.
///
/// # Errors
/// When a file cannot be read or written.
pub fn set(root: &Path, extra: &[String]) -> io::Result<Changed> {
    let inside = Inside::new(root)?;
    let mut changed = Changed::default();
    for dir in ["boot/", ""] {
        for name in ["grub/grub.cfg", "grub2/grub.cfg"] {
            let path = format!("{dir}{name}");
            if rewrite(&inside, &path, |text| edit(text, extra))? {
                changed.boots.push(format!("/{path}"));
            }
        }
        let entries = format!("{dir}loader/entries");
        for name in inside.names(&entries)? {
            let path = format!("{entries}/{name}");
            let is_entry = name.ends_with(".conf");
            if is_entry && rewrite(&inside, &path, |text| Some(bls::edit(text, extra)))? {
                changed.boots.push(format!("/{path}"));
            }
        }
    }
    let kernel_install = "etc/kernel/cmdline";
    if rewrite(&inside, kernel_install, |text| {
        Some(args::extend(text, extra) + "\n")
    })? {
        changed.updates.push(format!("/{kernel_install}"));
    }
    if inside.has("etc/default/grub") {
        inside.make_directory("etc/default", "grub.d")?;
        let path = "etc/default/grub.d/99-billet.cfg";
        let line = format!(
            "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {}\"\n",
            extra.join(" ")
        );
        inside.write(path, &line)?;
        changed.updates.push(format!("/{path}"));
    }
    Ok(changed)
}

/// Which files have the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Read at the next boot.
    pub boots: Vec<String>,
    /// Read when a kernel is installed or GRUB is set up anew.
    pub updates: Vec<String>,
}

/// Rewrites a file; whether it was there, and has the arguments now. `edit` gives
/// none where there is no line to put them on.
fn rewrite(inside: &Inside, path: &str, edit: impl Fn(&str) -> Option<String>) -> io::Result<bool> {
    let Some(text) = inside.read(path)? else {
        return Ok(false);
    };
    let Some(edited) = edit(&text) else {
        return Ok(false);
    };
    if edited != text {
        inside.write(path, &edited)?;
    }
    Ok(true)
}

/// GRUB's configuration with the arguments on every line that loads a kernel; none
/// where no line does.
pub(crate) fn edit(text: &str, extra: &[String]) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 256);
    let mut found = false;
    for line in text.split_inclusive('\n') {
        let loads = line
            .split_whitespace()
            .next()
            .is_some_and(|word| ["linux", "linuxefi", "linux16"].contains(&word));
        if loads {
            found = true;
            out.push_str(&args::extend(line, extra));
            out.push('\n');
        } else {
            out.push_str(line);
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_kernel_line_gets_the_arguments() {
        let extra = ["a=1".to_owned()];
        let text = "menuentry 'x' {\n\tlinux\t/boot/vmlinuz root=/dev/vda1 ro\n\tinitrd /i\n}\nset linux=no\n";
        let edited = edit(text, &extra).expect("a kernel line");
        assert!(edited.contains("\tlinux\t/boot/vmlinuz root=/dev/vda1 ro a=1\n"));
        assert_eq!(edit(&edited, &extra).as_ref(), Some(&edited));
        assert_eq!(edited.matches("a=1").count(), 1);
        assert_eq!(edit("configfile /other.cfg\n", &extra), None);
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
        assert!(!concerned(root.path())?);
        assert_eq!(set(root.path(), &["a".to_owned()])?, Changed::default());
        fs::create_dir_all(root.path().join("boot/grub2"))?;
        fs::write(root.path().join("boot/grub2/grub.cfg"), "")?;
        assert!(concerned(root.path())?);
        // No kernel is loaded there: it is not said that arguments reach one.
        assert_eq!(set(root.path(), &["a".to_owned()])?, Changed::default());
        Ok(())
    }
}
