//! Connection strings and URLs, parsed into libpq's keywords.
//!
//! This is used if the driver has no public parser, and for Azure Service Connector's variables. A text of another form
//! than the expected one is rejected; it never becomes a connection to the local default. Errors do not repeat any part
//! of the text, which can contain a password.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::{ConnectionSettings, sslmode_of_text};
use crate::{
    error::{Error, ErrorKind, Result},
    percent_encoding,
};

/// The form of a connection string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// libpq's form: `host=... dbname=...`, or a `postgresql://` URI, parsed exactly as libpq does.
    #[default]
    Libpq,
    /// The same with further parameters, which the drivers of Go send to the server or use for their pools.
    LibpqWithParameters,
    /// A URL as the drivers of Node parse it: several hosts, `socket:` URLs, `/folder database`, unknown parameters and
    /// raw percent signs are accepted. A parameter takes precedence over the same setting before the question mark.
    Url,
    /// The same, but the settings before the question mark take precedence (asyncpg).
    UrlAuthorityFirst,
    /// Npgsql's form: `Server=...;User Id=...`.
    Dotnet,
    /// pgjdbc's form: `jdbc:postgresql://...`.
    Jdbc,
}

impl Form {
    fn expected(self) -> &'static str {
        match self {
            Form::Libpq | Form::LibpqWithParameters => {
                "a libpq connection string such as host=server dbname=database user=role, or a URI such as \
                 postgresql://role@server:5432/database?sslmode=verify-full"
            }
            Form::Url | Form::UrlAuthorityFirst => {
                "a URL such as postgresql://role@server:5432/database?sslmode=verify-full"
            }
            Form::Dotnet => {
                "a connection string such as Host=server;Database=database;Username=role;SSL Mode=VerifyFull"
            }
            Form::Jdbc => "a URL such as jdbc:postgresql://server:5432/database?user=role&sslmode=verify-full",
        }
    }
}

/// Parses a connection string.
///
/// # Errors
/// [`ErrorKind::InvalidConnection`], naming the problem and the expected form.
pub fn parse(text: &str, form: Form) -> Result<ConnectionSettings> {
    let found = match form {
        Form::Libpq if uri_rest(text).is_some() => uri(text, known),
        Form::Libpq => keywords(text, known),
        Form::LibpqWithParameters if uri_rest(text).is_some() => uri(text, present),
        Form::LibpqWithParameters => keywords(text, present),
        Form::Url => url(text, true),
        Form::UrlAuthorityFirst => url(text, false),
        Form::Dotnet => dotnet(text),
        Form::Jdbc => jdbc(text),
    };
    found.map(ConnectionSettings::new).map_err(|why| {
        Error::new(ErrorKind::InvalidConnection, format!("the connection string cannot be read: {why}"))
            .with_advice(format!("Use {}.", form.expected()))
    })
}

/// Parses a connection string and detects its form, because the forms of Service Connector differ by client type.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_any(text: &str) -> Result<ConnectionSettings> {
    let text = text.trim();
    let form = if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("jdbc:")) {
        Form::Jdbc
    } else if uri_rest(text).is_none() && is_dotnet(text) {
        Form::Dotnet
    } else {
        Form::Libpq
    };
    parse(text, form)
}

/// Returns whether every part between semicolons is a setting. A password of libpq's form can contain a semicolon too.
fn is_dotnet(text: &str) -> bool {
    let key = |part: &str| part.split_once('=').map(|(key, _)| dotnet_key(key));
    let parts = text.split(';').filter(|part| !part.trim().is_empty());
    let keys: Option<Vec<String>> = parts.map(key).collect();
    let Some(keys) = keys else { return false };
    keys.len() > 1 || text.trim_end().ends_with(';') || matches!(keys.first().map(String::as_str), Some("server"))
}

type Values = BTreeMap<String, String>;
type Parsed = std::result::Result<Values, &'static str>;
/// Returns an error for a keyword that is not accepted.
type Check = fn(&str) -> std::result::Result<(), &'static str>;

// libpq

