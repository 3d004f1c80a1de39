//! The options of a configuration document: their names, types, defaults and checks.
//!
//! Every binding passes this document: C, .NET and the command line as JSON, Python and Node built from their classes. An
//! error contains the key, the expected type and the *type* of the value, never the value itself.

mod credential;
pub(crate) mod environment;
pub(crate) mod inputs;
mod reader;

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, Visitor},
};
use serde_json::Value;

pub(crate) use self::credential::with_credential_kinds;
pub use self::credential::*;
pub(crate) use self::environment::variable;
pub use self::environment::{Environment, environment_of_process};
pub(crate) use self::inputs::{BuildInputs, Input};
pub(crate) use self::reader::read;
use crate::error::{Error, ErrorKind, Result};

/// The configuration document of a provider.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The credential. Default: the default chain.
    pub credential: CredentialConfig,
    /// The scope of the token. Default: the scope of the cloud.
    pub scope: Option<String>,
    /// The server's host name. It determines the cloud if neither `scope` nor the credential does.
    pub host: Option<String>,
    /// The role to log in as. Default: `PGUSER`, then the token's claims.
    pub user: Option<String>,
    /// The role to log in as if the token contains no role name.
    pub fallback_username: Option<String>,
    /// Whether the role name may be looked up with a management token. Default: true.
    pub management_lookup: bool,
    /// Whether the token's `appid` is the last source of the role name (for the Sequelize hook). Default: false.
    pub appid_as_username: bool,
    /// The refresh mode. Default: `background`, or `lazy` if `AWS_LAMBDA_FUNCTION_NAME` is set.
    pub mode: Option<RefreshMode>,
    /// Whether tokens are cached. Default: true. If false, each connection fetches a token from the credential.
    pub cache: bool,
    /// A PEM file of certificate authorities to trust in addition to the system's.
    pub ca_file: Option<String>,
    /// The longest wait of a caller, in seconds. Default: 30.
    #[serde(deserialize_with = "seconds")]
    pub timeout: f64,
    /// The environment variables of the application.
    pub environment: Environment,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            credential: CredentialConfig::default(),
            scope: None,
            host: None,
            user: None,
            fallback_username: None,
            management_lookup: true,
            appid_as_username: false,
            mode: None,
            cache: true,
            ca_file: None,
            timeout: 30.0,
            environment: Environment::new(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("credential", &self.credential)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a JSON document.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`], naming the key.
    pub fn from_json(text: &str) -> Result<Config> {
        let value = serde_json::from_str(text).map_err(|e| {
            Error::new(
                ErrorKind::InvalidConfiguration,
                format!("the configuration is not JSON (line {}, column {})", e.line(), e.column()),
            )
        })?;
        Config::from_value(value)
    }

    /// Reads a document that is already parsed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`], naming the key.
    pub fn from_value(value: Value) -> Result<Config> {
        let config: Config = read(value)?;
        for (key, value) in
            [("scope", &config.scope), ("user", &config.user), ("fallback_username", &config.fallback_username)]
        {
            refuse_empty(key, value.as_deref())?;
        }
        config.credential.validate("credential")?;
        Ok(config)
    }

    /// Returns the value of an environment variable, unless it is unset or empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        variable(&self.environment, name)
    }

    /// Returns the refresh mode, with the default applied.
    pub fn effective_mode(&self) -> RefreshMode {
        self.mode.unwrap_or_else(|| usual_mode(&self.environment))
    }
}

/// When a provider refreshes its token. Providers with different modes can share one cached token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RefreshMode {
    /// A call after the refresh point starts a refresh in the background. The default.
    #[default]
    Background,
    /// A call after the refresh point waits for a new token. There is no background work. For serverless functions, which
    /// are frozen between calls.
    Lazy,
    /// As `Background`, and in addition a timer refreshes the token without calls.
    Ahead,
}

/// Returns the default of the option `mode`.
pub(crate) fn usual_mode(environment: &Environment) -> RefreshMode {
    match variable(environment, "AWS_LAMBDA_FUNCTION_NAME") {
        Some(_) => RefreshMode::Lazy,
        None => RefreshMode::Background,
    }
}

/// Returns the JSON Schema of [`Config`], which is checked in as `docs/config.schema.json`.
#[cfg(feature = "schema")]
pub fn json_schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// A number of seconds that fits into a `Duration`. It is checked while it is read, so that the error contains the key.
struct Seconds(f64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds, 0 or more")
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Seconds, E> {
                match (0.0..=3.2e9).contains(&value) {
                    true => Ok(Seconds(value)),
                    false => Err(E::invalid_value(de::Unexpected::Float(value), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Seconds, E> {
                self.visit_f64(value as f64)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Seconds, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_f64(Number)
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Seconds::deserialize(deserializer).map(|seconds| seconds.0)
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
}

/// Converts the value of an option in seconds.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(30))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn refused(key: &str, expected: &str, found: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("option `{key}`: expected {expected}, got {found}"))
}

fn contradiction(path: &str, one: &str, other: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConfiguration,
        format!("option `{}`: expected either it or {other}, got both", join(path, one)),
    )
}

fn refuse_empty(key: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(text) if text.trim().is_empty() => Err(refused(key, "a text that is not empty", "an empty string")),
        Some(text) if text.contains('\0') => Err(refused(key, "a text without NUL", "a string with NUL")),
        _ => Ok(()),
    }
}
