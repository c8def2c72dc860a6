//! A boot medium, read as firmware reads it.

use std::io::{Cursor, Read as _};

use billet_media::boot_media::BootMedium;
use fatfs::{FileSystem, FsOptions};

/// All of its bytes.
pub fn whole(medium: &BootMedium) -> Vec<u8> {
    let mut bytes = Vec::new();
    medium.write_to(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, medium.len());
    bytes
}

/// Follows El Torito from the descriptor to the boot image, as firmware does.
pub fn boot_image(iso: &[u8]) -> &[u8] {
    let long = |at: usize| u32::from_le_bytes(iso[at..at + 4].try_into().unwrap()) as usize;
    let descriptor = 17 * 2048;
    assert_eq!(&iso[descriptor..descriptor + 7], b"\0CD001\x01");
    assert!(iso[descriptor + 7..].starts_with(b"EL TORITO SPECIFICATION"));
    let catalogue = long(descriptor + 0x47) * 2048;
    let validation = &iso[catalogue..catalogue + 32];
    assert_eq!((validation[0], validation[1]), (1, 0xef), "for UEFI");
    assert_eq!(&validation[30..], [0x55, 0xaa]);
    let sum = validation.chunks(2).fold(0u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    assert_eq!(sum, 0);
    let entry = catalogue + 32;
    assert_eq!(
        (iso[entry], iso[entry + 1]),
        (0x88, 0),
        "bootable, no emulation"
    );
    &iso[long(entry + 8) * 2048..]
}

/// A file of the FAT file system.
pub fn file(fat: &[u8], path: &str) -> Vec<u8> {
    let volume = FileSystem::new(Cursor::new(fat.to_vec()), FsOptions::new()).unwrap();
    let mut content = Vec::new();
    let mut file = volume.root_dir().open_file(path).unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}
