//! Makes texts of services and tools safe to show: without secrets, tokens and control characters, and short.

use std::borrow::Cow;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use super::entra::error_codes;
use crate::{
    secret::Secret,
    transport::{Response, form_encoded},
};

/// The maximum length of a text that is passed on.
const MAX_SENTENCE: usize = 300;

/// The number of sentences that are passed on, because the second one often contains the reason. More sentences are
/// added while the text is shorter than `SHORT`.
const SENTENCES: usize = 2;
const SHORT: usize = 120;

/// A longer body is a page, not a message followed by a stack trace.
const MAX_BODY: usize = 16 * 1024;

/// Sequences of token characters of at least this length that mix cases and digits are masked: secrets, keys, opaque
/// tokens.
const OPAQUE: usize = 32;

/// Shorter secrets are not masked, because they would match too much ordinary text.
const SHORTEST_SECRET: usize = 3;

/// The replacement for a secret.
const MASK: &str = "[redacted]";

/// Returns the first sentences of a service's description, without the trailer of ids. If Entra is quoted, these are
/// Entra's sentences after the `AADSTS` number: tools and Azure's SDKs put many lines before it.
pub(super) fn sentence(description: &str, secrets: &[&Secret]) -> Option<String> {
    let masked = mask(description, secrets);
    let mut text = error_codes::quoted(&masked).map_or(&*masked, |(_, rest)| rest.trim_start_matches([':', ' ']));
    for trailer in ["Trace ID:", "Correlation ID:", "Timestamp:"] {
        text = text.split(trailer).next().unwrap_or_default();
    }
    let (mut end, mut sentences) = (0, 0);
    while sentences < SENTENCES || end < SHORT {
        sentences += 1;
        let rest = &text[end..];
        let next = [". ", ".\r", ".\n"].iter().filter_map(|mark| rest.find(mark)).map(|at| at + 1);
        // Details follow after the end of a paragraph, and a stack trace after an exception.
        let paragraph = ["\r\n\r\n", "\n\n", "\n   at ", "\r\n   at "].iter().filter_map(|mark| rest.find(mark)).min();
        match (next.min(), paragraph) {
            (next, Some(paragraph)) if next.is_none_or(|next| paragraph < next) => {
                end += paragraph;
                break;
            }
            (Some(next), _) => end += next,
            (None, _) => {
                end = text.len();
                break;
            }
        }
    }
    let clean = clean(&text[..end]);
    let clean = clean.trim().trim_end_matches(['.', ' ']);
    let shown = match clean.char_indices().nth(MAX_SENTENCE) {
        Some((cut, _)) => format!("{}…", clean[..cut].trim_end()),
        None => clean.to_owned(),
    };
    (!shown.is_empty()).then_some(shown)
}

/// Removes control characters and invisible characters, and reduces sequences of whitespace to one space.
fn clean(text: &str) -> String {
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
    clean
}

/// Returns the plain text of a body that is not a JSON object, if it can be shown: a short text that is neither markup
/// nor data, and does not look like a token. `any_type` accepts every content type except HTML and XML.
pub(super) fn plain_words(response: &Response, any_type: bool) -> Option<&str> {
    let media_type = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let is_text =
        media_type.starts_with("text/plain") || any_type && !media_type.contains("html") && !media_type.contains("xml");
    if !is_text || response.truncated || response.body.len() > MAX_BODY {
        return None;
    }
    words(std::str::from_utf8(&response.body).ok()?)
}

