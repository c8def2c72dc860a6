//! Files of an image, below the place where its file system is mounted.
//!
//! An image is made by anyone: its `grub.cfg` may be a link to a drive of the
//! ramdisk's, a pipe that nobody writes to, or as large as a hole can be. So no link
//! leads out of the image, only files are opened, and they have an end.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2},
    io::Errno,
};

/// Bytes of a file of boot configuration, at most.
const MOST: u64 = 1 << 20;
/// Files in one directory that are looked at.
const ENTRIES: usize = 1000;

/// The root of an image's file system.
pub(crate) struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// The file system that is mounted at `root`.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags, Mode::empty())?;
        Ok(Self { root })
    }

    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        // What is no file must not keep who opens it; a mere place does not.
        let patient = match flags.contains(OFlags::PATH) {
            true => OFlags::empty(),
            false => OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let flags = flags | patient | OFlags::CLOEXEC;
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(0o644),
            false => Mode::empty(),
        };
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.root, path, flags, mode, within);
        opened.map_err(|e| named(path, e.into()))
    }

    /// Whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH).is_ok()
    }

    /// The text of a file; none where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is no file, too large, or no text.
    pub fn read(&self, path: &str) -> io::Result<Option<String>> {
        let file = match self.open(path, OFlags::RDONLY) {
            Ok(file) => File::from(file),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.check(path, &file)?;
        let mut text = String::new();
        let read = file.take(MOST + 1).read_to_string(&mut text);
        read.map_err(|e| named(path, e))?;
        if text.len() as u64 > MOST {
            return Err(too_large(path));
        }
        Ok(Some(text))
    }

    /// Writes a file, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be written, or is no file.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.open(path, OFlags::WRONLY | OFlags::CREATE)?;
        let mut file = File::from(file);
        self.check(path, &file)?;
        let mut write = || {
            file.set_len(0)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|e| named(path, e))
    }

    fn check(&self, path: &str, file: &File) -> io::Result<()> {
        let stat = fstat(file).map_err(|e| named(path, e.into()))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            let what = io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
            return Err(named(path, what));
        }
        match u64::try_from(stat.st_size) {
            Ok(size) if size <= MOST => Ok(()),
            _ => Err(too_large(path)),
        }
    }

    /// The names in a directory, sorted; none where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let directory = match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        let entries = Dir::new(directory).map_err(|e| named(path, e.into()))?;
        for entry in entries.take(ENTRIES) {
            let entry = entry.map_err(|e| named(path, e.into()))?;
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a directory in `parent`, where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_directory(&self, parent: &str, name: &str) -> io::Result<()> {
        let above = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(named(&format!("{parent}/{name}"), error.into())),
        }
    }
}

fn named(path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{path}: {error}"))
}

fn too_large(path: &str) -> io::Error {
    let what = format!("it has more than {MOST} bytes");
    named(path, io::Error::new(io::ErrorKind::FileTooLarge, what))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mknodat;

    use super::*;

    #[test]
    fn a_file_is_read_written_and_listed() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let inside = Inside::new(root.path())?;
        assert_eq!(inside.read("a/b")?, None);
        inside.make_directory(".", "a")?;
        inside.make_directory(".", "a")?;
        inside.write("a/b", "longer")?;
        inside.write("a/b", "text")?;
        assert_eq!(inside.read("a/b")?.as_deref(), Some("text"));
        assert!(inside.has("a/b") && !inside.has("a/c"));
        assert_eq!(inside.names("a")?, [".", "..", "b"]);
        assert!(inside.names("c")?.is_empty());
        // What is below a file is not there.
        assert_eq!(inside.read("a/b/c")?, None);
        Ok(())
    }

    #[test]
    fn no_link_leads_out() -> io::Result<()> {
        let outside = tempfile::tempdir()?;
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "of the ramdisk")?;
        let root = tempfile::tempdir()?;
        symlink(&secret, root.path().join("absolute"))?;
        symlink("../../../../../../../../etc/passwd", root.path().join("up"))?;
        symlink("within", root.path().join("link"))?;
        std::fs::write(root.path().join("within"), "the image's own")?;
        let inside = Inside::new(root.path())?;
        assert_eq!(inside.read("absolute")?, None);
        assert_eq!(inside.read("up")?, None);
        assert_eq!(inside.read("link")?.as_deref(), Some("the image's own"));
        assert!(inside.write("absolute", "changed").is_err());
        assert_eq!(std::fs::read_to_string(&secret)?, "of the ramdisk");
        Ok(())
    }

    #[test]
    fn what_has_no_end_is_refused() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let pipe = root.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        let hole = File::create(root.path().join("hole"))?;
        hole.set_len(1 << 40)?;
        let inside = Inside::new(root.path())?;
        for (name, why) in [("pipe", "no file"), ("hole", "more than 1048576 bytes")] {
            let error = inside.read(name).expect_err(name).to_string();
            assert!(error.contains(why) && error.contains(name), "{error}");
        }
        Ok(())
    }
}
