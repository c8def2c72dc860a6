//! SMBIOS structures, as the kernel exports them raw (DSP0134).
//!
//! Only what sysfs does not already give is read from here: processors (type
//! 4) and memory modules (type 17). Malformed tables end the list early.

use crate::Tree;

/// One structure: its type, its formatted area and its strings.
#[derive(Clone, Debug)]
pub(crate) struct Structure {
    pub kind: u8,
    data: Vec<u8>,
    strings: Vec<String>,
}

impl Structure {
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }

    pub fn word(&self, at: usize) -> Option<u16> {
        let bytes = self.data.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }

    pub fn dword(&self, at: usize) -> Option<u32> {
        let bytes = self.data.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The string whose number stands at `at`, if it says something.
    pub fn text(&self, at: usize) -> Option<String> {
        let number = usize::from(self.byte(at)?);
        let text = self.strings.get(number.checked_sub(1)?)?.trim();
        if text.is_empty() {
            return None;
        }
        crate::system::real_text(text.to_owned())
    }
}

/// All structures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables(Vec<Structure>);

impl Tables {
    pub fn read(tree: &Tree) -> Self {
        Self::parse(
            &tree
                .bytes("sys/firmware/dmi/tables/DMI")
                .unwrap_or_default(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, kind: u8) -> impl Iterator<Item = &Structure> {
        self.0.iter().filter(move |s| s.kind == kind)
    }

    pub fn parse(mut rest: &[u8]) -> Self {
        let mut structures = Vec::new();
        while let [kind, length, ..] = *rest {
            let length = usize::from(length);
            let (Some(data), Some(after)) = (rest.get(..length), rest.get(length..)) else {
                break;
            };
            if length < 4 {
                break;
            }
            // Strings end at two zero bytes, which also stand where there are none.
            let Some(end) = after.windows(2).position(|w| w == [0, 0]) else {
                break;
            };
            let strings = after[..end]
                .split(|b| *b == 0)
                .map(|s| String::from_utf8_lossy(s).into_owned())
                .collect();
            structures.push(Structure {
                kind,
                data: data.to_vec(),
                strings,
            });
            rest = &after[end + 2..];
            if kind == 127 {
                break;
            }
        }
        Self(structures)
    }
}
