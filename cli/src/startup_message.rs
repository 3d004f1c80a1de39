//! The first message of the program's own sessions.

use pgentra_proxy::startup::{Opening, StartupMessage};

/// Returns the startup message of protocol 3.0, or `None` if the names are too long.
pub fn startup_message(user: &str, database: &str, application_name: &str) -> Option<StartupMessage> {
    let parameters =
        [("user", user), ("database", database), ("application_name", application_name), ("client_encoding", "UTF8")];
    let mut packet = vec![0; 4];
    packet.extend(196_608_u32.to_be_bytes());
    for text in parameters.into_iter().flat_map(|(name, value)| [name, value]) {
        packet.extend(text.bytes().chain([0]));
    }
    packet.push(0);
    let length = u32::try_from(packet.len()).ok()?;
    packet[..4].copy_from_slice(&length.to_be_bytes());
    match Opening::parse(packet) {
        Ok(Opening::Startup(message)) => Some(message),
        _ => None,
    }
}
