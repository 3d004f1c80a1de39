//! Connection URLs with a token as the password, for tools that take only a URL.

use std::collections::BTreeMap;

use crate::{
    config::{Environment, variable},
    error::{Error, ErrorKind, Result},
    percent_encoding::encode,
    secret::Secret,
};

/// Settings with a variable of libpq that counts if they are not given.
const VARIABLES: [(&str, &str); 3] = [("dbname", "PGDATABASE"), ("host", "PGHOST"), ("port", "PGPORT")];

/// The settings of a URL, by libpq's keywords. They contain no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlSettings(BTreeMap<String, String>);

impl UrlSettings {
    /// Completes the given settings from the environment: server and database from `PGHOST`, `PGPORT` and
    /// `PGDATABASE`, and `sslmode=verify-full`. Call it before the token is fetched. A `user` is left out, because
    /// [`write`](Self::write) takes it. Empty values count as not given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConnection`] for a password, a service or another `sslmode`, and if there is no host.
    pub fn new(given: BTreeMap<String, String>, environment: &Environment) -> Result<UrlSettings> {
        let mut settings: BTreeMap<String, String> =
            given.into_iter().filter(|(keyword, value)| keyword != "user" && !value.is_empty()).collect();
        if let Some(keyword) = ["passfile", "password", "service", "servicefile"]
            .into_iter()
            .find(|keyword| settings.contains_key(*keyword))
        {
            return Err(refused(format!(
                "{keyword}: the URL contains the token as its password, and all settings of the connection"
            )));
        }
        let sslmode = settings.entry("sslmode".to_owned()).or_insert_with(|| "verify-full".to_owned());
        if sslmode != "verify-full" {
            return Err(refused("sslmode: the URL has verify-full, because it contains a token".to_owned()));
        }
        for (keyword, name) in VARIABLES {
            if let (false, Some(value)) = (settings.contains_key(keyword), variable(environment, name)) {
                settings.insert(keyword.to_owned(), value.to_owned());
            }
        }
        if !settings.contains_key("host") {
            return Err(refused("host: the URL needs the server's name: pass it as host, or set PGHOST".to_owned()));
        }
        Ok(UrlSettings(settings))
    }

    /// Returns the URL, which is a secret. Every part is percent-encoded, as libpq reads it: a blank is `%20`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConnection`] for a scheme that is not `postgresql` or `postgres`, which `+driver` may follow.
    pub fn write(&self, scheme: &str, user: &str, password: &Secret) -> Result<Secret> {
        let (kind, driver) = scheme.split_once('+').unwrap_or((scheme, "x"));
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !matches!(kind, "postgresql" | "postgres") || !is_name(driver) {
            return Err(refused("scheme: expected postgresql, or postgresql+ and the name of a driver".to_owned()));
        }
        let value = |keyword: &str| self.0.get(keyword).map_or("", String::as_str);
        let (hosts, port) = (value("host"), value("port"));
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        let mut servers = String::new();
        if hosts.starts_with(['/', '@']) {
            parameters.push(("host", hosts));
            parameters.extend((!port.is_empty()).then_some(("port", port)));
        } else {
            let ports: Vec<&str> = port.split(',').collect();
            let each = hosts.split(',').enumerate().map(|(index, host)| {
                let port = ports.get(index).or(ports.first()).map_or("", |port| port);
                let name = if host.contains(':') { format!("[{}]", encode(host, ":")) } else { encode(host, "") };
                if port.is_empty() { name } else { format!("{name}:{}", encode(port, "")) }
            });
            servers = each.collect::<Vec<_>>().join(",");
        }
        let others = self.0.iter().filter(|(keyword, _)| !matches!(keyword.as_str(), "host" | "port" | "dbname"));
        parameters.extend(others.map(|(keyword, value)| (keyword.as_str(), value.as_str())));
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|(keyword, value)| format!("{}={}", encode(keyword, ""), encode(value, "")))
            .collect();
        // Of the right size at once, because a buffer that grows leaves a copy of the secret in memory.
        let before = format!("{scheme}://{}:", encode(user, ""));
        let behind =
            format!("@{servers}/{}?{}", encode(value("dbname"), ""), parameters.join("&"));
        let password = Secret::new(encode(password.expose(), ""));
        let mut url = String::with_capacity(before.len() + password.expose().len() + behind.len());
        url.push_str(&before);
        url.push_str(password.expose());
        url.push_str(&behind);
        Ok(Secret::new(url))
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidConnection, message)
}
