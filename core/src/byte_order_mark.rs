//! Text files that begin with a byte order mark, as Notepad, PowerShell and Visual Studio write them.

use zeroize::Zeroizing;

/// Returns the text in UTF-8 without its mark, from a file in UTF-8 or UTF-16; `None` for a file without a mark.
pub(crate) fn unmarked(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let unit: fn([u8; 2]) -> u16 = match content {
        [0xef, 0xbb, 0xbf, text @ ..] => return Some(Zeroizing::new(text.to_vec())),
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = content[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    // The buffer must not grow, because that would leave a copy of the secret in memory. A unit takes up to three
    // bytes.
    let mut text = Zeroizing::new(Vec::with_capacity(content.len() / 2 * 3));
    let mut utf8 = Zeroizing::new([0; 4]);
    for character in char::decode_utf16(units) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut *utf8).as_bytes());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::unmarked;

    #[test]
    fn unmarked_returns_utf8_without_the_mark() {
        let read = |content: &[u8]| unmarked(content).map(|text| String::from_utf8(text.to_vec()).expect("UTF-8"));
        assert_eq!(read(b"plain"), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\xef\xbb\xbfaz").as_deref(), Some("az"));
        assert_eq!(read(b"\xff\xfea\0z\0").as_deref(), Some("az"));
        assert_eq!(read(b"\xfe\xff\0a\0z").as_deref(), Some("az"));
        assert_eq!(read(b"\xff\xfe\x3d\xd8\x00\xde").as_deref(), Some("\u{1F600}"));
        assert_eq!(read(b"\xff\xfe\x3d\xd8a\0z").as_deref(), Some("\u{fffd}a"), "half a character, half a unit");
    }
}
