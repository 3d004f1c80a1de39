//! Numbers and names for people.

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

/// Reads a whole number with a unit: `500ms`, `30s`, `5m`, `1h`. Without a unit, it is in seconds.
///
/// # Errors
/// Fails for other texts, with what is expected.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number with a unit, such as 500ms, 30s, 5m or 1h".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "expected a number with a unit, such as 30s".to_owned())?;
    Ok(std::time::Duration::from_millis(u64::from(number) * factor))
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
