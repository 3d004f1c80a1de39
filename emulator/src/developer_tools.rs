//! `az` and `azd` for a user: tiny programs put first in the `PATH` of a command, which ask the emulator for the token.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

/// The first argument by which the program knows that it is one of the tools; the second is the address to ask.
pub(crate) const MARK: &str = "--developer-tool";

/// The tools there are.
pub(crate) const TOOLS: [&str; 2] = ["az", "azd"];

/// Writes the programs for one user into a directory; `base` is the endpoint's address.
pub(crate) fn install(directory: &Path, base: &str, oid: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let program = std::env::current_exe()?;
    for tool in TOOLS {
        let file = directory.join(tool);
        fs::write(&file, format!("#!/bin/sh\nexec {} {MARK} {base}/{tool}/{oid} \"$@\"\n", quoted(&program)))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Is one of the tools: prints what the emulator answers.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let address = arguments.next().and_then(|address| address.into_string().ok()).unwrap_or_default();
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    match ask(&address, resource(&arguments)) {
        Ok((true, body)) => {
            println!("{}", with_local_expiry(body));
            ExitCode::SUCCESS
        }
        Ok((false, body)) => {
            eprint!("{body}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ERROR: the emulator does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `--resource R` or `--scope R/.default`, the value also behind an equals sign.
fn resource(arguments: &[String]) -> Option<&str> {
    let value = |name: &str| {
        let position = arguments.iter().position(|argument| argument.split('=').next() == Some(name))?;
        arguments[position].split_once('=').map(|(_, value)| value).or(arguments.get(position + 1).map(String::as_str))
    };
    value("--resource").or_else(|| value("--scope").map(|scope| scope.strip_suffix("/.default").unwrap_or(scope)))
}

/// Whether the emulator agreed, and the body.
fn ask(address: &str, resource: Option<&str>) -> io::Result<(bool, String)> {
    let (host, path) = address.strip_prefix("http://").unwrap_or(address).split_once('/').unwrap_or((address, ""));
    let resource: String = form_urlencoded::byte_serialize(resource.unwrap_or_default().as_bytes()).collect();
    let mut stream = TcpStream::connect(host)?;
    // Version 1.0, so that the answer ends with the connection.
    write!(stream, "GET /{path}?resource={resource} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: developer-tool\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1) == Some("200"), body.to_owned()))
}

/// `az` tells the expiry in local time without a zone as well, and older programs read only that.
fn with_local_expiry(body: String) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) else { return body };
    if let Some(local) = fields.get("expires_on").and_then(Value::as_i64).and_then(local_time) {
        fields.insert("expiresOn".into(), local.into());
    }
    Value::Object(fields).to_string()
}

fn local_time(seconds: i64) -> Option<String> {
    // SAFETY: all-zero bytes are a valid `tm`: numbers, and a pointer that may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call, and no other thread of this program changes its environment.
    if unsafe { libc::localtime_r(&seconds, &mut parts) }.is_null() {
        return None;
    }
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.000000",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_in_either_form() {
        let of = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(String::from).collect();
            resource(&arguments).map(str::to_owned)
        };
        assert_eq!(of("account get-access-token --output json --resource https://r").as_deref(), Some("https://r"));
        assert_eq!(of("account get-access-token -o json --scope https://r/.default").as_deref(), Some("https://r"));
        assert_eq!(of("auth token --scope=https://r/.default --output json").as_deref(), Some("https://r"));
        assert_eq!(of("auth token --scope").as_deref(), None);
        assert_eq!(of("account show").as_deref(), None);
    }
}
