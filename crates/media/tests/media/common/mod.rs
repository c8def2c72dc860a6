//! What several tests need: small disks, and programs that may not be installed.

#![allow(clippy::print_stdout)]

pub mod iso;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::process::Command;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types;

pub const MIB: usize = 1 << 20;

/// True when `program` runs; says plainly that a test is skipped when it does not.
pub fn have(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED {test}: `{program}` is not installed");
    }
    found
}

/// Runs a program that must succeed.
pub fn sh(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A disk of 24 MiB and some: GPT, an ESP with `files` on it, and a root partition
/// with some data and many zeros.
pub fn disk(files: &[(&str, &str)]) -> Vec<u8> {
    let mut disk = vec![0; 24 * MIB + 4096];
    let sectors = disk.len() as u64 / 512;
    let mut device = Cursor::new(&mut disk[..]);
    ProtectiveMBR::with_lb_size(sectors as u32 - 1)
        .overwrite_lba0(&mut device)
        .unwrap();
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, None)
        .unwrap();
    let partition = |kind, first_lba, last_lba| Partition {
        part_type_guid: kind,
        part_guid: uuid::Uuid::new_v4(),
        first_lba,
        last_lba,
        flags: 0,
        name: "part".to_owned(),
    };
    table
        .update_partitions(BTreeMap::from([
            (1, partition(partition_types::LINUX_FS, 20480, 40000)),
            (2, partition(partition_types::EFI, 2048, 20479)),
        ]))
        .unwrap();
    table.write().unwrap();

    let esp = &mut disk[MIB..10 * MIB];
    fatfs::format_volume(Cursor::new(&mut *esp), FormatVolumeOptions::new()).unwrap();
    let volume = FileSystem::new(Cursor::new(&mut *esp), FsOptions::new()).unwrap();
    for (path, content) in files {
        for (at, _) in path.match_indices('/') {
            volume.root_dir().create_dir(&path[..at]).unwrap();
        }
        let mut file = volume.root_dir().create_file(path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }
    volume.unmount().unwrap();

    for (at, byte) in disk[12 * MIB..13 * MIB + 1000].iter_mut().enumerate() {
        *byte = (at * at / 7) as u8;
    }
    disk
}