fn uri_rest(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// Parses keywords and values as `conninfo_parse` in libpq's fe-connect.c does.
fn keywords(text: &str, check: Check) -> Parsed {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    if text.contains('\0') {
        return Err("it contains NUL");
    }
    let mut values = Values::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_space(c)).ok_or("a keyword has no \"=\"")?;
        let keyword = &rest[..end];
        rest = rest[end..].trim_start_matches(is_space);
        rest = rest.strip_prefix('=').ok_or("a keyword has no \"=\"")?.trim_start_matches(is_space);
        check(keyword)?;
        let mut value = String::new();
        let quoted = rest.strip_prefix('\'');
        let mut characters = quoted.unwrap_or(rest).chars();
        loop {
            match characters.next() {
                Some('\\') => value.extend(characters.next()),
                Some('\'') if quoted.is_some() => break,
                None if quoted.is_some() => return Err("a quoted value has no closing quote"),
                None => break,
                Some(c) if quoted.is_none() && is_space(c) => break,
                Some(c) => value.push(c),
            }
        }
        rest = characters.as_str().trim_start_matches(is_space);
        store(&mut values, keyword, value);
    }
    Ok(values)
}

/// Writes settings as a libpq connection string. Settings without a libpq keyword are left out.
pub(super) fn write_libpq(settings: &ConnectionSettings) -> String {
    let mut text = String::new();
    for (keyword, value) in settings.iter().filter(|(keyword, _)| is_keyword(keyword)) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(keyword);
        text.push('=');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | ',' | '@');
        if !value.is_empty() && value.chars().all(is_plain) {
            text.push_str(value);
        } else {
            text.push('\'');
            for c in value.chars() {
                if matches!(c, '\'' | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
            text.push('\'');
        }
    }
    text
}

/// Stores a value as `conninfo_storeval` does: the last value is used, and `requiressl` is the old name of two modes.
fn store(values: &mut Values, keyword: &str, value: String) {
    if keyword == "requiressl" {
        let mode = if value.starts_with('1') { "require" } else { "prefer" };
        values.insert("sslmode".to_owned(), mode.to_owned());
    } else {
        values.insert(keyword.to_owned(), value);
    }
}

/// Parses a URI as `conninfo_uri_parse_options` in libpq's fe-connect.c does. Spaces are always rejected, because
/// libpq's treatment of them differs by version.
fn uri(text: &str, check: Check) -> Parsed {
    if text.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b' || c == '\0') {
        return Err("it contains whitespace, which must be written as %20 in a URI");
    }
    let mut values = Values::new();
    let mut rest = uri_rest(text).unwrap_or_default();
    // libpq searches for "@" up to the first slash, even after a question mark.
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    if let Some((login, _)) = authority.split_once('@') {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        for (keyword, value) in [("user", Some(user)), ("password", password)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                store(&mut values, keyword, decoded(value)?);
            }
        }
        rest = &rest[login.len() + 1..];
    }
    let (hosts, ports, behind) = uri_hosts(rest)?;
    for (keyword, value) in [("host", hosts), ("port", ports)] {
        if !value.is_empty() {
            store(&mut values, keyword, decoded(&value)?);
        }
    }
    let (path, query) = match behind.split_once('?') {
        Some((path, query)) => (path, query),
        None => (behind, ""),
    };
    if let Some(database) = path.strip_prefix('/').filter(|database| !database.is_empty()) {
        store(&mut values, "dbname", decoded(database)?);
    }
    let mut pairs = query;
    while !pairs.is_empty() {
        let (pair, more) = pairs.split_once('&').unwrap_or((pairs, ""));
        pairs = more;
        let (keyword, value) = pair.split_once('=').ok_or("a parameter has no \"=\"")?;
        if value.contains('=') {
            return Err("a parameter has more than one \"=\"");
        }
        let (keyword, value) = (decoded(keyword)?, decoded(value)?);
        match (keyword.as_str(), value.as_str()) {
            ("ssl", "true") => store(&mut values, "sslmode", "require".to_owned()),
            _ => {
                check(&keyword)?;
                store(&mut values, &keyword, value);
            }
        }
    }
    Ok(values)
}

/// Rejects unknown keywords as libpq does, so that a text of another form is not read as libpq's.
fn known(keyword: &str) -> std::result::Result<(), &'static str> {
    if is_keyword(keyword) { Ok(()) } else { Err("it has a keyword that libpq does not have") }
}

