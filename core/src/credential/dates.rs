//! Parses the ways in which token sources write a time or a number of seconds.

use serde_json::Value;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// Reads seconds from a number or from a text that contains one.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    let from_float = |number: f64| (number.abs() < 9e15).then_some(number as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| from_float(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| from_float(text.trim().parse().ok()?)),
        _ => None,
    }
}

/// The latest time in seconds, in the year 5138. A larger number is in milliseconds or a smaller unit.
const LATEST: i64 = 100_000_000_000;

/// Reads a time as seconds since the epoch, from such a number or from a date with its zone.
pub(super) fn moment(value: &Value) -> Option<i64> {
    let number = seconds(value).map(|number| {
        std::iter::successors(Some(number), |number| Some(number / 1000)).find(|number| *number <= LATEST).unwrap_or(0)
    });
    number.or_else(|| {
        let (date, zone) = parse(value.as_str()?)?;
        Some(date.assume_offset(zone?).unix_timestamp())
    })
}

/// Reads a time whose date can lack a zone. It is then this machine's local time.
pub(super) fn moment_or_local(value: &Value) -> Option<i64> {
    moment(value).or_else(|| {
        let (date, zone) = parse(value.as_str()?)?;
        match zone {
            Some(_) => None,
            None => from_local(date),
        }
    })
}

/// Reads `2030-01-31T09:00:00.5Z`, `2030-01-31 09:00:00+02:00`, `1/31/2030 9:00:00 AM +00:00` and the like.
fn parse(text: &str) -> Option<(PrimitiveDateTime, Option<UtcOffset>)> {
    let (date, rest) = text.trim().split_once(['T', ' '])?;
    let numbers = |separator| date.split(separator).map(|part| part.parse::<u16>().ok()).collect::<Option<Vec<u16>>>();
    let (year, month, day) = match (date.contains('/'), numbers('/'), numbers('-')) {
        (true, Some(parts), _) if parts.len() == 3 => (parts[2], parts[0], parts[1]),
        (false, _, Some(parts)) if parts.len() == 3 => (parts[0], parts[1], parts[2]),
        _ => return None,
    };
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;

    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let mut words = clock.split_whitespace();
    let mut parts = words.next()?.split(':');
    let mut hour: u8 = parts.next()?.parse().ok()?;
    let minute: u8 = parts.next()?.parse().ok()?;
    let second: u8 = parts.next().unwrap_or("0").split('.').next()?.parse().ok()?;
    match words.next().map(str::to_ascii_uppercase).as_deref() {
        None => {}
        Some("AM") if (1..=12).contains(&hour) => hour %= 12,
        Some("PM") if (1..=12).contains(&hour) => hour = hour % 12 + 12,
        Some(_) => return None,
    }
    let time = Time::from_hms(hour, minute, second).ok()?;
    let zone = if zone.is_empty() { None } else { Some(parse_zone(zone)?) };
    Some((PrimitiveDateTime::new(date, time), zone))
}

fn parse_zone(text: &str) -> Option<UtcOffset> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("z") {
        return Some(UtcOffset::UTC);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match text.get(1..)?.split_once(':') {
        Some(parts) => parts,
        None => (text.get(1..3)?, text.get(3..).filter(|minutes| !minutes.is_empty()).unwrap_or("0")),
    };
    let (hours, minutes): (i8, i8) = (hours.parse().ok()?, minutes.parse().ok()?);
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

/// Converts a local date and time to seconds since the epoch. In the hour that occurs twice a year, either time is
/// used.
#[cfg(unix)]
fn from_local(date: PrimitiveDateTime) -> Option<i64> {
    fn offset_at(moment: i64) -> Option<i64> {
        // SAFETY: an all-zero `tm` is a valid value of this plain C struct.
        let mut local: libc::tm = unsafe { std::mem::zeroed() };
        #[allow(clippy::useless_conversion, reason = "time_t is narrower on some 32-bit targets")]
        let moment = libc::time_t::try_from(moment).ok()?;
        // SAFETY: both pointers are to live values, and localtime_r writes to nothing else.
        let converted = unsafe { libc::localtime_r(&moment, &mut local) };
        #[allow(clippy::useless_conversion, reason = "c_long is narrower on 32-bit targets")]
        (!converted.is_null()).then(|| i64::from(local.tm_gmtoff))
    }
    let as_utc = date.assume_utc().unix_timestamp();
    let guess = as_utc - offset_at(as_utc)?;
    Some(as_utc - offset_at(guess)?)
}

/// Returns `None`: the local zone is not available here without reading the process's environment, and all current
/// tools state the zone.
#[cfg(not(unix))]
fn from_local(_date: PrimitiveDateTime) -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn seconds_reads_every_spelling_of_a_time() {
        let cases = [
            (json!(1_893_456_000), Some(1_893_456_000)),
            (json!(1_893_456_000.7), Some(1_893_456_000)),
            (json!(1_893_456_000_123_i64), Some(1_893_456_000)),
            (json!("1893456000123456"), Some(1_893_456_000)),
            (json!("1893456000"), Some(1_893_456_000)),
            (json!(" 1893456000 "), Some(1_893_456_000)),
            (json!("2030-01-01T00:00:00Z"), Some(1_893_456_000)),
            (json!("2030-01-01T00:00:00.1234567Z"), Some(1_893_456_000)),
            (json!("2030-01-01T02:00:00+02:00"), Some(1_893_456_000)),
            (json!("2029-12-31 19:30:00-0430"), Some(1_893_456_000)),
            (json!("1/1/2030 12:00:00 AM +00:00"), Some(1_893_456_000)),
            (json!("1/16/2030 5:24:12 AM +00:00"), Some(1_894_771_452)),
            (json!("1/16/2030 12:24:12 PM +00:00"), Some(1_894_796_652)),
            (json!("06/20/2030 02:57:58 +00:00"), Some(1_908_154_678)),
            (json!("2030-01-01 09:00:00.000000"), None),
            (json!("2030-13-01T00:00:00Z"), None),
            (json!("2030-02-30T00:00:00Z"), None),
            (json!("13:00 PM"), None),
            (json!("1/1/2030 13:00:00 PM +00:00"), None),
            (json!("tomorrow Z"), None),
            (json!("2030-01-01T00:00:00+9é"), None),
            (json!(""), None),
            (json!(null), None),
            (json!({"a": 1}), None),
            (json!(1e300), None),
        ];
        for (value, expected) in cases {
            assert_eq!(moment(&value), expected, "{value}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn local_time_uses_the_zone_of_this_machine() {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "credential::dates::tests::child_in_central_europe", "--ignored"]);
        let output = child.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3").output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }

    #[cfg(unix)]
    #[test]
    #[ignore = "a child process of another test"]
    fn child_in_central_europe() {
        assert_eq!(moment_or_local(&json!("2030-01-01 01:00:00.000000")), Some(1_893_456_000));
        assert_eq!(moment_or_local(&json!("2030-07-01 02:00:00.000000")), Some(1_909_094_400));
    }
}
