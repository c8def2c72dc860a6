//! A small recorded tree: what sysfs shows of an NVMe drive, a SATA drive, a
//! remote drive and a virtual medium.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use billet_hardware::{NvmeProbe, Tree, inventory};
use billet_model::inventory::{DriveKind, Emulation};

/// A controller that offers sanitize, in two namespaces of which one is active.
struct Controller;

impl NvmeProbe for Controller {
    fn controller(&self, name: &str) -> io::Result<Vec<u8>> {
        assert_eq!(name, "nvme3");
        let mut identify = vec![0; 4096];
        identify[256] = 1 << 1 | 1 << 3;
        identify[328] = 0b011;
        Ok(identify)
    }

    fn namespace(&self, _: &str, nsid: u32) -> io::Result<Vec<u8>> {
        assert_eq!(nsid, 1);
        let mut identify = vec![0; 4096];
        identify[119] = 0xee;
        Ok(identify)
    }

    fn namespace_list(&self, _: &str, allocated: bool) -> io::Result<Vec<u8>> {
        assert!(allocated, "it manages namespaces");
        let mut list = vec![0; 4096];
        (list[0], list[4]) = (1, 2);
        Ok(list)
    }

    fn health(&self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
}

fn link(root: &Path, from: &str, to: &str) {
    let from = root.join(from);
    fs::create_dir_all(from.parent().expect("a parent")).expect("made");
    symlink(root.join(to), from).expect("linked");
}

#[test]
fn drives_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let nvme = "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme3";
    let sata = "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    let iscsi = "sys/devices/platform/host3/session1/target3:0:0/3:0:0:1";
    let usb = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host5/target5:0:0/5:0:0:0";
    put(
        root,
        &[
            (&format!("{nvme}/serial"), "S6XNNA0W   \n"),
            (&format!("{nvme}/model"), "SAMSUNG MZ  \n"),
            (&format!("{nvme}/transport"), "pcie\n"),
            // The namespace's number is the subsystem's, not the controller's.
            (&format!("{nvme}/nvme0n1/size"), "2048\n"),
            (&format!("{nvme}/nvme0n1/nsid"), "1\n"),
            (&format!("{nvme}/nvme0n1/queue/logical_block_size"), "512\n"),
            (&format!("{sata}/vpd_pg80"), "\0\u{1}\0\u{8}  WD-0042"),
            (&format!("{sata}/wwid"), "naa.50014EE2B1\n"),
            (&format!("{sata}/vendor"), "ATA     \n"),
            (&format!("{sata}/block/sda/size"), "1000\n"),
            (&format!("{sata}/block/sda/queue/rotational"), "1\n"),
            (&format!("{iscsi}/block/sdb/size"), "1000\n"),
            (&format!("{usb}/block/sdc/size"), "1000\n"),
            ("sys/block/loop0/size", "8\n"),
            ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
            (
                "sys/class/dmi/id/product_serial",
                "To Be Filled By O.E.M.\n",
            ),
        ],
    );
    link(root, "sys/class/nvme/nvme3", nvme);
    link(root, "sys/block/nvme0n1", &format!("{nvme}/nvme0n1"));
    link(root, &format!("{nvme}/nvme0n1/device"), nvme);
    for (name, at) in [("sda", sata), ("sdb", iscsi), ("sdc", usb)] {
        link(
            root,
            &format!("sys/block/{name}"),
            &format!("{at}/block/{name}"),
        );
        link(root, &format!("{at}/block/{name}/device"), at);
    }

    let found = inventory(&Tree::new(root), &Controller);
    assert_eq!(found.emulation(), Emulation::None);
    assert_eq!(found.system.serial, None, "a placeholder is no serial");
    let own: Vec<&str> = found.own_drives().map(|d| d.name.as_str()).collect();
    assert_eq!(own, ["nvme0n1", "sda"]);
    assert_eq!(found.drives.len(), 4);

    let nvme = &found.drives[0];
    assert_eq!(nvme.serial.as_deref(), Some("S6XNNA0W"));
    assert_eq!(
        nvme.wwn.as_deref(),
        Some("000000000000000000000000000000ee")
    );
    assert_eq!((nvme.size_bytes, nvme.block_bytes), (1 << 20, Some(512)));
    assert_eq!(nvme.namespaces, [1, 2]);
    assert!(nvme.erase.sanitize_block && nvme.erase.format_user && !nvme.erase.write_zeroes);
    assert_eq!(nvme.healthy, None, "not asked is not healthy");

    let sata = &found.drives[1];
    assert_eq!(sata.kind, DriveKind::Hdd);
    assert_eq!(sata.serial.as_deref(), Some("WD-0042"));
    assert_eq!(sata.wwn.as_deref(), Some("50014ee2b1"));
    assert_eq!(sata.manufacturer, None);
    assert!(found.drives[2].remote && found.drives[3].removable);
}
