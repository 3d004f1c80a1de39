//! Login errors, claims and connection strings as the modules of drivers need them.

use serde_json::{Map, Value};

use crate::{
    config::Environment,
    error::{Error, ErrorKind, Result},
    postgres::{
        Form, connection_string,
        login_error::{self, LoginError},
        role_name,
    },
};

/// A connection that failed, as a driver reports it.
#[derive(Clone, Copy, Default)]
pub struct FailedLogin<'a> {
    /// The SQLSTATE, if the driver provides one.
    pub sqlstate: Option<&'a str>,
    /// The server's message.
    pub message: &'a str,
    /// The role that was used.
    pub role: &'a str,
    /// The `user_source` of the login or of the plan. Default: `user`.
    pub role_source: Option<&'a str>,
    /// The token that was used.
    pub token: Option<&'a str>,
    /// The names of the servers, separated by commas, if Service Connector's variables were not used.
    pub unused_host: Option<&'a str>,
}

impl FailedLogin<'_> {
    /// Returns the cause, and whether one retry with a newer token can succeed.
    pub fn classify(&self) -> LoginError {
        login_error::classify(self.sqlstate, self.message)
    }

    /// Returns the lines to add to the server's message; empty if the failure is not a login error. `environment` is
    /// called only if [`unused_host`](Self::unused_host) is set, and returns all variables of the process.
    ///
    /// # Errors
    /// Those of `environment`.
    pub fn explain<E>(&self, environment: impl FnOnce() -> Result<Environment, E>) -> Result<String, E> {
        let unused = self.unused_host.map(|host| Ok((host, environment()?))).transpose()?;
        let unused = unused.as_ref().map(|(host, environment)| (*host, environment));
        let source = self.role_source.unwrap_or("user");
        Ok(login_error::explain_login(self.sqlstate, self.message, self.role, source, self.token, unused))
    }
}

/// Returns all claims of a token, which are not verified.
///
/// # Errors
/// [`ErrorKind::TokenDecode`].
pub fn decode_claims(token: &str) -> Result<Map<String, Value>> {
    role_name::decode_jwt(token).map_err(|error| Error::new(ErrorKind::TokenDecode, error.to_string()))
}

/// Returns the settings of a connection string by libpq's keywords. `form` is the name of a [`Form`]; default: `libpq`.
///
/// # Errors
/// [`ErrorKind::InvalidConnection`] if the text is not of this form, [`ErrorKind::InvalidConfiguration`] if there is no
/// such form.
pub fn connection_settings(text: &str, form: Option<&str>) -> Result<Map<String, Value>> {
    let form: Form = form.map_or(Ok(Form::default()), |form| serde_json::from_value(form.into())).map_err(|_| {
        let expected = "option `form`: expected one of libpq, libpq_with_parameters, url, url_authority_first, dotnet, \
                        jdbc, got another text";
        Error::new(ErrorKind::InvalidConfiguration, expected)
    })?;
    let settings = connection_string::parse(text, form)?;
    Ok(settings.iter().map(|(keyword, value)| (keyword.to_owned(), Value::from(value))).collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn failed_login_without_a_host_reads_no_environment() {
        let login = FailedLogin {
            sqlstate: Some("28P01"),
            message: "password authentication failed for user \"app\"",
            role: "app",
            ..FailedLogin::default()
        };
        let text = login.explain::<Infallible>(|| panic!("the environment was read"));
        let Ok(text) = text;
        assert!(text.starts_with("Role tried: 'app' (from the user given to the connection)."), "{text}");
        assert!(login.classify().retry);
        let failed = FailedLogin { unused_host: Some("h"), ..login }.explain(|| Err("unreadable"));
        assert_eq!(failed, Err("unreadable"));
    }

    #[test]
    fn connection_settings_of_an_unknown_form_name_the_forms() {
        let error = connection_settings("host=h", Some("odbc")).expect_err("fails");
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
        assert_eq!(connection_settings("host=h", None).expect("settings")["host"], "h");
    }
}
