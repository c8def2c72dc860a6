//! cloud-init's NoCloud seed: a small FAT file system labelled `CIDATA`, made in
//! memory and written as it is.

use std::io::{self, Cursor, Read, Write};

use billet_model::work::Seed;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// Bytes of the seed's partition.
pub(crate) const BYTES: u64 = 16 << 20;
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The files of a seed.
fn files(seed: &Seed) -> [(&'static str, &str); 4] {
    [
        ("meta-data", &seed.meta_data),
        ("user-data", &seed.user_data),
        ("vendor-data", &seed.vendor_data),
        ("network-config", &seed.network_config),
    ]
}

/// The file system's bytes.
///
/// # Errors
/// When the seed does not fit.
pub(crate) fn image(seed: &Seed) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; BYTES as usize];
    let options = FormatVolumeOptions::new().volume_label(LABEL);
    fatfs::format_volume(Cursor::new(&mut bytes[..]), options)?;
    let fs = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
    for (name, text) in files(seed) {
        let mut file = fs.root_dir().create_file(name)?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    fs.unmount()?;
    check(&bytes, seed)?;
    Ok(bytes)
}

/// Whether these bytes are a file system that holds the seed.
///
/// # Errors
/// When they are not.
pub(crate) fn check(bytes: &[u8], seed: &Seed) -> io::Result<()> {
    let mut copy = bytes.to_vec();
    let fs = FileSystem::new(Cursor::new(&mut copy[..]), FsOptions::new())?;
    for (name, text) in files(seed) {
        let mut found = Vec::new();
        fs.root_dir().open_file(name)?.read_to_end(&mut found)?;
        if found != text.as_bytes() {
            return Err(io::Error::other(format!("the seed's {name} differs")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_found_by_its_label_and_holds_its_files() -> io::Result<()> {
        let seed = Seed {
            meta_data: "instance-id: i-1\n".into(),
            user_data: "#cloud-config\n".repeat(10_000),
            vendor_data: String::new(),
            network_config: "version: 2\n".into(),
        };
        let mut bytes = image(&seed)?;
        let fs = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
        assert_eq!(fs.volume_label(), "CIDATA");
        assert_eq!(
            fs.read_volume_label_from_root_dir()?.as_deref(),
            Some("CIDATA")
        );
        drop(fs);
        let other = Seed {
            vendor_data: "x".into(),
            ..seed
        };
        assert!(check(&bytes, &other).is_err());
        Ok(())
    }
}
