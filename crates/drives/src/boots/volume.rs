//! A file system of a drive, as a boot loader sees it.

use std::io;

/// What a partition is for, by its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The EFI system partition.
    System,
    /// The extended boot loader partition.
    Boot,
    /// Any other.
    #[default]
    Other,
}

/// A file system of a drive. Paths are from its root; symbolic links stay within.
pub trait Volume {
    /// What its partition is for.
    fn role(&self) -> Role;

    /// Its partition's number, from 1.
    fn number(&self) -> u32;

    /// Its UUID, as `blkid` writes it.
    fn uuid(&self) -> Option<&str>;

    /// Its label.
    fn label(&self) -> Option<&str>;

    /// What a file holds; `None` where there is none of this name.
    ///
    /// # Errors
    /// The kernel's, and where it is larger than `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// A file's size in bytes; `None` where there is none of this name.
    ///
    /// # Errors
    /// The kernel's.
    fn size(&self, path: &str) -> io::Result<Option<u64>>;

    /// Names in a directory; none where there is no such directory.
    ///
    /// # Errors
    /// The kernel's.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
}
