//! Percent-encoding in URLs (RFC 3986).

/// Decodes percent-encoding. A plus sign stays a plus sign. `None`: a percent sign is not followed by two hexadecimal
/// digits; if `lenient` is set, such a sign is kept instead.
pub(crate) fn decode(text: &str, lenient: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            (b'%', ..) if !lenient => return None,
            _ => bytes.push(byte),
        }
    }
    Some(bytes)
}

/// Encodes every byte except letters, digits, `-`, `.`, `_`, `~` and those in `safe`.
pub(crate) fn encode(text: &str, safe: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    // Of the largest size at once, because a buffer that grows leaves a copy of a secret in memory.
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        let character = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(character) || (byte.is_ascii() && safe.contains(character)) {
            encoded.push(character);
        } else {
            encoded.extend([
                '%',
                char::from(DIGITS[usize::from(byte >> 4)]),
                char::from(DIGITS[usize::from(byte & 15)]),
            ]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_of_a_raw_percent_sign_depends_on_lenient() {
        for (text, strict, lenient) in [
            ("a%20b+%C3%a4", Some("a b+ä"), "a b+ä"),
            ("%00", Some("\0"), "\0"),
            ("100%", None, "100%"),
            ("%4", None, "%4"),
            ("%zz%41", None, "%zzA"),
            ("%%41", None, "%A"),
        ] {
            assert_eq!(decode(text, false).as_deref(), strict.map(str::as_bytes), "{text}");
            assert_eq!(decode(text, true).as_deref(), Some(lenient.as_bytes()), "{text}");
        }
    }
}
