//! Kernel arguments in boot loader entries: the `options` line of each
//! `loader/entries/*.conf` on a FAT file system.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{Dir, FileSystem, FsOptions, ReadWriteSeek};

use crate::args;

/// Bytes of one entry, at most.
const MOST: u64 = 64 << 10;
/// Entries that are looked at.
const ENTRIES: usize = 1000;

/// Adds the arguments to every entry. Returns the names of those changed.
///
/// # Errors
/// When the file system cannot be read or written.
pub(crate) fn set<T: ReadWriteSeek>(disk: T, extra: &[String]) -> io::Result<Vec<String>> {
    let fs = FileSystem::new(disk, FsOptions::new())?;
    let mut changed = Vec::new();
    if let Some(entries) = entries(&fs.root_dir())? {
        for name in names(&entries)? {
            let mut file = entries.open_file(&name)?;
            let text = text(&name, &mut file)?;
            file.seek(SeekFrom::Start(0))?;
            file.truncate()?;
            file.write_all(edit(&text, extra).as_bytes())?;
            file.flush()?;
            changed.push(name);
        }
    }
    fs.unmount()?;
    Ok(changed)
}

/// Whether every entry has the arguments.
///
/// # Errors
/// When the file system cannot be read.
pub(crate) fn check<T: ReadWriteSeek>(disk: T, extra: &[String]) -> io::Result<bool> {
    let fs = FileSystem::new(disk, FsOptions::new())?;
    let Some(entries) = entries(&fs.root_dir())? else {
        return Ok(false);
    };
    for name in names(&entries)? {
        let text = text(&name, &mut entries.open_file(&name)?)?;
        if edit(&text, extra) != text {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every entry and what it says.
///
/// # Errors
/// When the file system cannot be read.
pub(crate) fn read<T: ReadWriteSeek>(disk: T) -> io::Result<Vec<(String, String)>> {
    let fs = FileSystem::new(disk, FsOptions::new())?;
    let mut read = Vec::new();
    if let Some(entries) = entries(&fs.root_dir())? {
        for name in names(&entries)? {
            let text = text(&name, &mut entries.open_file(&name)?)?;
            read.push((name, text));
        }
    }
    Ok(read)
}

fn entries<'a, T: ReadWriteSeek>(root: &Dir<'a, T>) -> io::Result<Option<Dir<'a, T>>> {
    match root.open_dir("loader/entries") {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an entry says: a few lines, where one that is larger is none.
fn text(name: &str, file: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        let what = format!("{name} has more than {MOST} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

fn names<T: ReadWriteSeek>(entries: &Dir<'_, T>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries.iter().take(ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        if entry.is_file() && name.to_lowercase().ends_with(".conf") {
            names.push(name);
        }
    }
    Ok(names)
}

/// An entry with the arguments on its last `options` line, or on one of its own.
pub(crate) fn edit(text: &str, extra: &[String]) -> String {
    // A carriage return without its newline would be one when it is read again.
    let plain = |line: &str| line.trim_end_matches('\r').to_owned();
    let mut lines: Vec<String> = text.lines().map(plain).collect();
    let is_options = |line: &String| line.split_whitespace().next() == Some("options");
    match lines.iter().rposition(is_options) {
        Some(at) => lines[at] = args::extend(&lines[at], extra),
        None => lines.push(args::extend("options", extra)),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Found by fuzzing: the second look at such an entry took it for another.
    #[test]
    fn an_entry_that_ends_in_a_carriage_return_is_changed_once() {
        let extra = ["a=1".to_owned()];
        for text in ["title x\r", "options y\r\nlinux z\r", "options y\r\r\n\r"] {
            let once = edit(text, &extra);
            assert_eq!(edit(&once, &extra), once, "{text:?}");
        }
    }

    #[test]
    fn every_entry_gets_the_arguments() -> io::Result<()> {
        let mut disk = vec![0; 4 << 20];
        fatfs::format_volume(
            Cursor::new(&mut disk[..]),
            fatfs::FormatVolumeOptions::new(),
        )?;
        let fs = FileSystem::new(Cursor::new(&mut disk[..]), FsOptions::new())?;
        let dir = fs.root_dir().create_dir("loader")?.create_dir("entries")?;
        dir.create_file("debian-6.1.0-long-name.conf")?
            .write_all(b"title Debian\nlinux /vmlinuz\noptions root=LABEL=r ro\ninitrd /i\n")?;
        dir.create_file("rescue.conf")?
            .write_all(b"title R\nlinux /v\n")?;
        dir.create_file("notes.txt")?.write_all(b"options x\n")?;
        drop(dir);
        fs.unmount()?;

        let extra = ["iommu=pt".to_owned(), "hugepages=8".to_owned()];
        assert!(!check(Cursor::new(&mut disk[..]), &extra)?);
        let changed = set(Cursor::new(&mut disk[..]), &extra)?;
        assert_eq!(changed.len(), 2);
        assert!(check(Cursor::new(&mut disk[..]), &extra)?);

        let fs = FileSystem::new(Cursor::new(&mut disk[..]), FsOptions::new())?;
        let mut text = String::new();
        fs.root_dir()
            .open_file("loader/entries/debian-6.1.0-long-name.conf")?
            .read_to_string(&mut text)?;
        assert!(text.contains("options root=LABEL=r ro iommu=pt hugepages=8\ninitrd"));
        text.clear();
        fs.root_dir()
            .open_file("loader/entries/notes.txt")?
            .read_to_string(&mut text)?;
        assert_eq!(text, "options x\n");
        Ok(())
    }
}
