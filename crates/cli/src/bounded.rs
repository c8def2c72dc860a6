//! Files that people give, read whole, but never without end: a path may lead to a device, or to
//! something a thousand times as large as what was meant.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// A manifest: ten thousand machines have four MiB.
pub const MANIFEST: u64 = 16 << 20;
/// A password, a secret, SSH keys.
pub const SMALL: u64 = 1 << 20;
/// A signed file with what it needs to be verified.
pub const EVIDENCE: u64 = 64 << 20;
/// An audit log's export.
pub const EXPORT: u64 = 1 << 30;

/// The bytes of a file that has at most `most`.
pub fn bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = crate::human::bytes(most);
        return Err(io::Error::other(format!(
            "it has more than {most}, which is too much for what it is to be; give another file"
        )));
    }
    Ok(bytes)
}

/// The same as text.
pub fn text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() -> io::Result<()> {
        let error = bytes(Path::new("/dev/zero"), SMALL).expect_err("no end");
        assert!(error.to_string().contains("more than 1 MiB"), "{error}");
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "as it is\n")?;
        assert_eq!(text(file.path(), 9)?, "as it is\n");
        assert!(text(file.path(), 8).is_err());
        std::fs::write(file.path(), [0xff])?;
        assert!(text(file.path(), 8).is_err());
        Ok(())
    }
}
