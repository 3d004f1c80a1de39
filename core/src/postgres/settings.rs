//! Connection settings by libpq's names, from any form of connection string or arguments.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroize;

use super::tls_policy::Host;

/// Connection settings by libpq's keywords (`host`, `hostaddr`, `port`, `dbname`, `user`, `password`, `sslmode`, ...),
/// with lists separated by commas. Settings that libpq does not have keep the name that they were written with.
///
/// `Debug` does not show values, and all values are cleared when dropped, because one can be a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionSettings(BTreeMap<String, String>);

impl ConnectionSettings {
    /// Creates settings from the values.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        ConnectionSettings(values)
    }

    /// Returns the value, unless it is missing or empty.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.given(keyword).filter(|value| !value.is_empty())
    }

    /// Returns the value, even if it is empty.
    pub fn given(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str)
    }

    /// Sets a value.
    pub fn set(&mut self, keyword: impl Into<String>, value: impl Into<String>) {
        if let Some(mut before) = self.0.insert(keyword.into(), value.into()) {
            before.zeroize();
        }
    }

    /// Sets a value if it is not set yet.
    pub fn set_default(&mut self, keyword: &str, value: impl Into<String>) {
        if !self.0.contains_key(keyword) {
            self.set(keyword, value);
        }
    }

    /// Removes a value and returns it.
    pub fn remove(&mut self, keyword: &str) -> Option<String> {
        self.0.remove(keyword)
    }

    /// Returns all keywords and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str()))
    }

    /// Returns whether no value is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for ConnectionSettings {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Pairs the lists `host`, `hostaddr` and `port`, as libpq does. A single port is used for all hosts.
pub(super) fn hosts(host: Option<&str>, hostaddr: Option<&str>, port: Option<&str>) -> Vec<Host> {
    let list = |text: Option<&str>| -> Vec<String> {
        let text = text.unwrap_or_default();
        if text.is_empty() { Vec::new() } else { text.split(',').map(|item| item.trim().to_owned()).collect() }
    };
    let (names, addresses, ports) = (list(host), list(hostaddr), list(port));
    let given = |item: Option<&String>| item.filter(|item| !item.is_empty()).cloned();
    (0..names.len().max(addresses.len()))
        .map(|index| Host {
            host: names.get(index).cloned().unwrap_or_default(),
            hostaddr: given(addresses.get(index)),
            port: given(if ports.len() == 1 { ports.first() } else { ports.get(index) }),
        })
        .collect()
}

/// Converts an `ssl` switch or mode in text form to libpq's `sslmode`. `no-verify` is specific to pg and stays.
pub fn sslmode_of_text(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "require" | "required" => "require",
        "false" | "0" | "off" | "no" | "disable" | "disabled" => "disable",
        "allow" => "allow",
        "prefer" | "preferred" => "prefer",
        "verify-ca" | "verifyca" | "verify_ca" => "verify-ca",
        "verify-full" | "verifyfull" | "verify_full" => "verify-full",
        "no-verify" => "no-verify",
        _ => return None,
    })
}