/// Returns the text, if it consists of words in some language.
pub(super) fn words(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('\u{feff}').trim();
    // A JSON text is accepted too.
    let text = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('"') => inner.trim(),
        _ => text,
    };
    let is_data = text.starts_with(['<', '{', '[', '"']) || text.contains(['\0', '\u{fffd}']);
    let lower = text.to_ascii_lowercase();
    let is_markup = ["<html", "<!doctype", "<body", "</"].iter().any(|tag| lower.contains(tag));
    let looks_like_a_token = |word: &str| {
        let is_of_tokens = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+/=".contains(&b);
        let has_digits = word.bytes().filter(u8::is_ascii_digit).count() >= 3;
        word.len() > 60 && word.bytes().all(is_of_tokens) && has_digits
            || word.len() > 30 && !text.contains(char::is_whitespace)
    };
    let has_letters = text.chars().any(char::is_alphabetic);
    (has_letters && !is_data && !is_markup && !text.split_whitespace().any(looks_like_a_token)).then_some(text)
}

/// Returns an identifier (an error code, a trace id), if it has at most 64 of the usual characters.
pub(super) fn identifier(text: &str, secrets: &[&Secret]) -> Option<String> {
    let text = text.trim();
    let is_one = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    (is_one && mask_secrets(text, secrets) == text).then(|| text.to_owned())
}

/// Masks everything that can be a secret: the secrets of the request, tokens, values after names that stand for
/// secrets, long opaque sequences, user names in paths.
pub(super) fn mask<'a>(text: &'a str, secrets: &[&Secret]) -> Cow<'a, str> {
    let mut masked = mask_secrets(text, secrets);
    for mask in [mask_named, mask_opaque, mask_homes] {
        if let Some(text) = mask(&masked) {
            masked = Cow::Owned(text);
        }
    }
    masked
}

