//! Mutations by seed: the same seed makes the same input of the same corpus.

/// Dice that fall the same way each time (xorshift64*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }
}

/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"18446744073709551615",
    b"-1",
    b"1e999",
    b"0x",
    b"null",
    b"{}",
    b"[]",
    b"\"",
    b"\\u0000",
    b"\n",
    b"\r\n\r\n",
    b"../",
    b"%00",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\xa6\x80",
    b"[[[[[[[[[[[[[[[[",
    b"&a *a",
];

/// An input made of one of `corpus` and, here and there, of another; `largest` bytes at most.
pub fn mutated(corpus: &[(String, Vec<u8>)], seed: u64, largest: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let one = &corpus[dice.roll(corpus.len())].1;
    let other = &corpus[dice.roll(corpus.len())].1;
    let mut bytes = one.clone();
    for _ in 0..=dice.roll(4) {
        change(&mut bytes, other, &mut dice);
    }
    bytes.truncate(largest);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.roll(bytes.len() + 1);
    let most = 1 << dice.roll(8);
    let length = dice.roll(most);
    let end = (at + length).min(bytes.len());
    match dice.roll(8) {
        0 => drop(bytes.drain(at..end)),
        1 => bytes.truncate(at),
        2 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
        3 => {
            let from = dice.roll(other.len() + 1);
            let to = (from + length).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        4 => drop(bytes.splice(at..at, WORDS[dice.roll(WORDS.len())].iter().copied())),
        5 => {
            let word = WORDS[dice.roll(WORDS.len())];
            let end = (at + word.len()).min(bytes.len());
            drop(bytes.splice(at..end, word.iter().copied()));
        }
        6 => {
            for byte in &mut bytes[at..end] {
                *byte = dice.roll(256) as u8;
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.roll(8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_again_and_others_make_others() {
        let corpus = [
            ("a".to_owned(), b"one input".to_vec()),
            ("b".to_owned(), vec![7; 300]),
        ];
        let made: Vec<Vec<u8>> = (0..50).map(|seed| mutated(&corpus, seed, 200)).collect();
        let again: Vec<Vec<u8>> = (0..50).map(|seed| mutated(&corpus, seed, 200)).collect();
        assert_eq!(made, again);
        assert!(made.iter().all(|input| input.len() <= 200));
        let distinct: std::collections::BTreeSet<_> = made.iter().collect();
        assert!(distinct.len() > 40, "{}", distinct.len());
    }
}
