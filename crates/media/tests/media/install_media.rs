//! A medium with a tenant's own installer has in it what was given, and what is a lease's own.

use std::fs;
use std::path::{Path, PathBuf};

use billet_media::install_media::{InstallMedia, places_path};
use billet_media::ramdisk::{DEFAULT_STUB, sections};
use billet_model::Secret;
use billet_protocol::install::InstallRecord;

use crate::common::iso::{boot_image, file, whole};

fn record(text: &str) -> InstallRecord {
    InstallRecord {
        lease: "l".into(),
        digest: "d".into(),
        url: Secret::new("https://10.0.0.1/install/v1/token"),
        text: Secret::new(text),
    }
}

fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8 ^ seed).collect()
}

fn write(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_kernel_and_its_initrds_are_one_program_with_the_leases_command_line() {
    let stub = Path::new(DEFAULT_STUB);
    // Sizes on both sides of a FAT cluster's growth, and odd ones.
    for size in [70_001, 150 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let kernel = write(dir.path(), "linux", &bytes(123_457, 1));
        let first = write(dir.path(), "first", &bytes(size, 2));
        let second = write(dir.path(), "second", &bytes(33, 3));
        let path = dir.path().join("medium.iso");
        let made = InstallMedia::of_kernel(stub, &kernel, &[&first, &second], &path).unwrap();
        let lines = ["quiet ip=10.0.0.5", "", &"x".repeat(2047)];
        let few = if size > 1 << 20 { 1 } else { lines.len() };
        for line in &lines[..few] {
            let medium = made.medium(line, &record(line)).unwrap();
            let iso = whole(&medium);
            let uki = file(boot_image(&iso), "EFI/BOOT/BOOTX64.EFI");
            let found = sections(&uki).unwrap();
            let section = |name: &str| {
                let found = found.iter().find(|(n, _)| n == name);
                found.unwrap_or_else(|| panic!("{name}")).1.clone()
            };
            assert_eq!(section(".cmdline"), line.as_bytes());
            assert_eq!(section(".linux"), bytes(123_457, 1));
            let initrd = section(".initrd");
            let padded = size.next_multiple_of(4);
            assert!(initrd[..size] == bytes(size, 2), "the first initrd");
            assert!(initrd[size..padded].iter().all(|b| *b == 0));
            assert_eq!(initrd[padded..padded + 33], bytes(33, 3));
            assert_eq!(initrd.len(), padded + 36);
            let tail = &iso[iso.len() - 64 * 1024..];
            assert_eq!(InstallRecord::find(tail), Some(record(line)));
        }
        // Opened again it is the same, and read in pieces too.
        let again = InstallMedia::open(&path).unwrap();
        let a = made.medium("a", &record("a")).unwrap();
        let b = again.medium("a", &record("a")).unwrap();
        assert_eq!(a.sha256().unwrap(), b.sha256().unwrap());
        let other = again.medium("b", &record("b")).unwrap();
        assert_ne!(a.sha256().unwrap(), other.sha256().unwrap());
        assert!(again.medium(&"x".repeat(5000), &record("")).is_err());
    }
}

#[test]
fn ipxe_finds_the_script_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let ipxe = write(dir.path(), "ipxe.efi", &bytes(1_000_003, 4));
    let path = dir.path().join("medium.iso");
    let made = InstallMedia::of_script(&ipxe, &path).unwrap();
    assert!(places_path(&path).is_file());
    for script in ["#!ipxe\nshell\n".to_owned(), "#!ipxe\n#".repeat(9_000)] {
        let iso = whole(&made.medium(&script, &record(&script)).unwrap());
        let fat = boot_image(&iso);
        assert_eq!(file(fat, "autoexec.ipxe"), script.as_bytes());
        assert_eq!(file(fat, "EFI/BOOT/BOOTX64.EFI"), bytes(1_000_003, 4));
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "nothing else is left behind: {left:?}");
}