/// Masks every secret of the request, as it is and as forms and URLs encode it, and everything that looks like a JWT.
pub(super) fn mask_secrets<'a>(text: &'a str, secrets: &[&Secret]) -> Cow<'a, str> {
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
    // In base64url, `{"` becomes "eyJ".
    while let Some(at) = rest.find("eyJ") {
        let length = rest[at..].find(|c| !is_part(c)).unwrap_or(rest.len() - at);
        if length >= 16 && !is_claims_challenge(&rest[at..at + length]) {
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

/// Returns whether the text is a claims challenge as tools print it for the next sign-in. It looks like a part of a
/// JWT, but is not a secret.
fn is_claims_challenge(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let decoded = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).unwrap_or_default();
    serde_json::from_slice::<Value>(&decoded).is_ok_and(|challenge| {
        let is_request = |part: &Value| part.is_object();
        challenge.as_object().is_some_and(|members| {
            !members.is_empty()
                && members.iter().all(|(name, part)| {
                    matches!(name.as_str(), "access_token" | "id_token" | "userinfo") && is_request(part)
                })
        })
    })
}

/// Masks values after names that stand for secrets: `password=…`, `"access_token": "…"`, `Bearer …`.
fn mask_named(text: &str) -> Option<String> {
    const GENERAL: [&str; 5] = ["secret", "token", "key", "code", "assertion"];
    const NAMES: [&str; 17] = [
        "access_token",
        "accesstoken",
        "refresh_token",
        "id_token",
        "client_secret",
        "clientsecret",
        "client_assertion",
        "password",
        "sig",
        "bearer",
        "x-identity-header",
        "accountkey",
        "secret",
        "token",
        "key",
        "code",
        "assertion",
    ];
    let mut out: Option<String> = None;
    let lower = text.to_ascii_lowercase();
    let mut done = 0;
    let mut at = 0;
    while let Some((start, name)) = NAMES
        .iter()
        .filter_map(|name| lower[at..].find(name).map(|found| (at + found, *name)))
        .min_by_key(|(found, name)| (*found, std::cmp::Reverse(name.len())))
    {
        let after = start + name.len();
        at = after;
        let starts_a_word = !text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
        let rest = &text[after..];
        let value = match name {
            // This is an authentication scheme: a space separates it from the value.
            "bearer" => rest.trim_start_matches(' '),
            _ => rest.trim_start_matches(['"', '\'', ' ']),
        };
        let value = match (name, value.strip_prefix(['=', ':'])) {
            (_, Some(value)) => value.trim_start_matches([' ', '"', '\'']),
            ("bearer", None) if value.len() < rest.len() => value,
            _ => continue,
        };
        // `token: expired` is a sentence, `token=...` is not.
        if GENERAL.contains(&name) && !rest.trim_start_matches(['"', '\'']).starts_with('=') {
            continue;
        }
        let end = value.find(|c: char| c.is_whitespace() || "\"'&,;)}<".contains(c)).unwrap_or(value.len());
        // Words of the sentence are not header values.
        let is_value = end >= if name == "bearer" { 16 } else { 4 };
        if !starts_a_word || !is_value || value[..end].starts_with(MASK) {
            continue;
        }
        let from = text.len() - value.len();
        let out = out.get_or_insert_with(String::new);
        out.push_str(&text[done..from]);
        out.push_str(MASK);
        done = from + end;
        at = done;
    }
    if let Some(out) = &mut out {
        out.push_str(&text[done..]);
    }
    out
}

/// Masks long sequences that do not occur in a language: upper case, lower case and digits without a space.
fn mask_opaque(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '+' | '=');
    let is_opaque = |run: &str| {
        run.len() >= OPAQUE
            && run.bytes().any(|b| b.is_ascii_uppercase())
            && run.bytes().any(|b| b.is_ascii_lowercase())
            && run.bytes().filter(u8::is_ascii_digit).count() >= 3
            && !is_claims_challenge(run)
    };
    let mut out = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(start) = rest.find(is_part) {
        let length = rest[start..].find(|c| !is_part(c)).unwrap_or(rest.len() - start);
        let run = &rest[start..start + length];
        out.push_str(&rest[..start]);
        if is_opaque(run) {
            found = true;
            out.push_str(MASK);
        } else {
            out.push_str(run);
        }
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Masks the names of users in the paths of their folders.
fn mask_homes(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    for (start, separator) in [("/home/", '/'), ("/Users/", '/'), ("\\Users\\", '\\'), ("\\\\Users\\\\", '\\')] {
        let current = out.as_deref().unwrap_or(text);
        if !current.contains(start) {
            continue;
        }
        let mut parts = current.split(start);
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // The drive letter is removed too.
            if separator == '\\' && shown.ends_with(':') {
                shown.pop();
                shown.pop();
            }
            shown.push('~');
            let name = part.find(|c: char| c == separator || "\"'\r\n:<>|*?".contains(c)).unwrap_or(part.len());
            shown.push_str(&part[name..]);
        }
        out = Some(shown);
    }
    out
}

/// Returns whether a character is invisible or changes the text direction.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_returns_the_message_without_number_and_trailer() {
        let cases = [
            (
                "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID. More. Trace ID: 1 Correlation ID: 2",
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID",
            ),
            (
                "AADSTS700016: Application 'x.y' was not found\r\nTrace ID: 1\r\nCorrelation ID: 2",
                "Application 'x.y' was not found",
            ),
            ("Identity not found", "Identity not found"),
            ("X.Exception: It broke\r\n   at A.B() in x.cs", "X.Exception: It broke"),
            ("Unable. Token service x. Not found. ", "Unable. Token service x. Not found"),
            ("  two\r\nlines\u{7}\u{202e}! ", "two lines !"),
            ("AADSTS90002: Tenant 'a.b' not found.\r\nMore.", "Tenant 'a.b' not found. More"),
            ("AADSTS90002: Tenant 'a.b' not found\r\n\r\nMore.", "Tenant 'a.b' not found"),
            ("It failed. See the log.\nOriginal exception: AADSTS70011: No such scope. More.", "No such scope. More"),
            (
                "AADSTS70002: Error validating credentials. AADSTS50012: Invalid client secret is provided.",
                "Invalid client secret is provided",
            ),
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
    fn sentence_masks_secrets_in_every_spelling() {
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
    fn sentence_masks_tokens_that_were_not_sent() {
        let text = "token eyJhbGciOiJub25lIn0.eyJhIjoxfQ.sig, and eyJ0 is short; eyJhbGciOiJub25lIn0.é";
        assert_eq!(mask(text, &[]), "token [redacted], and eyJ0 is short; [redacted]é");
        assert_eq!(mask("nothing here", &[]), "nothing here");
    }

    #[test]
    fn sentence_masks_values_by_name_or_form() {
        let cases = [
            ("at {\"access_token\": \"abcdef\", \"x\": 1}", "at {\"access_token\": \"[redacted]\", \"x\": 1}"),
            ("url?client_secret=hunter2&x=1 failed", "url?client_secret=[redacted]&x=1 failed"),
            ("Authorization: Bearer abcdefghijklmnop is bad", "Authorization: Bearer [redacted] is bad"),
            ("the bearer token is missing", "the bearer token is missing"),
            ("token: expired, secret=hunter2, code=12", "token: expired, secret=[redacted], code=12"),
            ("Invalid secret token header: .", "Invalid secret token header: ."),
            ("secret AbCdEfGhIjKlMnOpQrStUvWxYz0123456789 is wrong", "secret [redacted] is wrong"),
            ("id 11111111-2222-3333-4444-555555555555 stays", "id 11111111-2222-3333-4444-555555555555 stays"),
            ("[Errno 13] '/Users/alice/.azure/x.json': no", "[Errno 13] '~/.azure/x.json': no"),
            (concat!("[Errno 13] '/home/", "alice/.azure/x.json': no"), "[Errno 13] '~/.azure/x.json': no"),
            ("at C:\\Users\\alice\\x.py and \u{fc}\\Users\\b\\y", "at ~\\x.py and \u{fc}~\\y"),
            (
                "az login --claims-challenge \"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7InZhbHVlIjoiMSJ9fX0=\"",
                "az login --claims-challenge \"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7InZhbHVlIjoiMSJ9fX0=\"",
            ),
            ("eyJhY2Nlc3NfdG9rZW4iOiJzZWNyZXQifQ", "[redacted]"),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text, &[]), expected);
        }
    }

    #[test]
    fn sentence_of_a_body_shows_only_prose() {
        let shown = |content_type: &str, body: &str, any_type| {
            let response = Response::new(400, &[("content-type", content_type)], body);
            plain_words(&response, any_type).map(str::to_owned)
        };
        assert_eq!(
            shown("text/plain; charset=utf-8", " pod list is empty\n", false).as_deref(),
            Some("pod list is empty")
        );
        assert_eq!(shown("", "Forbidden", true).as_deref(), Some("Forbidden"));
        assert_eq!(shown("application/json", "\"No such thing.\"", true).as_deref(), Some("No such thing."));
        assert_eq!(shown("", "Forbidden", false), None);
        assert_eq!(shown("text/html", "Forbidden", true), None);
        for hidden in [
            "",
            "  ",
            "400",
            "<p>no",
            "no <html>",
            "{\"a\":1",
            "[1]",
            "a\0b",
            "abcdefghijklmnopqrstuvwxyzabcdefg",
            "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2lnbmF0dXJl",
        ] {
            assert_eq!(shown("text/plain", hidden, true), None, "{hidden:?}");
        }
        assert_eq!(shown("text/plain", &"word ".repeat(4000), true), None);
        let frames = "It broke.\n   at Contoso.Identity.Tokens.ManagedIdentityTokenProvider.GetTokenAsync(System.String resource)";
        assert!(shown("text/plain", frames, true).is_some());
    }

    #[test]
    fn identifier_is_short_and_plain() {
        assert_eq!(identifier(" 11aa-22 ", &[]).as_deref(), Some("11aa-22"));
        assert_eq!(identifier("<b>", &[]), None);
        assert_eq!(identifier(&"a".repeat(65), &[]), None);
        assert_eq!(identifier("topsecret", &[&Secret::new("topsecret")]), None);
    }
}
