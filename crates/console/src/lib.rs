//! Recordings of serial consoles: written, repaired, read, searched.
//!
//! A machine's console is one endless stream. It lies in a directory of the
//! machine's own, in *segments*: one that is open, and closed ones, compressed,
//! whose names are the index. Everything in it has a place, its **offset**: a
//! byte of output takes one, and so does a mark (something was not seen, or was
//! removed). Offsets only grow and are never given twice, so whoever goes on
//! behind the last one that it saw misses nothing.
//!
//! What is promised, and how:
//!
//! - **Killed anywhere, nothing whole is lost.** A record is one `write`, with a
//!   checksum; what is torn at the end is cut off when the recording is opened.
//!   The file is synced once a second while it grows: a machine that loses power
//!   may lose its last second.
//! - **What was not seen is said.** A gap is a record of its own.
//! - **Whose it is, is not guessed.** BMCs replay old output to whoever connects.
//!   What was recorded already is recognised and left out; what cannot be dated
//!   carries the earliest time that it may be of ([`Record::from`]).

mod error;
mod frame;
mod lines;
mod overlap;
mod plain;
mod reader;
mod recorder;
mod recording;
mod search;
mod segment;

pub use error::RecordingError;
pub use frame::{Content, Record};
pub use lines::{Line, Lines};
pub use plain::plain;
pub use reader::Reader;
pub use recorder::Recorder;
pub use recording::{Limits, Pruned};
pub use search::{InvalidPattern, Matcher};
