//! Taking images in: fetched or uploaded, converted once, kept by digest.
//!
//! The work is `billet_media`'s; here it is given bytes, followed as an
//! operation, and its end is put on record. Files are never deleted by the
//! request that deletes an image: other images may share them. What no image
//! needs is swept when nothing is being taken in.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billet_control::Control;
use billet_media::image::{Checksum, ImportError, ImportOptions, Imported};
use billet_model::{
    ImageId, OperationId,
    image::{Image, ImageState},
    operation::{Operation, OperationKind, OperationState},
    people::Actor,
    work::Progress,
};
use billet_store::{Batch, EngineKind, ImageFilter, StoreError, Write};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::{RwLock, Semaphore, watch};
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use crate::{fetch::Fetcher, serve::ServeOptions};

/// Images taken in at a time; others wait.
const AT_A_TIME: usize = 2;
/// Longest that taking one in may last.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// How long an upload may stall.
const STALL: Duration = Duration::from_secs(60);
/// How often progress is kept.
const TICK: Duration = Duration::from_secs(1);
/// For how long an image waits for its bytes.
const UPLOAD_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// Bytes that arrive.
pub(crate) type Arriving = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

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
    permits: Semaphore,
    busy: Mutex<HashSet<ImageId>>,
    /// Read by what takes in, written by what sweeps.
    files: RwLock<()>,
}

/// The files of a stored image.
pub(crate) struct Files {
    pub(crate) manifest: PathBuf,
    pub(crate) blob: PathBuf,
}

/// What came of taking an image in.
pub(crate) struct Taken {
    pub(crate) image: Image,
    pub(crate) operation: Operation,
    /// Why it was not taken in.
    pub(crate) error: Option<ImportError>,
}

/// Why taking an image in did not begin.
pub(crate) enum NotBegun {
    /// It is being taken in already.
    Busy,
    /// The store failed.
    Store(StoreError),
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
                permits: Semaphore::new(AT_A_TIME),
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

    /// Marks an image as being taken in, with the operation to follow.
    pub(crate) async fn begin(&self, actor: &Actor, mut image: Image) -> Result<Job, NotBegun> {
        let mark = self.mark(image.id).ok_or(NotBegun::Busy)?;
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
        control
            .store()
            .commit(batch)
            .await
            .map_err(NotBegun::Store)?;
        Ok(Job {
            images: self.clone(),
            image,
            operation,
            _mark: mark,
        })
    }

    fn mark(&self, id: ImageId) -> Option<Mark> {
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
            project: image.project,
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
        let done = control.store().commit(batch).await;
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
            needed.extend(page.into_iter().filter_map(|i| i.content.map(|c| c.digest)));
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

/// Only what this module or `billet_media` names is touched.
fn sweep_files(directory: &Path, needed: &HashSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let digest = name.strip_suffix(".json").or(name.strip_suffix(".blob"));
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
struct Mark {
    images: Images,
    id: ImageId,
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.images.inner.busy).remove(&self.id);
    }
}

/// An image about to be taken in.
pub(crate) struct Job {
    images: Images,
    pub(crate) image: Image,
    pub(crate) operation: Operation,
    _mark: Mark,
}

impl Job {
    /// Fetches it, in the background.
    pub(crate) fn fetch(self, url: Url) {
        tokio::spawn(async move {
            let arriving = self.images.fetcher().get(&url).await;
            match arriving {
                Ok(fetched) => {
                    let size = fetched.size;
                    let body = fetched.body.map(|piece| piece.map_err(io::Error::other));
                    self.take_in(Box::pin(body), size).await;
                }
                Err(error) => {
                    let error = ImportError::Source(io::Error::other(error));
                    self.end(Err(error)).await;
                }
            }
        });
    }

