//! The errors that `pgentra-proxy` reads from a server, changes, and writes for a client.

use pgentra_proxy::message::{ErrorFields, error_response};

use crate::select;

/// Reads the input as the body of a server's error, or as the texts of an error for a client. The first text of the
/// input, up to a byte 0xff, is the new detail, and its reverse the new hint.
pub fn run(data: &[u8]) {
    let Some((side, rest)) = select(data, &["server", "client"]) else { return };
    let (detail, body) = match rest.iter().position(|byte| *byte == 0xff) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&b""[..], rest),
    };
    let detail = String::from_utf8_lossy(detail);
    let hint: String = detail.chars().rev().collect();
    if side == "server" { server(body, &detail, &hint) } else { client(body, &detail, &hint) }
}

/// The fields by their types, as a client would read them.
fn fields(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    assert_eq!(message[0], b'E');
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
    assert_eq!(length as usize, message.len() - 1);
    let mut fields = Vec::new();
    let mut rest = &message[5..];
    loop {
        let (kind, after) = rest.split_first().expect("a message ends with a NUL byte");
        if *kind == 0 {
            assert!(after.is_empty(), "bytes after the end of the fields");
            return fields;
        }
        let end = after.iter().position(|byte| *byte == 0).expect("a field ends with a NUL byte");
        fields.push((*kind, after[..end].to_vec()));
        rest = &after[end + 1..];
    }
}

fn server(body: &[u8], detail: &str, hint: &str) {
    let error = ErrorFields::parse(body);
    let message = error.to_message();
    // The bytes are the same, up to the end of the fields.
    let read = fields(&message);
    let text = &message[5..message.len() - 1];
    assert!(body.starts_with(text.strip_suffix(&[0]).unwrap_or(text)), "{body:?}");
    assert_eq!(ErrorFields::parse(&message[5..]), error);
    assert!(error.message.is_empty() == error.field(b'M').unwrap_or_default().is_empty());
    let changed = error.clone().with_detail(detail).with_hint(hint);
    let written = fields(&changed.to_message());
    let without_nul = |text: &str| text.replace('\0', "").into_bytes();
    for (kind, text) in [(b'D', detail), (b'H', hint)] {
        let values: Vec<_> = written.iter().filter(|(field, _)| *field == kind).collect();
        assert_eq!(values, [&(kind, without_nul(text))]);
    }
    let others = |fields: &[(u8, Vec<u8>)]| -> Vec<_> {
        fields.iter().filter(|(kind, _)| !matches!(kind, b'D' | b'H')).cloned().collect()
    };
    assert_eq!(others(&written), others(&read));
    assert_eq!((&changed.sqlstate, &changed.message), (&error.sqlstate, &error.message));
    assert_eq!(changed.clone().with_hint(hint).with_detail(detail), changed, "the order does not matter");
}

fn client(body: &[u8], detail: &str, hint: &str) {
    let message = String::from_utf8_lossy(body);
    let response = error_response(detail, &message, Some(hint));
    let read = ErrorFields::parse(&response[5..]);
    let without_nul = |text: &str| text.replace('\0', "");
    assert_eq!(fields(&response).len(), 5);
    assert_eq!(read.severity, "FATAL");
    assert_eq!(read.sqlstate, without_nul(detail));
    assert_eq!(read.message, without_nul(&message));
    assert_eq!(read.hint, Some(without_nul(hint)));
    assert_eq!(read.to_message(), response);
}
