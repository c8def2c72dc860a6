//! One record as bytes: a head, what it holds, a checksum.

use jiff::Timestamp;

/// What every record begins with.
const MAGIC: u8 = 0xb1;
/// Magic, kind, two times, length.
const HEAD: usize = 1 + 1 + 8 + 8 + 4;
/// The checksum.
const TAIL: usize = 4;
/// Bytes of output in one record, at most.
pub(crate) const MOST: usize = 64 * 1024;

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Output of the machine.
    Bytes(Vec<u8>),
    /// Nothing was seen, from the record's `from` to its `at`, and why.
    Gap(String),
    /// What was older was removed, up to its `from`, and why.
    Removed(String),
    /// Nothing was written, and that was seen.
    Alive,
}

/// A record, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place: that of its first byte.
    pub offset: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// The earliest time that it may be of: `at`, but where a BMC sent again what
    /// it had kept.
    pub from: Timestamp,
    /// What it holds.
    pub content: Content,
}

impl Record {
    /// How many places it takes.
    pub fn places(&self) -> u64 {
        self.content.places()
    }

    /// The place behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.places()
    }
}

impl Content {
    /// How many places it takes.
    pub(crate) fn places(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Gap(_) | Self::Removed(_) => 1,
            Self::Alive => 0,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Bytes(_) => 1,
            Self::Gap(_) => 2,
            Self::Removed(_) => 3,
            Self::Alive => 4,
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Gap(why) | Self::Removed(why) => why.as_bytes(),
            Self::Alive => &[],
        }
    }
}

/// A record as it is written.
pub(crate) fn encode(at: Timestamp, from: Timestamp, content: &Content) -> Vec<u8> {
    let payload = content.payload();
    let mut out = Vec::with_capacity(HEAD + payload.len() + TAIL);
    out.push(MAGIC);
    out.push(content.kind());
    out.extend(at.as_microsecond().to_le_bytes());
    out.extend(from.as_microsecond().to_le_bytes());
    out.extend(
        u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend(payload);
    let sum = crc32fast::hash(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole record, and how many bytes it takes.
    Whole(Record, usize),
    /// The beginning of one: so many bytes are needed at least.
    Short,
    /// No record.
    Broken,
}

/// Reads the record at the beginning of `bytes`, whose place is `offset`.
pub(crate) fn decode(bytes: &[u8], offset: u64) -> Decoded {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
        return match bytes.first() {
            Some(&first) if first != MAGIC => Decoded::Broken,
            _ => Decoded::Short,
        };
    };
    let time = |at: usize| {
        let part: [u8; 8] = head[at..at + 8].try_into().unwrap_or_default();
        Timestamp::from_microsecond(i64::from_le_bytes(part)).ok()
    };
    let length = u32::from_le_bytes(head[18..22].try_into().unwrap_or_default()) as usize;
    if head[0] != MAGIC || length > MOST {
        return Decoded::Broken;
    }
    let Some(payload) = rest.get(..length) else {
        return Decoded::Short;
    };
    let Some(sum) = rest.get(length..length + TAIL) else {
        return Decoded::Short;
    };
    if sum != crc32fast::hash(&bytes[..HEAD + length]).to_le_bytes() {
        return Decoded::Broken;
    }
    let words = || String::from_utf8_lossy(payload).into_owned();
    let content = match head[1] {
        1 => Content::Bytes(payload.to_vec()),
        2 => Content::Gap(words()),
        3 => Content::Removed(words()),
        4 => Content::Alive,
        _ => return Decoded::Broken,
    };
    let (Some(at), Some(from)) = (time(2), time(10)) else {
        return Decoded::Broken;
    };
    let record = Record {
        offset,
        at,
        from,
        content,
    };
    Decoded::Whole(record, HEAD + length + TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_no_byte_of_it_can_change() {
        let (from, at) = (
            Timestamp::UNIX_EPOCH,
            Timestamp::from_second(9).expect("a time"),
        );
        for content in [
            Content::Bytes(b"login: \xff".to_vec()),
            Content::Gap("the BMC restarted".into()),
            Content::Removed("older than 31 days".into()),
            Content::Alive,
        ] {
            let bytes = encode(at, from, &content);
            let Decoded::Whole(record, length) = decode(&bytes, 7) else {
                panic!("not whole");
            };
            assert_eq!(
                (record.content, record.at, record.from),
                (content, at, from)
            );
            assert_eq!((record.offset, length), (7, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut], 0), Decoded::Short, "{cut}");
            }
            for at in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                let read = decode(&wrong, 0);
                assert!(!matches!(read, Decoded::Whole(..)), "{at}: {read:?}");
            }
        }
    }
}
