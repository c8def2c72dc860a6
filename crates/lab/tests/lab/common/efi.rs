//! A tiny program for UEFI, and file systems to boot it from.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// How the program ends.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum End {
    /// It resets the machine: EFI_RESET_TYPE EfiResetCold.
    Reset = 0,
    /// It powers the machine off: EfiResetShutdown.
    Off = 2,
}

/// A program that writes `text` and ends the machine.
fn program(text: &str, end: End) -> Vec<u8> {
    // On entry rdx is the system table.
    let mut code = vec![0x48, 0x83, 0xec, 0x28]; // sub rsp, 28h
    code.extend([0x48, 0x89, 0xd3]); // mov rbx, rdx
    code.extend([0x48, 0x8b, 0x4a, 0x40]); // mov rcx, [rdx+40h]: ConOut
    code.extend([0x48, 0x8d, 0x15]); // lea rdx, [rip+..]
    let text_at = code.len();
    code.extend([0; 4]);
    code.extend([0xff, 0x51, 0x08]); // call [rcx+8]: OutputString
    code.extend([0x48, 0x8b, 0x43, 0x58]); // mov rax, [rbx+58h]: RuntimeServices
    code.push(0xb9); // mov ecx, how
    code.extend((end as u32).to_le_bytes());
    code.extend([0x31, 0xd2, 0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9]); // no status, no data
    code.extend([0xff, 0x50, 0x68]); // call [rax+68h]: ResetSystem
    code.extend([0xeb, 0xfe]); // jmp .
    let distance = (code.len() - text_at - 4) as u32;
    code[text_at..text_at + 4].copy_from_slice(&distance.to_le_bytes());
    for unit in text.encode_utf16().chain([13, 10, 0]) {
        code.extend(unit.to_le_bytes());
    }
    executable(&code)
}

/// A PE32+ image with one section (Microsoft's PE format, sections "COFF File Header" and
/// "Optional Header").
fn executable(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes()); // machine
    put(0x46, &1u16.to_le_bytes()); // sections
    put(0x54, &0xf0u16.to_le_bytes()); // size of the optional header
    put(0x56, &0x0022u16.to_le_bytes()); // executable, large addresses
    put(0x58, &0x20bu16.to_le_bytes()); // PE32+
    put(0x5c, &0x200u32.to_le_bytes()); // size of code
    put(0x68, &0x1000u32.to_le_bytes()); // entry point
    put(0x6c, &0x1000u32.to_le_bytes()); // base of code
    put(0x78, &0x1000u32.to_le_bytes()); // section alignment
    put(0x7c, &0x200u32.to_le_bytes()); // file alignment
    put(0x90, &0x2000u32.to_le_bytes()); // size of image
    put(0x94, &0x200u32.to_le_bytes()); // size of headers
    put(0x9c, &10u16.to_le_bytes()); // subsystem: EFI application
    put(0xc4, &16u32.to_le_bytes()); // directories, all empty
    put(0x148, b".text\0\0\0");
    put(0x150, &0x1000u32.to_le_bytes()); // virtual size
    put(0x154, &0x1000u32.to_le_bytes()); // virtual address
    put(0x158, &0x200u32.to_le_bytes()); // size in the file
    put(0x15c, &0x200u32.to_le_bytes()); // place in the file
    put(0x16c, &0x6000_0020u32.to_le_bytes()); // code, executable, readable
    put(0x200, code);
    image
}

/// Put a FAT file system of 16 MiB at the beginning of `file`, which boots the program.
pub fn bootable(file: &Path, text: &str, end: End) {
    const SIZE: u64 = 16 << 20;
    let mut out = std::io::Cursor::new(vec![0u8; SIZE as usize]);
    fatfs::format_volume(&mut out, fatfs::FormatVolumeOptions::new()).expect("a file system");
    {
        let fs = fatfs::FileSystem::new(&mut out, fatfs::FsOptions::new()).expect("it");
        let root = fs.root_dir();
        let dir = root.create_dir("EFI").expect("EFI");
        let dir = dir.create_dir("BOOT").expect("BOOT");
        let mut app = dir.create_file("BOOTX64.EFI").expect("the program");
        app.write_all(&program(text, end)).expect("the program");
    }
    let mut bytes = Vec::new();
    out.seek(SeekFrom::Start(0)).expect("a seek");
    out.read_to_end(&mut bytes).expect("all of it");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file)
        .expect("the file");
    file.write_all(&bytes).expect("written");
}
