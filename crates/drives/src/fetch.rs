//! An image's chunks from its source to the drive: fetched in runs, each chunk
//! unpacked and checked before it is written, resumed where the stream broke.
//!
//! Memory is flat: a bounded queue of packed chunks, and one plain chunk for
//! each worker.

use std::{
    io::Read,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use billet_model::image::{ImageChunk, ImageManifest};

use crate::{
    aligned::{ALIGN, Aligned},
    canary::sha256,
    chunks,
    device::Device,
    error::{DriveError, WriteError},
    source::{ImageSource, SourceError},
    watch::{Watch, bytes},
};

/// Stored bytes asked for at once.
const RUN_BYTES: u64 = 16 << 20;
/// Packed chunks waiting for a worker.
const QUEUE: usize = 8;
/// How long a source may give nothing at all.
const PATIENCE: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub written_bytes: u64,
    pub resumed: u32,
}

/// Writes all chunks of an image. Nothing but them is written.
pub(crate) fn fetch(
    device: &dyn Device,
    digest: &str,
    manifest: &ImageManifest,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<Fetched, WriteError> {
    let total: u64 = manifest
        .chunks
        .iter()
        .map(|c| manifest.plain_len(c.index))
        .sum();
    let (sender, receiver) = sync_channel::<(&ImageChunk, Vec<u8>)>(QUEUE);
    let receiver = Mutex::new(receiver);
    let written = AtomicU64::new(0);
    let failure: Mutex<Option<WriteError>> = Mutex::new(None);
    let resumed = thread::scope(|scope| {
        let work = || {
            let result = unpack_and_write(
                device,
                digest,
                manifest,
                &receiver,
                &failure,
                |n| {
                    let done = written.fetch_add(n, Ordering::Relaxed) + n;
                    watch.progress(bytes("writing image", done, total));
                },
                watch,
            );
            if let Err(error) = result {
                keep_first(&failure, error);
                // All may fail at once: who sends must not wait for anybody then.
                while receiver
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .recv()
                    .is_ok()
                {}
            }
        };
        for _ in 0..chunks::workers() {
            scope.spawn(work);
        }
        let fetched = stream(digest, &manifest.chunks, source, &sender, &failure);
        // Workers end when nobody sends any more.
        drop(sender);
        match fetched {
            Ok(resumed) => resumed,
            Err(error) => {
                keep_first(&failure, error);
                0
            }
        }
    });
    match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(Fetched {
            written_bytes: written.into_inner(),
            resumed,
        }),
    }
}

fn keep_first(failure: &Mutex<Option<WriteError>>, error: WriteError) {
    failure
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .get_or_insert(error);
}

fn has_failed(failure: &Mutex<Option<WriteError>>) -> bool {
    failure.lock().unwrap_or_else(|e| e.into_inner()).is_some()
}

/// One worker: takes packed chunks until there are no more.
fn unpack_and_write(
    device: &dyn Device,
    digest: &str,
    manifest: &ImageManifest,
    receiver: &Mutex<Receiver<(&ImageChunk, Vec<u8>)>>,
    failure: &Mutex<Option<WriteError>>,
    tell: impl Fn(u64),
    watch: &dyn Watch,
) -> Result<(), WriteError> {
    let corrupt = |chunk: &ImageChunk, what: &str| WriteError::Corrupt {
        image: digest.into(),
        detail: format!("chunk {} {what}", chunk.index),
    };
    let mut plain = Aligned::zeroed(padded(manifest.chunk_bytes) as usize);
    let mut unpacker = zstd::bulk::Decompressor::new()
        .map_err(|e| WriteError::Unsuitable(format!("zstd could not be set up: {e}")))?;
    loop {
        let next = receiver.lock().unwrap_or_else(|e| e.into_inner()).recv();
        let Ok((chunk, packed)) = next else {
            return Ok(());
        };
        // After a failure the queue is emptied, so that the sender never waits.
        if has_failed(failure) {
            continue;
        }
        let length = manifest.plain_len(chunk.index) as usize;
        let unpacked = unpacker.decompress_to_buffer(&packed, &mut plain[..length]);
        if unpacked.ok() != Some(length) {
            return Err(corrupt(chunk, "does not unpack to its length"));
        }
        if sha256(&plain[..length]) != chunk.sha256 {
            return Err(corrupt(chunk, "has another SHA-256 than its manifest says"));
        }
        // The image's last block may be short: what follows it is zero.
        let whole = padded(length as u64) as usize;
        plain[length..whole].fill(0);
        watch.may_write()?;
        let offset = chunk.index * manifest.chunk_bytes;
        device
            .write(offset, &plain[..whole])
            .map_err(DriveError::io("writing", offset))?;
        tell(length as u64);
    }
}

/// A length, rounded up to what uncached writes want.
pub(crate) fn padded(length: u64) -> u64 {
    length.next_multiple_of(ALIGN)
}

/// Fetches all chunks in order. Returns how often the stream was resumed.
fn stream<'a>(
    digest: &str,
    chunks: &'a [ImageChunk],
    source: &dyn ImageSource,
    sender: &SyncSender<(&'a ImageChunk, Vec<u8>)>,
    failure: &Mutex<Option<WriteError>>,
) -> Result<u32, WriteError> {
    let mut rest = chunks;
    let mut resumed = 0;
    let mut pause = FIRST_PAUSE;
    let mut last_gain = Instant::now();
    while !rest.is_empty() && !has_failed(failure) {
        let before = rest.len();
        let result = stream_run(digest, &mut rest, source, sender);
        if rest.len() < before {
            pause = FIRST_PAUSE;
            last_gain = Instant::now();
        }
        match result {
            Ok(()) => {}
            Err(SourceError::Final(text)) => return Err(WriteError::Network(text)),
            Err(SourceError::Passing(text)) => {
                if last_gain.elapsed() > PATIENCE {
                    let minutes = PATIENCE.as_secs() / 60;
                    let text = format!("nothing came for {minutes} minutes: {text}");
                    return Err(WriteError::Network(text));
                }
                resumed += 1;
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    Ok(resumed)
}

/// Fetches one run of chunks that lie one after the other in the blob, and takes
/// each off `rest` once it is whole.
fn stream_run<'a>(
    digest: &str,
    rest: &mut &'a [ImageChunk],
    source: &dyn ImageSource,
    sender: &SyncSender<(&'a ImageChunk, Vec<u8>)>,
) -> Result<(), SourceError> {
    let run = run(rest);
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let length = last.offset + u64::from(last.length) - first.offset;
    let mut blob = source.blob(digest, first.offset, length)?;
    for chunk in run {
        let mut packed = vec![0; chunk.length as usize];
        blob.read_exact(&mut packed)
            .map_err(|e| SourceError::Passing(format!("the stream broke: {e}")))?;
        *rest = &rest[1..];
        // Fails when all workers have ended, which a failure explains.
        if sender.send((chunk, packed)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The longest beginning of chunks that lie one after the other.
fn run(chunks: &[ImageChunk]) -> &[ImageChunk] {
    let mut bytes = 0;
    let mut end = None;
    let count = chunks
        .iter()
        .take_while(|c| {
            let follows = end.is_none_or(|e| e == c.offset);
            let fits = bytes == 0 || bytes + u64::from(c.length) <= RUN_BYTES;
            bytes += u64::from(c.length);
            end = Some(c.offset + u64::from(c.length));
            follows && fits
        })
        .count();
    &chunks[..count]
}
