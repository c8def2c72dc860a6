//! What arrives: counted and hashed as it comes, its compression recognised by its first bytes.

use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use super::error::ImportError;
use crate::digest::hex;

/// A checksum of a file, as its publisher states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256, 64 hexadecimal digits.
    Sha256(String),
    /// SHA-512, 128 hexadecimal digits.
    Sha512(String),
}

impl FromStr for Checksum {
    type Err = ImportError;

    fn from_str(text: &str) -> Result<Self, ImportError> {
        let wrong = || ImportError::ChecksumSyntax(text.to_owned());
        let (kind, digits) = text.trim().split_once(':').ok_or_else(wrong)?;
        let digits = digits.trim().to_ascii_lowercase();
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        match (kind.to_ascii_lowercase().as_str(), digits.len()) {
            ("sha256", 64) => Ok(Self::Sha256(digits)),
            ("sha512", 128) => Ok(Self::Sha512(digits)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(formatter, "sha256:{digits}"),
            Self::Sha512(digits) => write!(formatter, "sha512:{digits}"),
        }
    }
}

/// The reader that an image arrives through.
pub struct Source<R> {
    inner: R,
    sha256: Sha256,
    sha512: Option<Sha512>,
    bytes: u64,
    limit: u64,
    /// Why reading failed: a decoder would turn it into a complaint of its own.
    failure: Option<io::Error>,
    ended: bool,
}

impl<R: Read> Source<R> {
    /// Reads from `inner`, `limit` bytes at most.
    pub fn new(inner: R, limit: u64, wanted: Option<&Checksum>) -> Self {
        Self {
            inner,
            sha256: Sha256::new(),
            sha512: matches!(wanted, Some(Checksum::Sha512(_))).then(Sha512::new),
            bytes: 0,
            limit,
            failure: None,
            ended: false,
        }
    }

    /// How much has arrived, in bytes.
    pub fn arrived(&self) -> u64 {
        self.bytes
    }

    /// The error that reading ended with, if it did.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// True when more arrived than is allowed.
    pub fn over_limit(&self) -> bool {
        self.bytes > self.limit
    }

    /// Reads the rest, so that the checksum is of everything.
    pub fn drain(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        while !self.ended && self.failure.is_none() && !self.over_limit() {
            let _ = self.read(&mut buffer);
        }
    }

    /// Compares with what was stated, or tells the SHA-256.
    pub fn verify(&self, wanted: Option<&Checksum>) -> Result<Checksum, ImportError> {
        let actual = match (wanted, &self.sha512) {
            (Some(Checksum::Sha512(_)), Some(hasher)) => {
                Checksum::Sha512(hex(&hasher.clone().finalize()))
            }
            _ => Checksum::Sha256(hex(&self.sha256.clone().finalize())),
        };
        match wanted {
            Some(wanted) if *wanted != actual => Err(ImportError::ChecksumMismatch {
                expected: wanted.to_string(),
                actual: actual.to_string(),
                bytes: self.bytes,
            }),
            _ => Ok(actual),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over_limit() {
            return Err(io::Error::other("more bytes than allowed"));
        }
        match self.inner.read(buffer) {
            Ok(read) => {
                self.ended = read == 0 && !buffer.is_empty();
                self.bytes += read as u64;
                self.sha256.update(&buffer[..read]);
                if let Some(hasher) = &mut self.sha512 {
                    hasher.update(&buffer[..read]);
                }
                Ok(read)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                let told = io::Error::new(e.kind(), e.to_string());
                self.failure = Some(e);
                Err(told)
            }
        }
    }
}

/// A reader whose first bytes were looked at.
pub type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes, `count` of them or all there are.
pub fn peek<R: Read>(mut reader: R, count: u64) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(count).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// The most memory that an xz stream may ask for, in bytes.
const XZ_MEMORY: u64 = 256 << 20;
/// The largest window a zstd frame may ask for, as a power of two (128 MiB).
const ZSTD_WINDOW_LOG: u32 = 27;

/// Takes off gzip, xz or zstd, where one of them is around the image.
pub fn decompress<'a, R: Read + 'a>(reader: R) -> io::Result<Box<dyn Read + 'a>> {
    let (head, reader) = peek(reader, 6)?;
    let reader = BufReader::with_capacity(1 << 18, reader);
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(reader),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_and_written() {
        let digits = "ab".repeat(32);
        for (text, good) in [
            (format!("sha256:{digits}"), true),
            (format!(" SHA256: {} ", digits.to_uppercase()), true),
            (format!("sha512:{digits}{digits}"), true),
            (format!("sha512:{digits}"), false),
            (format!("md5:{digits}"), false),
            (digits.clone(), false),
            (format!("sha256:{}", "g".repeat(64)), false),
        ] {
            let parsed = text.parse::<Checksum>();
            assert_eq!(parsed.is_ok(), good, "{text}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.to_string().parse::<Checksum>().unwrap(), parsed);
            }
        }
    }
}
