//! Sizes, lengths of time and times, as people read and write them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

/// `512 MiB`, `1.8 TiB`: three digits at most, in powers of 1024.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut value = count as f64;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95 && value.fract() >= 0.05);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `45s`, `2m 5s`, `3h`, `2d 4h`: the two greatest parts.
pub fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let Some(first) = parts.iter().position(|(count, _)| *count > 0) else {
        return "0s".to_owned();
    };
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

/// `2026-11-22 15:04` in local time.
pub fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

/// Reads `3d`, `36h`, `1h30m`, `2w`: a length of time in seconds, at least one.
pub fn parse_length(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a length of time: write it as 3d, 36h, 1h30m or 2w");
    let mut total = 0_u64;
    let mut digits = String::new();
    for character in text.trim().chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        if character == ' ' && digits.is_empty() {
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        digits.clear();
        total = count
            .checked_mul(unit)
            .and_then(|seconds| total.checked_add(seconds))
            .ok_or_else(wrong)?;
    }
    if !digits.is_empty() || total == 0 {
        return Err(wrong());
    }
    Ok(total)
}

/// Reads `2026-11-22T15:00:00Z`: a moment, with what it is off UTC.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let wrong = |_| format!("{text:?} is not a moment: write it as 2026-11-22T15:00:00Z");
    text.parse().map_err(wrong)
}

/// Reads the id of something.
pub fn parse_id<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let wrong = |_| {
        format!(
            "{text:?} is not an id: it is as 01939a1c-3f5e-7a51-9d3c-0f6f3a1b2c4d, and lists have \
             it with `-o json`"
        )
    };
    text.parse().map_err(wrong)
}

/// Reads `64GiB`, `512 MiB`, `1T`, `4096`: a number of bytes, in powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write it as 64GiB, 512MiB or in bytes");
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    count.checked_mul(1024_u64.pow(power)).ok_or_else(wrong)
}

/// Reads a `key=value` pair.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form key=value")),
    }
}

/// `1 machine`, `2 machines`.
pub fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (count, wanted) in [
            (0, "0 B"),
            (999, "999 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            (1023 << 20, "1023 MiB"),
            (2_000_398_934_016, "1.8 TiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), wanted, "{count}");
        }
        for (text, wanted) in [
            ("64GiB", 64 << 30),
            ("512 MiB", 512 << 20),
            ("1T", 1 << 40),
            ("4096", 4096),
            ("2kb", 2048),
        ] {
            assert_eq!(parse_bytes(text), Ok(wanted), "{text}");
        }
        for bad in ["", "GiB", "1.5G", "-1", "1X", "99999999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (seconds, wanted) in [
            (0, "0s"),
            (45, "45s"),
            (125, "2m 5s"),
            (3600, "1h"),
            (3605, "1h"),
            (187_200, "2d 4h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), wanted);
        }
        for (text, wanted) in [
            ("3d", 259_200),
            ("36h", 129_600),
            ("1h30m", 5400),
            ("2w", 1_209_600),
            ("1h 5s", 3605),
        ] {
            assert_eq!(parse_length(text), Ok(wanted), "{text}");
        }
        for bad in ["", "3", "d", "0s", "3 d", "-1d", "99999999999999w", "1y"] {
            assert!(parse_length(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_pair("=b").is_err());
        assert!(parse_pair("a").is_err());
    }
}
