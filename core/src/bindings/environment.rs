//! The environment as the application's language sees it. Native code does not see variables that Python, Node, .NET or
//! Java have changed in the process.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{self, Config, Environment, environment::KNOWN_VARIABLES},
    error::{Error, ErrorKind, Result},
    postgres::{self, ConnectionRequest, connection_plan::CONNECTION_VARIABLES, connection_url::UrlSettings},
    secret::Secret,
};

/// The variables that the engine uses, as they were at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct ProcessVariables {
    known: Environment,
    of_connections: Environment,
}

impl ProcessVariables {
    /// Reads the variables. `lookup` returns `None` for a variable that is not set, or whose value is not text.
    ///
    /// # Errors
    /// The first error of `lookup`.
    pub fn read<E>(mut lookup: impl FnMut(&str) -> Result<Option<String>, E>) -> Result<Self, E> {
        let mut read = |names: &[&str]| {
            let mut variables = Environment::new();
            for name in names {
                if let Some(value) = lookup(name)? {
                    variables.insert((*name).to_owned(), value.into());
                }
            }
            Ok(variables)
        };
        Ok(ProcessVariables { known: read(KNOWN_VARIABLES)?, of_connections: read(CONNECTION_VARIABLES)? })
    }

    /// Returns the names of the variables that are set. Their values can be secrets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Returns the variables for a provider or a credential.
    pub fn known(&self) -> &Environment {
        &self.known
    }

    /// Returns the variables for a connection request without Service Connector.
    pub fn of_connections(&self) -> &Environment {
        &self.of_connections
    }

    /// Returns the same variables with some of a credential's own, such as its proxies.
    #[must_use]
    pub fn overlaid(&self, variables: BTreeMap<String, String>) -> ProcessVariables {
        let mut overlaid = self.clone();
        overlaid.known.extend(variables.into_iter().map(|(name, value)| (name, value.into())));
        overlaid
    }
}

/// Reads a JSON object of variables.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`]. It shows no value.
pub fn environment_from_json(text: &str) -> Result<Environment> {
    serde_json::from_str(text).map_err(|_| {
        Error::new(ErrorKind::InvalidConfiguration, "the environment is not a JSON object of texts")
            .with_advice("Pass an object such as {\"NAME\": \"value\"}.")
    })
}

/// Reads a configuration document. Without the key `environment`, it gets the variables of this process.
///
/// # Errors
/// Those of [`Config::from_json`].
pub fn config_from_json(text: &str) -> Result<Config> {
    let mut config = Config::from_json(text)?;
    if !has_environment(text) {
        config.environment = config::environment_of_process();
    }
    Ok(config)
}

/// Reads a connection request. Without the key `environment`, it gets the variables of this process.
///
/// # Errors
/// Those of [`ConnectionRequest::from_json`].
pub fn connection_request_from_json(text: &str) -> Result<ConnectionRequest> {
    let mut request = ConnectionRequest::from_json(text)?;
    if !has_environment(text) {
        request.environment = postgres::environment_of_process();
    }
    Ok(request)
}

/// Returns a connection URL with a token as the password. The request is an object with the keys `settings` (by libpq's
/// keywords), `scheme` (default: `postgresql`), `user`, and `environment` (default: the variables of this process).
/// Without a password, the settings are only checked, which needs no token, and the result is `None`.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] for another request, which is not shown, and those of [`UrlSettings`].
pub fn connection_url_from_json(text: &str, password: Option<&str>) -> Result<Option<Secret>> {
    let refused = |message: &str| Error::new(ErrorKind::InvalidConfiguration, message);
    let request: UrlRequest = serde_json::from_str(text).map_err(|_| {
        refused("the request is not a JSON object with the keys settings, scheme, user and environment")
    })?;
    let environment = request.environment.unwrap_or_else(postgres::environment_of_process);
    let settings = UrlSettings::new(request.settings, &environment)?;
    let Some(password) = password else { return Ok(None) };
    let user = request.user.ok_or_else(|| refused("key `user`: required with a password"))?;
    let scheme = request.scheme.as_deref().unwrap_or("postgresql");
    settings.write(scheme, &user, &Secret::new(password)).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlRequest {
    #[serde(default)]
    settings: BTreeMap<String, String>,
    scheme: Option<String>,
    user: Option<String>,
    environment: Option<Environment>,
}

fn has_environment(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|document| document.get("environment").is_some())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn process_variables_are_those_that_the_engine_uses() {
        let lookup = |name: &str| Ok::<_, Infallible>(matches!(name, "PGUSER" | "HOME").then(|| "v".to_owned()));
        let Ok(read) = ProcessVariables::read(lookup);
        assert_eq!(read.names().collect::<Vec<_>>(), ["HOME", "PGUSER"]);
        assert_eq!(read.of_connections().len(), 2);
        let overlaid = read.overlaid([("HTTPS_PROXY".to_owned(), "p".to_owned())].into());
        assert_eq!(overlaid.names().collect::<Vec<_>>(), ["HOME", "HTTPS_PROXY", "PGUSER"]);
        assert!(overlaid != read && overlaid.of_connections() == read.of_connections());
        assert_eq!(ProcessVariables::read(|_| Err("unreadable")).err(), Some("unreadable"));
    }

    #[test]
    fn config_without_environment_gets_that_of_the_process() {
        let path = |config: &Config| config.variable("PATH").is_some();
        assert!(path(&config_from_json("{}").expect("reads")));
        assert!(!path(&config_from_json(r#"{"environment": {}}"#).expect("reads")));
        assert!(connection_request_from_json("{}").expect("reads").environment.contains_key("PATH"));
        assert!(connection_request_from_json(r#"{"environment": {}}"#).expect("reads").environment.is_empty());
        assert_eq!(config_from_json("[").map(drop).expect_err("fails").kind(), ErrorKind::InvalidConfiguration);
        let request = r#"{"settings": {"dbname": "d"}, "environment": {"PGHOST": "h"}, "user": "u"}"#;
        let url = connection_url_from_json(request, Some("t")).expect("a URL").expect("a URL");
        assert_eq!(url.expose(), "postgresql://u:t@h/d?sslmode=verify-full");
        assert_eq!(connection_url_from_json(request, None).expect("checked"), None);
        for (request, kind) in [
            ("[]", ErrorKind::InvalidConfiguration),
            (r#"{"password": "canary"}"#, ErrorKind::InvalidConfiguration),
            (r#"{"settings": {"host": 1}}"#, ErrorKind::InvalidConfiguration),
            (r#"{"settings": {"host": "h"}}"#, ErrorKind::InvalidConfiguration),
            (r#"{"environment": {}, "user": "u"}"#, ErrorKind::InvalidConnection),
        ] {
            let error = connection_url_from_json(request, Some("canary")).expect_err("fails");
            assert_eq!(error.kind(), kind, "{request}");
            assert!(!error.to_string().contains("canary"));
        }
        let error = environment_from_json(r#"{"A": 1, "B": "canary"}"#).expect_err("fails");
        assert!(!format!("{error}").contains("canary"));
    }
}
