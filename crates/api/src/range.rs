//! Bytes with HTTP ranges: boot media for BMCs, image blobs for agents.
//!
//! Streamed from where they lie, a piece at a time, whatever the size. BMCs are
//! picky here: they ask with HEAD first, want `Content-Length` and
//! `Accept-Ranges` on everything, and some ask for one sector at a time.

use std::{io, ops::Range, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;

use crate::problem::{Failure, Kind};

/// Bytes read at a time.
const PIECE: u64 = 256 * 1024;

/// Bytes that can be read from anywhere, by many at once.
pub(crate) trait Source: Send + Sync + 'static {
    /// How many there are.
    fn size(&self) -> u64;
    /// Reads into `buffer` from `offset`; fewer only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file, opened once.
pub(crate) struct FileSource {
    file: std::fs::File,
    size: u64,
}

impl FileSource {
    /// Opens it.
    pub(crate) fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }
}

/// Answers a GET or HEAD for `source`, whose `etag` is quoted.
pub(crate) fn answer(
    method: &Method,
    headers: &HeaderMap,
    source: Arc<dyn Source>,
    etag: &str,
    media_type: &'static str,
) -> Response {
    let size = source.size();
    let wanted = match wanted(headers, size, etag) {
        Ok(wanted) => wanted,
        Err(()) => {
            let detail = format!("there are {size} bytes: ask for a range within them");
            let whole = HeaderValue::from_str(&format!("bytes */{size}"));
            let failure = Failure::new(Kind::Range, detail);
            return match whole {
                Ok(value) => failure.header(header::CONTENT_RANGE, value),
                Err(_) => failure,
            }
            .into_response();
        }
    };
    let (status, range) = match wanted {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        None => (StatusCode::OK, 0..size),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        response = response.header(header::CONTENT_RANGE, text);
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(pieces(source, range))
    };
    response
        .body(body)
        .unwrap_or_else(|e| Failure::internal("answering with bytes", &e).into_response())
}

/// The range asked for: none is everything; `Err` lies outside. Several ranges,
/// other units and nonsense mean everything, as RFC 9110 lets a server do.
fn wanted(headers: &HeaderMap, size: u64, etag: &str) -> Result<Option<Range<u64>>, ()> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let Some(asked) = text(header::RANGE) else {
        return Ok(None);
    };
    if text(header::IF_RANGE).is_some_and(|known| known != etag) {
        return Ok(None);
    }
    let Some((first, last)) = asked
        .strip_prefix("bytes=")
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Ok(None);
    };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), _) if first >= size && (last.is_empty() || number(last).is_some()) => Err(()),
        (Some(first), None) if last.is_empty() => Ok(Some(first..size)),
        (Some(first), Some(last)) if first <= last => {
            Ok(Some(first..last.saturating_add(1).min(size)))
        }
        (None, Some(suffix)) if first.is_empty() => {
            if suffix == 0 || size == 0 {
                Err(())
            } else {
                Ok(Some(size.saturating_sub(suffix)..size))
            }
        }
        _ => Ok(None),
    }
}

fn pieces(
    source: Arc<dyn Source>,
    range: Range<u64>,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold((source, range), async |(source, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let reader = source.clone();
        let start = range.start;
        let length = PIECE.min(range.end - range.start);
        let piece = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
            let mut filled = 0;
            while filled < buffer.len() {
                match reader.read_at(start + filled as u64, &mut buffer[filled..])? {
                    0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    n => filled += n,
                }
            }
            Ok(Bytes::from(buffer))
        })
        .await
        .map_err(io::Error::other)??;
        Ok(Some((piece, (source, start + length..range.end))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_clients_write_them() {
        let check = |asked: &str, expected: Result<Option<Range<u64>>, ()>| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::RANGE,
                HeaderValue::from_str(asked).expect("a header"),
            );
            assert_eq!(wanted(&headers, 1000, "\"e\""), expected, "{asked}");
        };
        check("bytes=0-0", Ok(Some(0..1)));
        check("bytes=10-19", Ok(Some(10..20)));
        check("bytes=990-5000", Ok(Some(990..1000)));
        check("bytes=990-99999999999999999999999", Ok(Some(990..1000)));
        check("bytes=999-", Ok(Some(999..1000)));
        check("bytes=-10", Ok(Some(990..1000)));
        check("bytes=-5000", Ok(Some(0..1000)));
        check("bytes=1000-", Err(()));
        check("bytes=1000-1001", Err(()));
        check("bytes=-0", Err(()));
        for whole in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=-",
            "bytes=1",
        ] {
            check(whole, Ok(None));
        }
    }

    #[test]
    fn a_range_of_what_has_changed_is_everything() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(wanted(&headers, 1000, "\"new\""), Ok(None));
        assert_eq!(wanted(&headers, 1000, "\"old\""), Ok(Some(0..2)));
    }
}
