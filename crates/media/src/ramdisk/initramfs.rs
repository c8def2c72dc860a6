//! Packs the agent and the kernel modules into a compressed cpio archive that the kernel unpacks.

use std::collections::BTreeSet;
use std::io::{self, Write};

use cpio::newc::{self, Builder};

use super::modules::Selection;
use crate::digest;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Slow to pack, a quarter smaller than the default, and as quick to unpack.
const LEVEL: i32 = 19;

/// Makes the archive. All times are zero and inode numbers count up, so that the
/// same contents give the same bytes.
pub fn pack(
    agent: &[u8],
    busybox: Option<&[u8]>,
    release: &str,
    selection: &Selection,
) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    // The kernel's decompressor keeps the window in memory, 8 MiB at most.
    encoder.window_log(23)?;
    let mut archive = Archive::new(encoder);

    for directory in ["dev", "proc", "sys", "run", "tmp", "etc", "root", "mnt"] {
        archive.directory(directory)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    archive.file("init", PROGRAM, agent)?;
    if let Some(busybox) = busybox {
        archive.file("bin/busybox", PROGRAM, busybox)?;
        // Whoever is let in has a name.
        archive.file("etc/passwd", FILE, b"root:x:0:0:root:/root:/bin/sh\n")?;
        archive.file("etc/group", FILE, b"root:x:0:\n")?;
    }
    let about = serde_json::json!({
        "agent_sha256": digest::sha256(agent),
        "kernel_release": release,
    });
    archive.file("etc/billet-ramdisk", FILE, about.to_string().as_bytes())?;
    archive.file("modules/order", FILE, selection.order(release).as_bytes())?;
    let root = format!("lib/modules/{release}");
    archive.file(
        &format!("{root}/modules.dep"),
        FILE,
        selection.dep().as_bytes(),
    )?;
    archive.file(
        &format!("{root}/modules.alias"),
        FILE,
        selection.alias().as_bytes(),
    )?;
    for module in selection.modules.values() {
        archive.file(&format!("{root}/{}", module.path), FILE, &module.bytes)?;
    }
    archive.finish()?.finish()
}

struct Archive<W> {
    writer: W,
    next_inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn new(writer: W) -> Self {
        Self {
            writer,
            next_inode: 1,
            directories: BTreeSet::new(),
        }
    }

    fn entry(&mut self, builder: Builder, contents: &[u8]) -> io::Result<()> {
        let length = u32::try_from(contents.len())
            .map_err(|_| io::Error::other("a file of 4 GiB does not fit into a cpio archive"))?;
        let builder = builder.ino(self.next_inode).mtime(0).uid(0).gid(0);
        self.next_inode += 1;
        let mut entry = builder.write(&mut self.writer, length);
        entry.write_all(contents)?;
        entry.finish()?;
        Ok(())
    }

    /// A directory, and those above it: the kernel creates none by itself.
    fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut end = 0;
        while end < path.len() {
            end = path[end..].find('/').map_or(path.len(), |at| end + at);
            let part = &path[..end];
            end += 1;
            if self.directories.insert(part.to_owned()) {
                self.entry(Builder::new(part).mode(DIRECTORY).nlink(2), &[])?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        self.entry(Builder::new(path).mode(mode).nlink(1), contents)
    }

    fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(
            Builder::new(path)
                .mode(CHARACTER_DEVICE)
                .nlink(1)
                .rdev_major(major)
                .rdev_minor(minor),
            &[],
        )
    }

    fn finish(self) -> io::Result<W> {
        newc::trailer(self.writer)
    }
}
