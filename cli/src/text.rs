//! Numbers and names for people.

use std::time::Duration;

/// Returns a number with its thousands separated by commas.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns how long a token lives: `23 h 59 min left`.
pub fn describe_life(seconds: i64) -> String {
    match seconds {
        ..=0 => format!("expired {} s ago", seconds.unsigned_abs()),
        1..=119 => format!("{seconds} s left"),
        120..=7199 => format!("{} min left", seconds / 60),
        _ => format!("{} h {} min left", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns the source of a role name for the middle of a sentence.
pub fn describe_role_source(source: &str) -> String {
    match source {
        "user" => "given".to_owned(),
        "PGUSER" => "from PGUSER".to_owned(),
        "management token" => "from a management token".to_owned(),
        "service file" => "from the connection service file".to_owned(),
        "fallback_username" => "the fallback user name".to_owned(),
        source => match source.strip_prefix("variable ") {
            Some(name) => format!("from {name}"),
            None => format!("from the claim {source} of the token"),
        },
    }
}

/// Reads a time such as `30s`, `500ms`, `5m` or `1h`; a number alone is in seconds.
///
/// # Errors
/// Fails for another form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number: Option<u64> = number.parse().ok();
    // A longer time cannot be added to every clock.
    const LONGEST: u64 = 10 * 365 * 86_400_000;
    let total = number.and_then(|number| number.checked_mul(milliseconds)).filter(|total| *total <= LONGEST);
    let total = total.filter(|_| milliseconds > 0);
    total.map(Duration::from_millis).ok_or_else(|| "expected a time such as 30s, 500ms, 5m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouped_separates_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1612, "1,612"), (65_530, "65,530"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn parse_duration_reads_each_unit() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("0", 0),
            ("90", 90_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1d", "1 s", "99999999999999999999", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn describe_life_has_two_units_at_most() {
        for (seconds, text) in [
            (-3, "expired 3 s ago"),
            (0, "expired 0 s ago"),
            (90, "90 s left"),
            (3599, "59 min left"),
            (86_399, "23 h 59 min left"),
        ] {
            assert_eq!(describe_life(seconds), text);
        }
    }
}
