//! What services and tools say, made fit to be shown: no secret, no token, no control character, not long.

use std::borrow::Cow;

use super::aadsts;
use crate::{secret::Secret, transport::form_encoded};

/// The longest sentence that is passed on.
const MAX_SENTENCE: usize = 300;

/// Shorter secrets would mask half the alphabet.
const SHORTEST_SECRET: usize = 3;

/// What stands in place of a secret.
const MASK: &str = "[redacted]";

/// The first sentence of a service's description, without the trailer of ids; where Entra is quoted, its own, behind the
/// `AADSTS` number: tools and Azure's SDKs put many lines before it.
pub(super) fn sentence(description: &str, secrets: &[&Secret]) -> Option<String> {
    let masked = mask(description, secrets);
    let mut text = aadsts::quoted(&masked).map_or(&*masked, |(_, rest)| rest.trim_start_matches([':', ' ']));
    for trailer in ["Trace ID:", "Correlation ID:", "Timestamp:"] {
        text = text.split(trailer).next().unwrap_or_default();
    }
    let end = [". ", ".\r", ".\n", "\r\n\r\n", "\n\n"].iter().filter_map(|end| text.find(end)).min();
    let text = &text[..end.unwrap_or(text.len())];
    let mut clean = String::new();
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            if !clean.ends_with(' ') {
                clean.push(' ');
            }
        } else if !is_invisible(c) {
            clean.push(c);
        }
    }
    let clean = clean.trim().trim_end_matches(['.', ' ']);
    let shown = match clean.char_indices().nth(MAX_SENTENCE) {
        Some((cut, _)) => format!("{}…", clean[..cut].trim_end()),
        None => clean.to_owned(),
    };
    (!shown.is_empty()).then_some(shown)
}

/// An identifier (an error code, a trace id): its usual characters, at most 64 of them, else nothing.
pub(super) fn identifier(text: &str, secrets: &[&Secret]) -> Option<String> {
    let text = text.trim();
    let is_one = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    (is_one && mask(text, secrets) == text).then(|| text.to_owned())
}

/// The text with every secret masked, as it is and as forms and URLs encode it, and everything that looks like a JWT.
pub(super) fn mask<'a>(text: &'a str, secrets: &[&Secret]) -> Cow<'a, str> {
    let mut masked = Cow::Borrowed(text);
    for secret in secrets.iter().map(|secret| secret.expose()).filter(|secret| secret.len() >= SHORTEST_SECRET) {
        let form = form_encoded(secret);
        let url = form.replace('+', "%20");
        let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let escaped = serde_json::Value::from(secret).to_string();
        for spelling in
            [secret, &form, &url, &form.to_lowercase(), &url.to_lowercase(), &html, escaped.trim_matches('"')]
        {
            if masked.contains(spelling) {
                masked = Cow::Owned(masked.replace(spelling, MASK));
            }
        }
    }
    match mask_jwts(&masked) {
        Some(text) => Cow::Owned(text),
        None => masked,
    }
}

fn mask_jwts(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
    let mut out: Option<String> = None;
    let mut rest = text;
    let mut done = 0;
    // "eyJ" is how base64url begins for `{"`.
    while let Some(at) = rest.find("eyJ") {
        let length = rest[at..].find(|c| !is_part(c)).unwrap_or(rest.len() - at);
        if length >= 16 {
            let out = out.get_or_insert_with(String::new);
            out.push_str(&text[done..text.len() - rest.len() + at]);
            out.push_str(MASK);
            done = text.len() - rest.len() + at + length;
        }
        rest = &rest[at + length..];
    }
    if let Some(out) = &mut out {
        out.push_str(&text[done..]);
    }
    out
}

/// Characters that show nothing or turn the direction of what follows.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_without_number_and_trailer() {
        let cases = [
            (
                "AADSTS7000215: Invalid client secret provided. Ensure it. Trace ID: 1 Correlation ID: 2",
                "Invalid client secret provided",
            ),
            (
                "AADSTS700016: Application 'x.y' was not found\r\nTrace ID: 1\r\nCorrelation ID: 2",
                "Application 'x.y' was not found",
            ),
            ("Identity not found", "Identity not found"),
            ("  two\r\nlines\u{7}\u{202e}! ", "two lines !"),
            ("AADSTS90002: Tenant 'a.b' not found.\r\nMore.", "Tenant 'a.b' not found"),
            ("It failed. See the log.\nOriginal exception: AADSTS70011: No such scope. More.", "No such scope"),
        ];
        for (description, expected) in cases {
            assert_eq!(sentence(description, &[]).as_deref(), Some(expected));
        }
        assert_eq!(sentence(" \r\n", &[]), None);
        assert_eq!(sentence("AADSTS1: Trace ID: x", &[]), None);
        let long = sentence(&"ü".repeat(5000), &[]).unwrap();
        assert_eq!(long.chars().count(), MAX_SENTENCE + 1);
    }

    #[test]
    fn secrets_are_masked_in_every_spelling() {
        let secret = Secret::new("p&ss w\"rd~1/+");
        let text = format!(
            "a {} b {} c {} d {} e {}",
            secret.expose(),
            form_encoded(secret.expose()),
            form_encoded(secret.expose()).replace('+', "%20").to_lowercase(),
            "p&amp;ss w&quot;rd~1/+",
            "p&ss w\\\"rd~1/+",
        );
        assert_eq!(mask(&text, &[&secret]), "a [redacted] b [redacted] c [redacted] d [redacted] e [redacted]");
        let dotted = Secret::new("one. two. three");
        assert_eq!(sentence("bad secret one. two. three given", &[&dotted]).unwrap(), "bad secret [redacted] given");
    }

    #[test]
    fn tokens_are_masked_though_nobody_sent_them() {
        let text = "token eyJhbGciOiJub25lIn0.eyJhIjoxfQ.sig, and eyJ0 is short; eyJhbGciOiJub25lIn0.é";
        assert_eq!(mask(text, &[]), "token [redacted], and eyJ0 is short; [redacted]é");
        assert_eq!(mask("nothing here", &[]), "nothing here");
    }

    #[test]
    fn identifiers_are_short_and_plain() {
        assert_eq!(identifier(" 11aa-22 ", &[]).as_deref(), Some("11aa-22"));
        assert_eq!(identifier("<b>", &[]), None);
        assert_eq!(identifier(&"a".repeat(65), &[]), None);
        assert_eq!(identifier("topsecret", &[&Secret::new("topsecret")]), None);
    }
}
