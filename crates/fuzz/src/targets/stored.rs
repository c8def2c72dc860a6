//! A stored image: its manifest up to the first NUL, its blob after it.
//!
//! The control plane made it, and its digest is right: what is held here is that neither the
//! control plane nor an agent that is written to falls over one that is not.

use billet_drives::write_image;
use billet_media::image::ImageReader;
use billet_model::image::ImageManifest;
use sha2::{Digest as _, Sha256};

use super::{
    again, cut, directory,
    disk::{Drive, NoMounts, Stored, Yes, order},
};

/// Bytes of the drive that is written.
const DRIVE: usize = 4 << 20;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Opens it, reads it, and writes it to a drive.
pub fn run(bytes: &[u8]) {
    let (manifest, blob) = cut(bytes, b"\0");
    let Some(read) = again::<ImageManifest>(manifest) else {
        return;
    };
    let canonical = read.canonical();
    let digest = hex(&canonical);
    let directory = directory();
    let path = |ending: &str| directory.path().join(format!("{digest}.{ending}"));
    std::fs::write(path("json"), &canonical).expect("written");
    std::fs::write(path("blob"), blob).expect("written");
    if let Ok(stored) = ImageReader::open(directory.path(), &digest) {
        let whole = stored.verify(&mut |_| {}).is_ok();
        let mut first = [0; 4096];
        let _ = std::io::Read::read(&mut stored.disk(), &mut first);
        let chunks = &stored.manifest().chunks;
        assert!(!whole || chunks.iter().all(|c| stored.plain(c).is_ok()));
    }
    let drive = Drive::new(vec![0x5a; DRIVE]);
    let order = order(&digest, &[]);
    let source = Stored {
        manifest: read.clone(),
        blob: blob.to_vec(),
    };
    if let Ok(report) = write_image(&drive, &order, &source, &NoMounts::none, &Yes) {
        assert!(read.virtual_bytes <= DRIVE as u64);
        assert_eq!(report.verified_bytes, read.virtual_bytes);
    }
}
