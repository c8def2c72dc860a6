//! Terminal output as plain text: what moves the cursor, colours and titles taken
//! out, lines cut where a terminal would begin one.

/// Where in a control sequence the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate, such as `(`: one more.
    Charset,
    /// In a CSI sequence, up to its final byte.
    Csi,
    /// In a string (OSC, DCS, PM, APC), up to BEL or ST.
    Text7,
    /// There, after ESC.
    Text7Escape,
}

/// What a byte comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A byte of text.
    Text(u8),
    /// The line is over, by its end.
    End,
    /// The cursor goes elsewhere: what comes is another line.
    Elsewhere,
    /// One back.
    Back,
    /// Nothing.
    Nothing,
}

/// Takes output byte by byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stripper {
    state: State,
}

impl Stripper {
    pub fn feed(&mut self, byte: u8) -> Out {
        let (state, out) = match (self.state, byte) {
            // A new sequence ends whatever was begun.
            (State::Text7, 0x1b) => (State::Text7Escape, Out::Nothing),
            (_, 0x1b) => (State::Escape, Out::Nothing),
            (State::Text, b'\n') => (State::Text, Out::End),
            (State::Text, b'\r') => (State::Text, Out::Elsewhere),
            (State::Text, 0x08) => (State::Text, Out::Back),
            (State::Text, b'\t') => (State::Text, Out::Text(b'\t')),
            (State::Text, 0..=0x1f | 0x7f) => (State::Text, Out::Nothing),
            (State::Text, _) => (State::Text, Out::Text(byte)),
            (State::Escape, b'[') => (State::Csi, Out::Nothing),
            (State::Escape, b']' | b'P' | b'^' | b'_' | b'X') => (State::Text7, Out::Nothing),
            (State::Escape, 0x20..=0x2f) => (State::Charset, Out::Nothing),
            (State::Escape, b'D' | b'E' | b'M' | b'c' | b'8') => (State::Text, Out::Elsewhere),
            (State::Escape, _) => (State::Text, Out::Nothing),
            (State::Charset, 0x20..=0x2f) => (State::Charset, Out::Nothing),
            (State::Charset, _) => (State::Text, Out::Nothing),
            // Positions and erasing: a menu is drawn, not a line written.
            (State::Csi, b'H' | b'f' | b'A' | b'B' | b'd' | b'J') => (State::Text, Out::Elsewhere),
            (State::Csi, 0x40..=0x7e) => (State::Text, Out::Nothing),
            (State::Csi, b'\n') => (State::Text, Out::End),
            (State::Csi, _) => (State::Csi, Out::Nothing),
            (State::Text7, 0x07) => (State::Text, Out::Nothing),
            // A string that never ends would eat all that follows.
            (State::Text7, b'\n') => (State::Text, Out::End),
            (State::Text7, _) => (State::Text7, Out::Nothing),
            (State::Text7Escape, b'\\') => (State::Text, Out::Nothing),
            (State::Text7Escape, _) => (State::Text, Out::Nothing),
        };
        self.state = state;
        out
    }
}

/// Output as plain text.
pub fn plain(bytes: &[u8]) -> String {
    let mut stripper = Stripper::default();
    let mut out = Vec::new();
    for &byte in bytes {
        match stripper.feed(byte) {
            Out::Text(byte) => out.push(byte),
            Out::End => out.push(b'\n'),
            Out::Elsewhere if !matches!(out.last(), None | Some(b'\n')) => out.push(b'\n'),
            Out::Back => drop(out.pop()),
            Out::Elsewhere | Out::Nothing => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        for (raw, wanted) in [
            (&b"plain"[..], "plain"),
            (b"\x1b[1;31mred\x1b[0m", "red"),
            (b"\x1b]0;a title\x07login: ", "login: "),
            (b"\x1b]0;a title\x1b\\x", "x"),
            (b"\x1b(Btext", "text"),
            (b"\x1b[2J\x1b[01;01HSetup\x1b[02;01HBoot", "Setup\nBoot"),
            (b"ab\x08c", "ac"),
            (b"a\tb\x00\x07", "a\tb"),
            (b"gr\xc3\xbc\xc3\x9fe", "grüße"),
            (b"bad \xff", "bad \u{fffd}"),
            (b"\x1b[never ends\nnext", "ever ends\nnext"),
        ] {
            assert_eq!(plain(raw), wanted, "{raw:?}");
        }
    }
}
