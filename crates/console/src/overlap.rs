//! What of a BMC's replay was recorded already.

/// How much of the end of a recording is looked for.
const NEEDLE: usize = 256;

/// How many of the first bytes of `replay` are in the recording that ends with
/// `tail`; none where nothing of it is known.
///
/// Where several answers fit, the largest is taken: less is shown twice, and
/// nothing that is old is taken for new.
pub(crate) fn known(tail: &[u8], replay: &[u8]) -> Option<usize> {
    if tail.is_empty() || replay.is_empty() {
        return None;
    }
    let needle = &tail[tail.len().saturating_sub(NEEDLE)..];
    if let Some(end) = last_end(needle, replay) {
        return Some(end);
    }
    // The replay begins within the tail: its longest beginning that the tail ends with.
    let table = failure(replay);
    let mut matched = 0;
    for &byte in tail {
        while matched > 0 && (matched == replay.len() || replay[matched] != byte) {
            matched = table[matched - 1];
        }
        if replay[matched] == byte {
            matched += 1;
        }
    }
    (matched > 0).then_some(matched)
}

/// Where the last occurrence of `needle` ends.
fn last_end(needle: &[u8], hay: &[u8]) -> Option<usize> {
    let table = failure(needle);
    let (mut matched, mut last) = (0, None);
    for (at, &byte) in hay.iter().enumerate() {
        while matched > 0 && (matched == needle.len() || needle[matched] != byte) {
            matched = table[matched - 1];
        }
        if needle[matched] == byte {
            matched += 1;
        }
        if matched == needle.len() {
            last = Some(at + 1);
        }
    }
    last
}

/// The failure function of Knuth, Morris and Pratt: a replay of one byte over and
/// over costs no more than any other.
fn failure(pattern: &[u8]) -> Vec<usize> {
    let mut table = vec![0; pattern.len()];
    let mut matched = 0;
    for at in 1..pattern.len() {
        while matched > 0 && pattern[matched] != pattern[at] {
            matched = table[matched - 1];
        }
        if pattern[matched] == pattern[at] {
            matched += 1;
        }
        table[at] = matched;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn what_was_recorded_is_recognised() {
        let long: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
        for (tail, replay, wanted) in [
            (&b"abc login: "[..], &b"login: root"[..], Some(7)),
            (b"login: ", b"boot\r\nlogin: root", Some(13)),
            (b"login: ", b"something else", None),
            (b"", b"anything", None),
            (b"anything", b"", None),
            (b"aaaa", b"aaaaaa", Some(6)),
            (b"xaab", b"aab", Some(3)),
            (b"xaaaab", b"aab", Some(3)),
            (&long[..4000], &long[1000..], Some(3000)),
            (&long[..4000], &long[3900..], Some(100)),
            (&long[..4000], &long[4000..], None),
        ] {
            assert_eq!(known(tail, replay), wanted, "{tail:?} {replay:?}");
        }
    }
}
