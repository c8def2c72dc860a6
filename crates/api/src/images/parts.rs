//! Parts of install configurations: received one by one, kept by their digest,
//! and made into a boot medium once all are there.

use std::{io, path::Path};

use billet_control::Control;
use billet_media::{
    boot_media::BootMediaError,
    image::Checksum,
    install_media::{self, InstallMedia, SCRIPT_LIMIT, SIZE_LIMIT},
};
use billet_model::image::{Image, ImageKind, InstallPart};
use billet_store::{Batch, Write};
use futures::StreamExt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::{
    Images,
    job::{Arriving, Job, limited},
};
use crate::sha256_hex;

/// Why a part, or an install configuration, was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    /// More arrived than is allowed.
    #[error("{0} may have {1} bytes")]
    TooLarge(String, u64),
    /// What arrived is not what the checksum is of.
    #[error(
        "the checksum of {name} is {actual}, not {expected} as stated ({bytes} bytes arrived): it is damaged, was changed, or the checksum belongs to another file"
    )]
    Checksum {
        /// Which part.
        name: String,
        /// As stated.
        expected: String,
        /// As calculated.
        actual: String,
        /// How much arrived.
        bytes: u64,
    },
    /// Nothing arrived.
    #[error("{0} is empty: see whether the address or the file is the right one")]
    Empty(String),
    /// It is not what it should be.
    #[error("{0}: {1}")]
    NotIt(String, install_media::PartError),
    /// It did not arrive.
    #[error("{0}: {1}")]
    Arriving(String, String),
    /// This server lacks what a medium is made with.
    #[error("{0}")]
    Lacking(String),
    /// Billet's own files.
    #[error("Billet's own files could not be written: the operator finds why in the server's log")]
    Own,
}

fn own(doing: &str, error: &dyn std::fmt::Display) -> PartError {
    tracing::error!(%error, doing, "taking in an install configuration");
    PartError::Own
}

/// Most bytes of a part.
pub(crate) fn most(kind: ImageKind) -> u64 {
    match kind {
        ImageKind::Ipxe => SCRIPT_LIMIT,
        ImageKind::Disk | ImageKind::Kernel => SIZE_LIMIT,
    }
}

impl Images {
    /// Receives a part and keeps it by its digest. `part` says then what it is.
    pub(crate) async fn receive(
        &self,
        kind: ImageKind,
        part: &mut InstallPart,
        arriving: Arriving,
    ) -> Result<(), PartError> {
        let name = part.name.clone();
        let most = most(kind).min(self.most_bytes());
        let directory = self.inner.control.images_directory();
        let scratch = tempfile::Builder::new()
            .prefix("importing-")
            .tempfile_in(&directory)
            .map_err(|e| own("making a file", &e))?;
        let file = scratch.reopen().map_err(|e| own("opening a file", &e))?;
        let mut file = tokio::fs::File::from_std(file);
        let wanted = part.checksum.as_deref();
        let wanted = wanted.and_then(|c| c.parse::<Checksum>().ok());
        let mut sha256 = Sha256::new();
        let mut sha512 = matches!(wanted, Some(Checksum::Sha512(_))).then(Sha512::new);
        let mut head = Vec::new();
        let mut bytes = 0_u64;
        // One more than is allowed tells that it is too much.
        let mut pieces = limited(arriving, most.saturating_add(1));
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(_) if bytes >= most => return Err(PartError::TooLarge(name, most)),
                Err(error) => return Err(PartError::Arriving(name, error.to_string())),
            };
            bytes += piece.len() as u64;
            if bytes > most {
                return Err(PartError::TooLarge(name, most));
            }
            sha256.update(&piece);
            if let Some(sha512) = &mut sha512 {
                sha512.update(&piece);
            }
            let room = usize::try_from(SCRIPT_LIMIT).unwrap_or(0) - head.len();
            head.extend_from_slice(&piece[..piece.len().min(room)]);
            let wrote = file.write_all(&piece).await;
            wrote.map_err(|e| own("writing a part", &e))?;
        }
        let synced = async {
            file.flush().await?;
            file.sync_all().await
        };
        synced.await.map_err(|e| own("writing a part", &e))?;
        if bytes == 0 {
            return Err(PartError::Empty(name));
        }
        let digest = hex(&sha256.finalize());
        let actual = match sha512 {
            Some(sha512) => Checksum::Sha512(hex(&sha512.finalize())),
            None => Checksum::Sha256(digest.clone()),
        };
        if let Some(wanted) = wanted
            && wanted != actual
        {
            return Err(PartError::Checksum {
                name,
                expected: wanted.to_string(),
                actual: actual.to_string(),
                bytes,
            });
        }
        let right = match part.name.as_str() {
            "kernel" => install_media::check_kernel(&head),
            "script" => install_media::check_script(&head),
            _ => Ok(()),
        };
        right.map_err(|e| PartError::NotIt(name, e))?;
        let path = self.inner.control.install_part_path(&digest);
        scratch
            .persist(&path)
            .map_err(|e| own("keeping a part", &e))?;
        part.sha256 = Some(digest);
        part.bytes = bytes;
        Ok(())
    }

    /// Receives an uploaded part of an image, and keeps that it is there.
    pub(crate) async fn upload_part(
        &self,
        actor: &billet_model::people::Actor,
        mut image: Image,
        name: &str,
        arriving: Arriving,
    ) -> Result<Image, PartError> {
        let _files = self.inner.files.read().await;
        let kind = image.kind;
        let parts = image.install.iter_mut().flat_map(|i| &mut i.parts);
        let Some(part) = parts.into_iter().find(|p| p.name == name) else {
            return Err(PartError::Lacking(format!("there is no part {name}")));
        };
        self.receive(kind, part, arriving).await?;
        let control = &self.inner.control;
        let mut row = control.audit_row(
            actor,
            "image.part",
            json!({ "name": image.name, "part": name, "sha256": part.sha256, "bytes": part.bytes }),
        );
        (row.image, row.project) = (Some(image.id), image.project);
        let batch = Batch::new()
            .with(Write::PutImage(Box::new(image.clone())))
            .audited(row);
        let kept = control.store().commit(batch).await;
        kept.map_err(|e| own("keeping that a part is there", &e))?;
        Ok(image)
    }
}

