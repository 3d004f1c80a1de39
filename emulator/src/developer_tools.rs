//! `az`, `azd` and `pwsh` for a user: small programs at the start of a command's `PATH`, which request the token from
//! the emulator.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The first argument, which makes the program act as one of the tools. The second one is the address of the emulator.
pub(crate) const MARK: &str = "--developer-tool";

/// The supported tools.
pub(crate) const TOOLS: [&str; 3] = ["az", "azd", "pwsh"];

/// Writes the programs for one user to a directory. `base` is the endpoint's address.
pub(crate) fn install(directory: &Path, base: &str, oid: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let program = std::env::current_exe()?;
    if program.file_stem().is_none_or(|name| name != "pgentra-emulator") {
        return Err(io::Error::other("they are part of the program pgentra-emulator, and this is another one"));
    }
    for tool in TOOLS {
        // The file is renamed to its final name, because a tool that is being run must not be written to.
        let file = tempfile::NamedTempFile::new_in(directory)?;
        fs::write(file.path(), format!("#!/bin/sh\nexec {} {MARK} {base}/{tool}/{oid} \"$@\"\n", quoted(&program)))?;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755))?;
        file.into_temp_path().persist(directory.join(tool)).map_err(|error| error.error)?;
    }
    Ok(())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Acts as one of the tools: prints the emulator's response.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let address = arguments.next().and_then(|address| address.into_string().ok()).unwrap_or_default();
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    // Callers use this to detect PowerShell.
    if arguments == ["/?"] {
        return ExitCode::SUCCESS;
    }
    let script = script(&arguments);
    let resource = match &script {
        Some(script) => resource_of_script(script),
        None => resource(&arguments).map(str::to_owned),
    };
    let mut shown = arguments.clone();
    if let (Some(script), Some(last)) = (&script, shown.last_mut()) {
        last.clone_from(script);
    }
    match request(&address, resource.as_deref(), &shown.join(" ")) {
        Ok(ToolOutput { exit: 0, body, local_time_only }) => {
            match script {
                Some(script) => println!("{}", for_script(body, &script)),
                None => println!("{}", with_local_expiry(body, local_time_only)),
            }
            ExitCode::SUCCESS
        }
        Ok(ToolOutput { exit, body, .. }) => {
            eprint!("{body}");
            ExitCode::from(exit)
        }
        Err(error) => {
            eprintln!("ERROR: the emulator does not respond: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the value of `--resource R` or `--scope R/.default`, also with an equals sign.
fn resource(arguments: &[String]) -> Option<&str> {
    let value = |name: &str| {
        let position = arguments.iter().position(|argument| argument.split('=').next() == Some(name))?;
        arguments[position].split_once('=').map(|(_, value)| value).or(arguments.get(position + 1).map(String::as_str))
    };
    value("--resource").or_else(|| value("--scope").map(|scope| scope.strip_suffix("/.default").unwrap_or(scope)))
}

/// Returns the script that is passed to PowerShell, encoded or as it is.
fn script(arguments: &[String]) -> Option<String> {
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|position| arguments.get(position + 1))
    };
    if let Some(plain) = value("-Command") {
        return Some(plain.clone());
    }
    let bytes = STANDARD.decode(value("-EncodedCommand")?).ok()?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

/// Returns the value that a script assigns to `ResourceUrl`, in either kind of quotation marks.
fn resource_of_script(script: &str) -> Option<String> {
    let rest = script.split_once("ResourceUrl")?.1;
    let start = rest.split_once('=')?.1.trim_start();
    let mark = start.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    Some(start[1..].split_once(mark)?.0.to_owned())
}

/// Returns the output of a script: the single line that some scripts print, or an object.
fn for_script(body: String, script: &str) -> String {
    let Ok(mut fields) = serde_json::from_str::<Value>(&body) else { return body };
    let epoch = fields.as_object_mut().and_then(|fields| fields.remove("epoch")).unwrap_or_default();
    match fields["Token"].as_str() {
        Some(token) if script.contains("azsdk%") => format!("\nazsdk%{token}%{epoch}\n"),
        _ => fields.to_string(),
    }
}

/// The exit status and the output of the tool.
struct ToolOutput {
    exit: u8,
    body: String,
    local_time_only: bool,
}

fn request(address: &str, resource: Option<&str>, arguments: &str) -> io::Result<ToolOutput> {
    let (host, path) = address.strip_prefix("http://").unwrap_or(address).split_once('/').unwrap_or((address, ""));
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let query = format!("resource={}&arguments={}", encoded(resource.unwrap_or_default()), encoded(arguments));
    let mut stream = TcpStream::connect(host)?;
    // With version 1.0 the end of the connection ends the response.
    write!(stream, "GET /{path}?{query} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: developer-tool\r\n\r\n")?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let header = |name: &str| {
        head.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let is_success = head.split(' ').nth(1) == Some("200");
    let exit = match header("x-exit") {
        Some(exit) => exit.parse().unwrap_or(1),
        None => u8::from(!is_success),
    };
    Ok(ToolOutput { exit, body: body.to_owned(), local_time_only: header("x-local-time-only").is_some() })
}

/// Adds the expiry in local time without a zone, as `az` does. Older programs read only that.
fn with_local_expiry(body: String, alone: bool) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) else { return body };
    if let Some(local) = fields.get("expires_on").and_then(Value::as_i64).and_then(local_time) {
        fields.insert("expiresOn".into(), local.into());
        if alone {
            fields.remove("expires_on");
        }
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
    fn resource_is_found_in_either_form() {
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

    #[test]
    fn script_is_read_in_every_form() {
        for script in [
            "@{ ResourceUrl = 'https://r'; X = 'y' }",
            "$p = @{ 'ResourceUrl' = 'https://r' }",
            "ResourceUrl = \"https://r\"\n",
        ] {
            let expected = Some("https://r".to_owned());
            assert_eq!(resource_of_script(script), expected, "{script}");
        }
        let encoded = STANDARD.encode("Get-It".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        let arguments = |option: &str, script: &str| [option.to_owned(), script.to_owned()];
        assert_eq!(script(&arguments("-EncodedCommand", &encoded)).as_deref(), Some("Get-It"));
        assert_eq!(script(&arguments("-Command", "Get-It")).as_deref(), Some("Get-It"));
        let body = r#"{"Token":"t","ExpiresOn":"2030-01-01T00:00:00Z","epoch":1893456000}"#;
        assert_eq!(for_script(body.to_owned(), "azsdk%"), "\nazsdk%t%1893456000\n");
        assert_eq!(for_script(body.to_owned(), ""), r#"{"ExpiresOn":"2030-01-01T00:00:00Z","Token":"t"}"#);
    }
}
