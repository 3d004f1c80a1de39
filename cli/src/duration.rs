//! Durations in arguments.

use std::time::Duration;

/// The units, and how many milliseconds each has.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number with a unit: `500ms`, `30s`, `5m`, `8h`, `1d`. Without a unit, it is in seconds.
///
/// # Errors
/// Fails for other texts, with what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit.trim_start() };
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let milliseconds =
        factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor)).filter(|count| *count <= MAX);
    let milliseconds = milliseconds.ok_or("expected a number with a unit, such as 500ms, 30s, 5m, 8h or 1d")?;
    Ok(Duration::from_millis(milliseconds))
}

/// The longest duration: ten years, which can be added to any time.
const MAX: u64 = 3650 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_each_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("5m", 300_000),
            ("8h", 28_800_000),
            ("1d", 86_400_000),
            ("0", 0),
            (" 2 s ", 2_000),
        ] {
            assert_eq!(parse(text).map(|found| found.as_millis()), Ok(milliseconds), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "1 week", "99999999999999999999s", "10000000d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
