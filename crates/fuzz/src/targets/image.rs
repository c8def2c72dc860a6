//! An image as it arrives, taken in.

use std::io::Read as _;

use billet_media::image::{ImageReader, ImportOptions, import};

use super::{assert_empty, directory};

/// The largest disk that an image may unfold to here.
const LARGEST: u64 = 16 << 20;

/// Takes an image in; what was is read back, and of what was refused nothing is left.
pub fn run(bytes: &[u8]) {
    let directory = directory();
    let options = ImportOptions {
        checksum: None,
        max_virtual_size: LARGEST,
        expected_bytes: None,
        dir: directory.path().to_owned(),
    };
    match import(bytes, &options, &mut |_| {}) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_empty(directory.path());
        }
        Ok(imported) => {
            assert!(imported.content.virtual_bytes <= LARGEST);
            let stored = ImageReader::open(directory.path(), &imported.content.digest)
                .expect("what was stored opens");
            stored.verify(&mut |_| {}).expect("and is whole");
            let mut disk = Vec::new();
            let read = stored.disk().read_to_end(&mut disk);
            read.expect("and is a disk");
            assert_eq!(disk.len() as u64, imported.content.virtual_bytes);
        }
    }
}