impl Job {
    /// Fetches the parts that have an address and makes the medium, in the
    /// background.
    pub(crate) fn install(self, urls: Vec<(String, Url)>) {
        tokio::spawn(async move {
            let inner = self.images.inner.clone();
            let _permit = inner.turns.turn(self.image.project).await;
            let _files = inner.files.read().await;
            self.make(urls).await;
        });
    }

    async fn make(mut self, urls: Vec<(String, Url)>) {
        for (name, url) in urls {
            if let Err(error) = self.fetch_part(&name, &url).await {
                return self.end_install(Err(error)).await;
            }
        }
        let (control, image) = (self.images.inner.control.clone(), self.image.clone());
        let built = tokio::task::spawn_blocking(move || medium(&control, &image)).await;
        let built = built.unwrap_or_else(|e| Err(own("making a medium", &e)));
        self.end_install(built).await;
    }

    async fn fetch_part(&mut self, name: &str, url: &Url) -> Result<(), PartError> {
        let failed =
            |e: &dyn std::fmt::Display| PartError::Arriving(name.to_owned(), e.to_string());
        let fetched = self.images.fetcher().get(url).await;
        let body = fetched.map_err(|e| failed(&e))?.body;
        let body = body.map(|piece| piece.map_err(io::Error::other));
        let kind = self.image.kind;
        let parts = self.image.install.iter_mut().flat_map(|i| &mut i.parts);
        let Some(part) = parts.into_iter().find(|p| p.name == name) else {
            return Err(failed(&"there is no such part"));
        };
        self.images.receive(kind, part, Box::pin(body)).await
    }
}

/// Makes the medium of an install configuration whose parts are all there.
fn medium(control: &Control, image: &Image) -> Result<String, PartError> {
    let config = image.install.as_ref();
    let canonical = config.and_then(|c| c.canonical(image.kind));
    let (Some(config), Some(canonical)) = (config, canonical) else {
        return Err(PartError::Lacking("a part of it is not there".into()));
    };
    let digest = sha256_hex(&canonical);
    let path = control.install_medium_path(&digest);
    if InstallMedia::open(&path).is_ok() {
        return Ok(digest);
    }
    let files: Vec<_> = config
        .parts
        .iter()
        .filter_map(|p| p.sha256.as_deref())
        .map(|sha256| control.install_part_path(sha256))
        .collect();
    let files: Vec<&Path> = files.iter().map(|p| p.as_path()).collect();
    let made = match (image.kind, &files[..]) {
        (ImageKind::Kernel, [kernel, initrds @ ..]) => {
            let all: u64 = config.parts.iter().map(|p| p.bytes).sum();
            if all > SIZE_LIMIT {
                let what = "kernel and initrds together".into();
                return Err(PartError::TooLarge(what, SIZE_LIMIT));
            }
            InstallMedia::of_kernel(&control.settings().stub, kernel, initrds, &path)
        }
        _ => match &control.settings().ipxe {
            Some(ipxe) => InstallMedia::of_script(ipxe, &path),
            None => return Err(PartError::Lacking(NO_IPXE.into())),
        },
    };
    match made {
        Ok(_) => Ok(digest),
        Err(error @ BootMediaError::Uki(_)) => Err(PartError::Lacking(format!(
            "kernel and initrds cannot be joined: {error}"
        ))),
        Err(error) => Err(own("making a medium", &error)),
    }
}

/// Why there are no scripts.
pub(crate) const NO_IPXE: &str = "this server has no iPXE, which runs such a script: the operator gets it with `billet ramdisk ipxe` and starts the server with --ipxe FILE";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
