//! Output as lines, each with its place and time.

use jiff::Timestamp;

use crate::plain::{Out, Stripper};

/// Bytes of one line, at most: a longer one is cut.
const MOST: usize = 8 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The place of its first byte.
    pub offset: u64,
    /// The place behind its last byte, its end included.
    pub end: u64,
    /// When its first byte was recorded.
    pub at: Timestamp,
    /// What stands in it, without what only a terminal understands.
    pub text: String,
    /// It had not ended yet.
    pub open: bool,
}

/// Makes lines of output that comes in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    stripper: Stripper,
    text: Vec<u8>,
    began: Option<(u64, Timestamp)>,
    /// The place behind what was taken in.
    end: u64,
}

impl Lines {
    /// Takes output in; gives the lines that ended in it.
    pub fn push(&mut self, offset: u64, at: Timestamp, bytes: &[u8], lines: &mut Vec<Line>) {
        for (place, &byte) in (offset..).zip(bytes) {
            let out = self.stripper.feed(byte);
            self.end = place + 1;
            if out != Out::Nothing || self.began.is_none() {
                self.began.get_or_insert((place, at));
            }
            match out {
                Out::Text(byte) => self.text.push(byte),
                Out::Back => drop(self.text.pop()),
                Out::End => lines.extend(self.take(false)),
                // `\r\n` is one end, and where nothing was written the cursor left no line.
                Out::Elsewhere if !self.text.is_empty() && byte != b'\r' => {
                    lines.extend(self.take(false));
                }
                // What is written over it begins a line of its own: seen at the next byte.
                Out::Elsewhere if !self.text.is_empty() => self.text.push(b'\r'),
                Out::Elsewhere | Out::Nothing => {}
            }
            if let [.., b'\r', next] = self.text[..]
                && next != b'\r'
            {
                self.text.truncate(self.text.len() - 1);
                lines.extend(self.take(false));
                self.began = Some((place, at));
                self.text.push(next);
            }
            if self.text.len() >= MOST {
                lines.extend(self.take(true));
            }
        }
    }

    /// The line that has not ended, if there is one.
    pub fn flush(&mut self) -> Option<Line> {
        let line = self.take(true)?;
        (!line.text.is_empty()).then_some(line)
    }

    fn take(&mut self, open: bool) -> Option<Line> {
        let (offset, at) = self.began.take()?;
        let mut text = std::mem::take(&mut self.text);
        while text.last() == Some(&b'\r') {
            text.pop();
        }
        text.retain(|byte| *byte != b'\r');
        Some(Line {
            offset,
            end: self.end,
            at,
            text: String::from_utf8_lossy(&text).into_owned(),
            open,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line's place, and its text.
    type Told = (u64, String);

    /// The whole lines, and the one that is not ended yet.
    fn lines(pieces: &[&[u8]]) -> (Vec<Told>, Option<Told>) {
        let mut made = Lines::default();
        let (mut out, mut offset) = (Vec::new(), 100);
        for piece in pieces {
            made.push(offset, Timestamp::UNIX_EPOCH, piece, &mut out);
            offset += piece.len() as u64;
        }
        let open = made.flush().map(|l| (l.offset, l.text));
        (out.into_iter().map(|l| (l.offset, l.text)).collect(), open)
    }

    #[test]
    fn lines_are_the_same_however_the_output_came() {
        let output = b"one\r\n\x1b[1mtwo\x1b[0m\r\n\r\n10%\r20%\rdone\nlogin: ";
        let whole = lines(&[output]);
        let texts: Vec<&str> = whole.0.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "", "10%", "20%", "done"]);
        assert_eq!(whole.0[1].0, 105);
        assert_eq!(
            whole.1.as_ref().map(|(_, text)| text.as_str()),
            Some("login: ")
        );
        let pieces: Vec<&[u8]> = output.chunks(1).collect();
        assert_eq!(lines(&pieces), whole);
    }
}
