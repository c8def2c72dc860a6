//! Taking images in: fetched or uploaded, converted once, kept by digest.
//!
//! The work is `billet_media`'s; here it is given bytes, followed as an
//! operation, and its end is put on record. Files are never deleted by the
//! request that deletes an image: other images may share them. What no image
//! needs is swept when nothing is being taken in.

mod job;
mod parts;
mod turns;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use billet_control::Control;
use billet_model::{
    ImageId, OperationId,
    image::{Image, ImageKind, ImageState},
    operation::{Operation, OperationKind, OperationState},
    people::Actor,
};
use billet_store::{Batch, EngineKind, ImageFilter, StoreError, Write};
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::RwLock;

use self::turns::Turns;
pub(crate) use self::{
    job::{Job, reason},
    parts::{NO_IPXE, PartError},
};
use crate::{fetch::Fetcher, serve::ServeOptions};

/// For how long an image waits for its bytes.
const UPLOAD_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// Where images are, and what is being taken in.
#[derive(Clone)]
pub(crate) struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    fetcher: Fetcher,
    directory: PathBuf,
    image_bytes: u64,
    disk_bytes: u64,
    turns: Turns,
    busy: Mutex<HashSet<ImageId>>,
    /// Read by what takes in, written by what sweeps.
    files: RwLock<()>,
}

/// The files of a stored image.
pub(crate) struct Files {
    pub(crate) manifest: PathBuf,
    pub(crate) blob: PathBuf,
}

impl Images {
    pub(crate) fn new(control: Control, fetcher: Fetcher, options: &ServeOptions) -> Self {
        let directory = control.settings().data.join("images");
        Self {
            inner: Arc::new(Inner {
                control,
                fetcher,
                directory,
                image_bytes: options.image_bytes,
                disk_bytes: options.disk_bytes,
                turns: Turns::new(),
                busy: Mutex::default(),
                files: RwLock::default(),
            }),
        }
    }