/// Accepts every name of a parameter. Other characters could begin another setting where the settings are written again.
fn present(keyword: &str) -> std::result::Result<(), &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !keyword.is_empty() && keyword.chars().all(is_plain) { Ok(()) } else { Err("a keyword is not a name") }
}

/// Returns whether libpq has such a setting.
pub(super) fn is_keyword(keyword: &str) -> bool {
    LIBPQ_KEYWORDS.contains(&keyword)
}

/// The keywords of libpq 18 and those of earlier versions. Source: libpq, "Parameter Key Words".
const LIBPQ_KEYWORDS: &[&str] = &[
    "application_name",
    "authtype",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "tty",
    "user",
];

/// Returns hosts and ports, each as a list separated by commas, and the text after them.
fn uri_hosts(text: &str) -> std::result::Result<(String, String, &str), &'static str> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    let mut rest = text;
    loop {
        let host;
        if let Some(inside) = rest.strip_prefix('[') {
            let (address, behind) = inside.split_once(']').ok_or("an IPv6 address has no closing \"]\"")?;
            if address.is_empty() {
                return Err("an IPv6 address is empty");
            }
            if behind.starts_with(|c| !matches!(c, ':' | '/' | '?' | ',')) {
                return Err("the \"]\" of an IPv6 address is followed by something other than a port");
            }
            (host, rest) = (address, behind);
        } else {
            (host, rest) = rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len()));
        }
        hosts.push_str(host);
        if let Some(behind) = rest.strip_prefix(':') {
            let (port, behind) = behind.split_at(behind.find(['/', '?', ',']).unwrap_or(behind.len()));
            ports.push_str(port);
            rest = behind;
        }
        let Some(next) = rest.strip_prefix(',') else { return Ok((hosts, ports, rest)) };
        rest = next;
        hosts.push(',');
        ports.push(',');
    }
}

/// Decodes as `conninfo_uri_decode` does: a plus sign is a plus sign.
fn decoded(text: &str) -> std::result::Result<String, &'static str> {
    percent_decoded(text, false)
}

/// Decodes percent-encoding. `lenient` keeps a percent sign that is not followed by two hexadecimal digits.
fn percent_decoded(text: &str, lenient: bool) -> std::result::Result<String, &'static str> {
    let bytes = percent_encoding::decode(text, lenient)
        .ok_or("a percent sign is not followed by two hexadecimal digits; write it as %25")?;
    if bytes.contains(&0) {
        return Err("it contains %00");
    }
    String::from_utf8(bytes).map_err(|_| "a percent-encoded text is not UTF-8")
}

// URLs of drivers that parse them by a URL library