    /// Takes it in from bytes that arrive; they may stall for a while and no longer.
    pub(crate) async fn take_in(mut self, arriving: Arriving, size: Option<u64>) -> Taken {
        let inner = self.images.inner.clone();
        let Ok(_permit) = inner.permits.acquire().await else {
            let closed = ImportError::Source(io::Error::other("the server stops"));
            return self.end(Err(closed)).await;
        };
        let _files = inner.files.read().await;
        let options = ImportOptions {
            checksum: self
                .image
                .checksum
                .as_deref()
                .and_then(|c| c.parse::<Checksum>().ok()),
            max_virtual_size: inner.disk_bytes,
            expected_bytes: size,
            dir: inner.directory.clone(),
        };
        let (told, mut heard) = watch::channel(None::<Progress>);
        let limited = limited(arriving, inner.image_bytes);
        let reader = SyncIoBridge::new(StreamReader::new(limited));
        let mut work = tokio::task::spawn_blocking(move || {
            billet_media::image::import(reader, &options, &mut |progress| {
                told.send_replace(Some(Progress {
                    step: progress.step.to_owned(),
                    done: progress.done,
                    total: progress.total.unwrap_or(0),
                    unit: "bytes".to_owned(),
                }));
            })
        });
        let mut tick = tokio::time::interval(TICK);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = tick.tick() => {
                    if heard.has_changed().unwrap_or(false) {
                        let progress = heard.borrow_and_update().clone();
                        self.tell(progress).await;
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|e| Err(ImportError::Source(io::Error::other(e))));
        self.end(outcome).await
    }

    async fn tell(&mut self, progress: Option<Progress>) {
        self.operation.progress = progress;
        let write = Write::PutOperation(Box::new(self.operation.clone()));
        let kept = self
            .images
            .inner
            .control
            .store()
            .commit(Batch::new().with(write))
            .await;
        if let Err(error) = kept {
            tracing::warn!(%error, "an import's progress could not be kept");
        }
    }

    /// Puts the end on record.
    async fn end(mut self, outcome: Result<Imported, ImportError>) -> Taken {
        let control = self.images.inner.control.clone();
        let (action, detail, error) = match outcome {
            Ok(imported) => {
                self.image.state = ImageState::Available;
                self.image.checksum = Some(imported.checksum.to_string());
                // It has cloud-init if it was said to, and was not seen to be without.
                self.image.cloud_init &= imported.facts.cloud_init.unwrap_or(true);
                self.operation.state = OperationState::Succeeded;
                self.operation.message = format!("image {} is available", self.image.name);
                let detail = json!({
                    "name": self.image.name, "digest": imported.content.digest,
                    "checksum": self.image.checksum,
                });
                self.image.content = Some(imported.content);
                ("image.available", detail, None)
            }
            Err(error) => {
                let reason = reason(&error);
                tracing::warn!(image = %self.image.name, %error, "an image could not be taken in");
                self.image.state = ImageState::Failed;
                self.image.reason = Some(reason.clone());
                self.operation.state = OperationState::Failed;
                self.operation.message.clone_from(&reason);
                let detail = json!({ "name": self.image.name, "reason": reason });
                ("image.failed", detail, Some(error))
            }
        };
        self.operation.ended_at = Some(control.now());
        let mut row = control.audit_row(&Actor::Billet, action, detail);
        (row.image, row.project) = (Some(self.image.id), self.image.project);
        let batch = Batch::new()
            .with(Write::PutImage(Box::new(self.image.clone())))
            .with(Write::PutOperation(Box::new(self.operation.clone())))
            .audited(row);
        if let Err(error) = control.store().commit(batch).await {
            tracing::error!(%error, image = %self.image.name, "an import's end could not be kept");
        }
        Taken {
            image: self.image,
            operation: self.operation,
            error,
        }
    }
}

/// Why an image was not taken in, for whoever added it: without the server's own paths.
pub(crate) fn reason(error: &ImportError) -> String {
    match error {
        ImportError::Io { .. } => {
            "Billet's own files could not be written: the operator finds why in the server's log"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// Bytes that arrive, up to a limit, in time, and without long stalls.
fn limited(arriving: Arriving, most: u64) -> Arriving {
    let end = tokio::time::Instant::now() + LONGEST;
    let state = (arriving, most);
    Box::pin(futures::stream::try_unfold(
        state,
        move |(mut arriving, left)| async move {
            let now = tokio::time::Instant::now();
            if now >= end {
                return Err(io::Error::other(format!(
                    "it took longer than {} hours",
                    LONGEST.as_secs() / 3600
                )));
            }
            let next = tokio::time::timeout(STALL, arriving.next()).await;
            let Some(piece) = next.map_err(|_| {
                io::Error::other(format!("nothing arrived for {} seconds", STALL.as_secs()))
            })?
            else {
                return Ok(None);
            };
            let piece = piece?;
            let left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                io::Error::other("it is larger than the operator allows images to be")
            })?;
            Ok(Some((piece, (arriving, left))))
        },
    ))
}