    /// The client that fetches.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.inner.fetcher
    }

    /// Largest image, in bytes as it arrives.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.inner.image_bytes
    }

    /// The files of the image with this digest; none for a text that is no digest.
    pub(crate) fn files(&self, digest: &str) -> Option<Files> {
        let plain = digest.len() == 64
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Files {
            manifest: self.inner.directory.join(format!("{digest}.json")),
            blob: self.inner.directory.join(format!("{digest}.blob")),
        })
    }

    /// Begins to take an image in, with the operation to follow. It was read after it
    /// was marked.
    pub(crate) async fn begin(
        &self,
        actor: &Actor,
        mut image: Image,
        mark: Mark,
    ) -> Result<Job, StoreError> {
        let control = &self.inner.control;
        image.state = ImageState::Importing;
        image.reason = None;
        let operation = Operation {
            id: control.new_id::<OperationId>(),
            kind: OperationKind::ImportImage,
            state: OperationState::Running,
            machine: None,
            lease: None,
            project: image.project,
            message: format!("taking in image {}", image.name),
            progress: None,
            created_at: control.now(),
            ended_at: None,
        };
        let mut row = control.audit_row(
            actor,
            "image.import",
            json!({ "name": image.name, "origin": image.origin, "operation": operation.id }),
        );
        (row.image, row.project) = (Some(image.id), image.project);
        let batch = Batch::new()
            .with(Write::PutImage(Box::new(image.clone())))
            .with(Write::PutOperation(Box::new(operation.clone())))
            .audited(row);
        control.commit(batch).await?;
        Ok(Job {
            images: self.clone(),
            image,
            operation,
            _mark: mark,
        })
    }

    /// Marks an image as one that something is done to, until what is returned is
    /// dropped; `None` where something is already.
    pub(crate) fn mark(&self, id: ImageId) -> Option<Mark> {
        let mut busy = lock(&self.inner.busy);
        busy.insert(id).then(|| Mark {
            images: self.clone(),
            id,
        })
    }

    /// Whether it is being taken in by this server.
    pub(crate) fn is_busy(&self, id: ImageId) -> bool {
        lock(&self.inner.busy).contains(&id)
    }

    /// After a start: what a stop left half-way has failed, and its files go.
    pub(crate) async fn recover(&self) -> Result<(), String> {
        std::fs::create_dir_all(&self.inner.directory)
            .map_err(|e| format!("making {}: {e}", self.inner.directory.display()))?;
        let control = &self.inner.control;
        let now = control.now();
        for image in self.in_state(ImageState::Importing).await? {
            // On PostgreSQL another control plane may be at it; not for ever.
            let theirs = control.store().engine() == EngineKind::Postgres
                && now.duration_since(image.created_at) < UPLOAD_WAIT;
            if !theirs && !self.is_busy(image.id) {
                let reason = "the server was stopped while it took the image in: add it again";
                self.give_up(image, reason).await?;
            }
        }
        self.sweep().await;
        Ok(())
    }

    /// Now and then: images that nobody uploads, files that nobody needs.
    pub(crate) async fn keep_house(&self) {
        let now = self.inner.control.now();
        match self.in_state(ImageState::AwaitingUpload).await {
            Ok(images) => {
                for image in images {
                    if now.duration_since(image.created_at) >= UPLOAD_WAIT
                        && !self.is_busy(image.id)
                    {
                        let reason =
                            "nothing was uploaded within a day: upload it, or delete the image";
                        if let Err(error) = self.give_up(image, reason).await {
                            tracing::error!(error, "an image could not be given up");
                        }
                    }
                }
            }
            Err(error) => tracing::error!(error, "looking for images without bytes"),
        }
        self.sweep().await;
    }

    async fn in_state(&self, state: ImageState) -> Result<Vec<Image>, String> {
        let filter = ImageFilter {
            state: Some(state),
            ..ImageFilter::default()
        };
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|image: &Image| image.id);
            let page = self
                .inner
                .control
                .store()
                .images(&filter, after, 1000)
                .await;
            let page = page.map_err(|e| e.to_string())?;
            let last = page.len() < 1000;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    async fn give_up(&self, mut image: Image, reason: &str) -> Result<(), String> {
        let control = &self.inner.control;
        image.state = ImageState::Failed;
        image.reason = Some(reason.to_owned());
        let mut row = control.audit_row(
            &Actor::Billet,
            "image.failed",
            json!({ "name": image.name, "reason": reason }),
        );
        (row.image, row.project) = (Some(image.id), image.project);
        let mut batch = Batch::new().audited(row);
        let filter = billet_store::OperationFilter {
            state: Some(OperationState::Running),
            projects: image.project.map(|project| vec![project]),
            ..Default::default()
        };
        let running = control.store().operations(&filter, None, 1000).await;
        let message = format!("taking in image {}", image.name);
        for mut operation in running.map_err(|e| e.to_string())? {
            let ours = operation.kind == OperationKind::ImportImage
                && operation.project == image.project
                && operation.message == message;
            if ours {
                operation.state = OperationState::Failed;
                operation.message = reason.to_owned();
                operation.ended_at = Some(control.now());
                batch = batch.with(Write::PutOperation(Box::new(operation)));
            }
        }
        batch = batch.with(Write::PutImage(Box::new(image)));
        let done = control.commit(batch).await;
        done.map_err(|e| e.to_string())
    }

    /// Deletes the files that no image needs, unless something is being taken in.
    async fn sweep(&self) {
        let Ok(_files) = self.inner.files.try_write() else {
            return;
        };
        let mut needed = HashSet::new();
        let mut after = None;
        loop {
            let filter = ImageFilter::default();
            let page = self
                .inner
                .control
                .store()
                .images(&filter, after, 1000)
                .await;
            let Ok(page) = page else {
                return;
            };
            after = page.last().map(|image| image.id);
            let last = page.len() < 1000;
            needed.extend(page.iter().flat_map(needed_by));
            if last {
                break;
            }
        }
        let directory = self.inner.directory.clone();
        let swept = tokio::task::spawn_blocking(move || sweep_files(&directory, &needed)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(%error, "sweeping the files of images");
        }
    }
}

/// The digests in the names of the files that an image needs.
fn needed_by(image: &Image) -> Vec<String> {
    let mut needed: Vec<String> = image.content.iter().map(|c| c.digest.clone()).collect();
    let Some(install) = &image.install else {
        return needed;
    };
    needed.extend(install.digest.clone());
    // A kernel and its initrds are on the medium, once it is made; a script is put
    // together with each lease's values.
    if image.state != ImageState::Available || image.kind == ImageKind::Ipxe {
        needed.extend(install.parts.iter().filter_map(|p| p.sha256.clone()));
    }
    needed
}

/// Only what this module or `billet_media` names is touched.
fn sweep_files(directory: &Path, needed: &HashSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let digest = [".json", ".blob", ".iso", ".places", ".part"]
            .iter()
            .find_map(|kind| name.strip_suffix(kind));
        let unneeded = match digest {
            Some(digest) => digest.len() == 64 && !needed.contains(digest),
            None => name.starts_with("importing-"),
        };
        if unneeded {
            std::fs::remove_file(entry.path())?;
            tracing::info!(file = name, "removed a file that no image needs");
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image is being taken in until this is dropped.
pub(crate) struct Mark {
    images: Images,
    id: ImageId,
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.images.inner.busy).remove(&self.id);
    }
}