fn url(text: &str, query_wins: bool) -> Parsed {
    let text = text.trim();
    if text.contains('\0') {
        return Err("it contains NUL");
    }
    let lenient = |text: &str| percent_decoded(text, true);
    if text.starts_with('/') {
        let (folder, database) = text.split_once(' ').unwrap_or((text, ""));
        return Ok(without_empty([("host", folder.to_owned()), ("dbname", database.trim().to_owned())]));
    }
    let (scheme, rest) = text.split_once(':').ok_or("it has no scheme")?;
    match scheme.to_ascii_lowercase().as_str() {
        "socket" => {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            // The host of `socket://host/path`, if any, is a login.
            let (login, path) = match path.strip_prefix("//") {
                Some(authority) => match authority.find('/') {
                    Some(slash) => authority.split_at(slash),
                    None => return Err("a socket: URL has no path"),
                },
                None => ("", path),
            };
            let mut values = Values::new();
            for (keyword, value) in query_of(query)? {
                let keyword = if keyword == "db" { "dbname".to_owned() } else { keyword };
                values.insert(keyword, value);
            }
            if let Some(login) = login.strip_suffix('@') {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                values.extend(without_empty([("user", lenient(user)?), ("password", lenient(password)?)]));
            }
            values.insert("host".to_owned(), lenient(path)?);
            return Ok(values);
        }
        "postgres" | "postgresql" => {}
        _ => return Err("its scheme is neither postgresql: nor postgres:"),
    }
    let rest = rest.strip_prefix("//").ok_or("its scheme is not followed by \"//\"")?;
    // Python's `urlparse` also ends the host at a fragment.
    let rest = if query_wins { rest } else { rest.split_once('#').map_or(rest, |(rest, _)| rest) };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A fragment is not part of the database's name.
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    // A password can contain an unencoded "@", which all of Node's drivers accept. asyncpg ends a login at the first
    // one.
    if !query_wins && authority.matches('@').count() > 1 {
        return Err("there are several \"@\" before its database; write one of a password as %40");
    }
    let (login, places) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (hosts, ports, behind) = uri_hosts(places)?;
    if !behind.is_empty() {
        return Err("its host cannot be read");
    }
    let before = without_empty([
        ("user", lenient(user)?),
        ("password", lenient(password)?),
        ("host", lenient(&hosts)?),
        ("port", if ports.trim_matches(',').is_empty() { String::new() } else { ports }),
        ("dbname", lenient(path.strip_prefix('/').unwrap_or(path))?),
    ]);
    let parameters = query_of(query)?.into_iter().map(|(keyword, value)| match keyword.as_str() {
        // This is the name in asyncpg and pg.
        "database" => ("dbname".to_owned(), value),
        _ => (keyword, value),
    });
    let mut values = before.clone();
    values.extend(parameters.filter(|(_, value)| !value.is_empty()));
    // pg and postgres.js have this setting; sslmode takes precedence over it in both.
    if query_wins && let Some(ssl) = values.remove("ssl") {
        let mode = sslmode_of_text(&ssl).ok_or("its parameter ssl is neither true, false nor an sslmode")?;
        values.entry("sslmode".to_owned()).or_insert_with(|| mode.to_owned());
    }
    if !query_wins {
        values.extend(before);
    }
    Ok(values)
}

fn query_of(query: &str) -> std::result::Result<Vec<(String, String)>, &'static str> {
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let text = |text: &str| percent_decoded(&text.replace('+', " "), true);
    // Drivers ignore a value without a name.
    let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with('='));
    pairs
        .map(|pair| {
            let (keyword, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(keyword)?, text(value)?))
        })
        .collect()
}

fn without_empty<const N: usize>(pairs: [(&str, String); N]) -> Values {
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}

// Npgsql

/// Returns a key in lower case with only its letters: `User Id`, `UserId` and `user_id` are the same key.
fn dotnet_key(key: &str) -> String {
    let key: String = key.trim().chars().filter(|c| !matches!(c, ' ' | '_')).collect();
    key.to_ascii_lowercase()
}

/// Parses by the rules of `DbConnectionStringBuilder`: a value can be in either kind of quotes, which are doubled
/// inside.
fn dotnet(text: &str) -> Parsed {
    let mut values = Values::new();
    let mut rest = text.trim();
    if rest.contains('\0') {
        return Err("it contains NUL");
    }
    while !rest.is_empty() {
        rest = rest.trim_start_matches(|c: char| c == ';' || c.is_whitespace());
        if rest.is_empty() {
            break;
        }
        let (key, behind) = rest.split_once('=').ok_or("a key has no \"=\"")?;
        if key.contains(';') {
            return Err("a key has no \"=\"");
        }
        if dotnet_key(key).is_empty() {
            return Err("a value has no key");
        }
        let behind = behind.trim_start();
        let value;
        (value, rest) = match behind.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => {
                let (value, behind) = unquoted(&behind[1..], quote)?;
                let behind = behind.trim_start();
                if !behind.is_empty() && !behind.starts_with(';') {
                    return Err("behind a quoted value \";\" is missing");
                }
                (value, behind)
            }
            None => {
                let (value, behind) = behind.split_once(';').unwrap_or((behind, ""));
                (value.trim().to_owned(), behind)
            }
        };
        store_dotnet(&mut values, key.trim(), value)?;
    }
    Ok(values)
}

fn unquoted(text: &str, quote: char) -> std::result::Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (inside, behind) = rest.split_once(quote).ok_or("a quoted value has no closing quote")?;
        value.push_str(inside);
        match behind.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Ok((value, behind)),
        }
    }
}

