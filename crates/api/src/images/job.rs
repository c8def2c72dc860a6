//! One image on its way in: bytes arrive, are converted, and the end is put on
//! record whatever it is.

use std::{io, pin::Pin, time::Duration};

use billet_media::image::{Checksum, ImportError, ImportOptions, Imported};
use billet_model::{
    image::{Image, ImageState},
    operation::{Operation, OperationState},
    people::Actor,
    work::Progress,
};
use billet_store::{Batch, Write};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use super::{Images, Mark};

/// Longest that taking one in may last.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// How long an upload may stall.
const STALL: Duration = Duration::from_secs(60);
/// For how long it is waited for bytes before it is looked at how many come, and how
/// many that must be a second: a sender has one of few turns.
const PATIENCE: Duration = Duration::from_secs(300);
const LEAST: u64 = 128 * 1024;
/// How often progress is kept.
const TICK: Duration = Duration::from_secs(1);
/// Bytes that arrive.
pub(crate) type Arriving = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What came of taking an image in.
pub(crate) struct Taken {
    pub(crate) image: Image,
    pub(crate) operation: Operation,
    /// Why it was not taken in.
    pub(crate) error: Option<ImportError>,
}

/// An image about to be taken in.
pub(crate) struct Job {
    pub(super) images: Images,
    pub(crate) image: Image,
    pub(crate) operation: Operation,
    pub(super) _mark: Mark,
}

impl Job {
    /// Fetches it, in the background.
    pub(crate) fn fetch(self, url: Url) {
        tokio::spawn(async move {
            let inner = self.images.inner.clone();
            // Before it connects: a server does not wait until it is its turn.
            let turn = inner.turns.turn(self.image.project).await;
            let arriving = self.images.fetcher().get(&url).await;
            match arriving {
                Ok(fetched) => {
                    let size = fetched.size;
                    let body = fetched.body.map(|piece| piece.map_err(io::Error::other));
                    self.convert(Box::pin(body), size).await;
                }
                Err(error) => {
                    let error = ImportError::Source(io::Error::other(error));
                    self.end(Err(error)).await;
                }
            }
            drop(turn);
        });
    }

    /// Takes it in from bytes that arrive; they may stall for a while and no longer.
    pub(crate) async fn take_in(self, arriving: Arriving, size: Option<u64>) -> Taken {
        let inner = self.images.inner.clone();
        let _turn = inner.turns.turn(self.image.project).await;
        self.convert(arriving, size).await
    }

    async fn convert(mut self, arriving: Arriving, size: Option<u64>) -> Taken {
        let inner = self.images.inner.clone();
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
            .commit(Batch::new().with(write))
            .await;
        if let Err(error) = kept {
            tracing::warn!(%error, "an import's progress could not be kept");
        }
    }

    /// Puts on record how an install configuration was taken in: its digest, or why
    /// it was not.
    pub(super) async fn end_install(mut self, outcome: Result<String, super::PartError>) {
        let (action, detail) = match outcome {
            Ok(digest) => {
                self.image.state = ImageState::Available;
                self.operation.state = OperationState::Succeeded;
                self.operation.message = format!("image {} is available", self.image.name);
                let detail = json!({ "name": self.image.name, "digest": digest });
                if let Some(install) = &mut self.image.install {
                    install.digest = Some(digest);
                }
                ("image.available", detail)
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(image = %self.image.name, %error, "an image could not be taken in");
                self.image.state = ImageState::Failed;
                self.image.reason = Some(reason.clone());
                self.operation.state = OperationState::Failed;
                self.operation.message.clone_from(&reason);
                let detail = json!({ "name": self.image.name, "reason": reason });
                ("image.failed", detail)
            }
        };
        self.keep(action, detail).await;
    }

    /// Keeps the image and its operation as they are at the end.
    async fn keep(&mut self, action: &str, detail: serde_json::Value) {
        let control = self.images.inner.control.clone();
        self.operation.ended_at = Some(control.now());
        let mut row = control.audit_row(&Actor::Billet, action, detail);
        (row.image, row.project) = (Some(self.image.id), self.image.project);
        let batch = Batch::new()
            .with(Write::PutImage(Box::new(self.image.clone())))
            .with(Write::PutOperation(Box::new(self.operation.clone())))
            .audited(row);
        if let Err(error) = control.commit(batch).await {
            tracing::error!(%error, image = %self.image.name, "an import's end could not be kept");
        }
    }

    /// Puts the end on record.
    async fn end(mut self, outcome: Result<Imported, ImportError>) -> Taken {
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
        self.keep(action, detail).await;
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

/// Bytes that arrive, up to a limit, in time, not too slowly and without long stalls.
pub(super) fn limited(arriving: Arriving, most: u64) -> Arriving {
    let end = tokio::time::Instant::now() + LONGEST;
    let state = (arriving, most, Pace::default());
    Box::pin(futures::stream::try_unfold(
        state,
        move |(mut arriving, left, mut pace)| async move {
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
            pace.came(piece.len() as u64, now.elapsed())?;
            let left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                io::Error::other(format!(
                    "it is larger than {most} bytes, the most that an image may have here: compress \
                     it, or ask the operator for another limit (`billet serve --image-limit`)"
                ))
            })?;
            Ok(Some((piece, (arriving, left, pace))))
        },
    ))
}

/// How fast bytes come, by the time that was waited for them alone: what Billet takes to
/// convert them is nobody else's.
#[derive(Default)]
struct Pace {
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// So many came after so long.
    fn came(&mut self, bytes: u64, after: Duration) -> io::Result<()> {
        self.bytes += bytes;
        self.waited += after;
        let waited = self.waited.as_secs();
        if self.waited < PATIENCE || self.bytes / waited >= LEAST {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "it came too slowly: {} KiB in {waited} seconds, and the least is {} KiB a second: send it over a faster line, or compress it",
            self.bytes / 1024,
            LEAST / 1024
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a sender is too slow, where it is within an hour.
    fn too_slow(bytes: u64, every: u64) -> Option<u64> {
        let mut pace = Pace::default();
        let mut times = (1..=3600 / every).map(|n| n * every);
        times.find(|_| pace.came(bytes, Duration::from_secs(every)).is_err())
    }

    #[test]
    fn a_trickle_is_not_waited_for() {
        assert_eq!(too_slow(1, 59), Some(354), "never quite stalled");
        assert_eq!(too_slow(LEAST - 1, 1), Some(300));
        assert_eq!(too_slow(LEAST, 1), None);
        assert_eq!(too_slow(LEAST * 50, 50), None);
        let mut pace = Pace::default();
        assert!(
            pace.came(LEAST * 1000, PATIENCE).is_ok(),
            "quick, then slow"
        );
        let why = pace.came(0, Duration::from_secs(1000)).expect_err("slow");
        assert!(why.to_string().contains("128 KiB a second"), "{why}");
    }
}
