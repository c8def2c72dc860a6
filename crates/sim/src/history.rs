//! The history: a line for everything that happens, hashed as it grows.

use billet_model::Time;
use sha2::{Digest as _, Sha256};

/// What happened, in order.
pub(crate) struct History {
    hash: Sha256,
    start: Time,
    lines: Option<Vec<String>>,
    last: std::collections::VecDeque<String>,
    /// How many lines.
    pub length: u64,
}

/// Lines kept for telling what led to a finding.
const KEPT: usize = 60;

impl History {
    pub fn new(start: Time, keep: bool) -> Self {
        Self {
            hash: Sha256::new(),
            start,
            lines: keep.then(Vec::new),
            last: std::collections::VecDeque::new(),
            length: 0,
        }
    }

    pub fn add(&mut self, now: Time, machine: Option<usize>, text: &str) {
        let since = now.duration_since(self.start).as_millis();
        let (hours, minutes) = (since / 3_600_000, since / 60_000 % 60);
        let (seconds, millis) = (since / 1000 % 60, since % 1000);
        let who = machine.map_or("    ".to_owned(), |m| format!("m{m:03}"));
        let line = format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03} {who} {text}");
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.length += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        } else {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            self.last.push_back(line);
        }
    }

    /// The hash of all lines, and the lines if they were kept.
    pub fn finish(self) -> (String, Vec<String>) {
        let hash = self.hash.finalize();
        let hex = hash.iter().map(|b| format!("{b:02x}")).collect();
        (hex, self.lines.unwrap_or_else(|| self.last.into()))
    }
}