fn store_dotnet(values: &mut Values, key: &str, value: String) -> std::result::Result<(), &'static str> {
    let keyword = match dotnet_key(key).as_str() {
        "host" | "server" | "datasource" => {
            let (hosts, ports) = dotnet_hosts(&value)?;
            values.insert("host".to_owned(), hosts);
            if !ports.is_empty() {
                values.insert("port".to_owned(), ports);
            }
            return Ok(());
        }
        // Ports in a list of hosts take precedence.
        "port" if values.contains_key("port") => return Ok(()),
        "port" => "port",
        "database" | "db" => "dbname",
        "username" | "userid" | "user" | "uid" => "user",
        "password" | "psw" | "pwd" => "password",
        "sslmode" => {
            let mode = value.to_ascii_lowercase();
            let mode = match mode.as_str() {
                "verifyca" => "verify-ca",
                "verifyfull" => "verify-full",
                other => other,
            };
            values.insert("sslmode".to_owned(), mode.to_owned());
            return Ok(());
        }
        "applicationname" => "application_name",
        "options" => "options",
        "rootcertificate" => "sslrootcert",
        "timeout" => "connect_timeout",
        "passfile" => "passfile",
        // The key stays as it was written, because Npgsql does not accept every keyword without its spaces.
        _ => key,
    };
    values.insert(keyword.to_owned(), value);
    Ok(())
}

/// Parses Npgsql's `Host`: several names or addresses, each with an optional port.
pub(super) fn dotnet_hosts(text: &str) -> std::result::Result<(String, String), &'static str> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for place in text.split(',').map(str::trim).filter(|place| !place.is_empty()) {
        let (host, port) = if let Some(inside) = place.strip_prefix('[') {
            let (address, behind) = inside.split_once(']').ok_or("an IPv6 address has no closing \"]\"")?;
            (address, behind.strip_prefix(':').unwrap_or_default())
        } else if place.starts_with('/') || place.matches(':').count() > 1 {
            // This is a socket's folder, or an IPv6 address without brackets.
            (place, "")
        } else {
            place.split_once(':').unwrap_or((place, ""))
        };
        hosts.push(host);
        ports.push(port);
    }
    let ports = if ports.iter().all(|port| port.is_empty()) { String::new() } else { ports.join(",") };
    Ok((hosts.join(","), ports))
}

// pgjdbc

fn jdbc(text: &str) -> Parsed {
    let text = text.trim();
    let rest = text.get(..16).filter(|scheme| scheme.eq_ignore_ascii_case("jdbc:postgresql:")).map(|_| &text[16..]);
    let rest = rest.ok_or("it does not begin with jdbc:postgresql:")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut values = Values::new();
    match place.strip_prefix("//") {
        Some(authority) => {
            let (authority, database) = authority.split_once('/').unwrap_or((authority, ""));
            if authority.contains('@') {
                return Err("a login before the host is not part of a jdbc URL; use the parameters user and password");
            }
            let (hosts, ports, behind) = uri_hosts(authority)?;
            if !behind.is_empty() {
                return Err("its host cannot be read");
            }
            let ports = if ports.trim_matches(',').is_empty() { String::new() } else { ports };
            values.extend(without_empty([
                ("host", hosts),
                ("port", ports),
                ("dbname", percent_decoded(database, false)?),
            ]));
            // Without a name pgjdbc connects to localhost.
        }
        None => values.extend(without_empty([("dbname", percent_decoded(place.trim_start_matches('/'), false)?)])),
    }
    for (keyword, value) in query_of(query)? {
        match (keyword.as_str(), value.as_str()) {
            ("PGHOST", _) => store(&mut values, "host", value),
            ("PGPORT", _) => store(&mut values, "port", value),
            ("PGDBNAME", _) => store(&mut values, "dbname", value),
            ("ssl", "" | "true") => {
                values.entry("sslmode".to_owned()).or_insert_with(|| "verify-full".to_owned());
            }
            ("ApplicationName", _) => store(&mut values, "application_name", value),
            ("connectTimeout" | "loginTimeout", _) => store(&mut values, "connect_timeout", value),
            _ => store(&mut values, &keyword, value),
        }
    }
    if values.get("host").is_none_or(String::is_empty) {
        values.insert("host".to_owned(), "localhost".to_owned());
    }
    Ok(values)
}
