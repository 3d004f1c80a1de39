//! The one description of every option: what the document may hold, its defaults and what is refused.
//!
//! Every binding hands this document over: C, .NET and the command line as JSON, Python and Node built from their
//! classes. What is refused is named by its key, with what was expected and what *type* came, never the value.

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

/// Everything a provider is built from.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the token comes from. Default: the default chain.
    pub credential: CredentialConfig,
    /// The scope to ask for. Default: the one of the cloud (see `cloud.rs`).
    pub scope: Option<String>,
    /// The server's host name; tells the cloud where neither `scope` nor the credential does.
    pub host: Option<String>,
    /// The role to log in as. Default: `PGUSER`, then the token's claims.
    pub user: Option<String>,
    /// The role to log in as where the token names none.
    pub fallback_username: Option<String>,
    /// Whether a management token may be asked for the role name. Default: true.
    pub management_lookup: bool,
    /// Whether the token's `appid` is the role where nothing else names one (the Sequelize hook). Default: false.
    pub appid_as_username: bool,
    /// When tokens are refreshed. Default: `background`; `lazy` where `AWS_LAMBDA_FUNCTION_NAME` is set.
    pub mode: Option<RefreshMode>,
    /// Whether tokens are cached. Default: true; false asks the credential at every connection.
    pub cache: bool,
    /// A PEM file of certificate authorities to trust besides the system's.
    pub ca_file: Option<String>,
    /// The longest a caller waits, in seconds. Default: 30.
    #[serde(deserialize_with = "seconds")]
    pub timeout: f64,
    /// The host's environment variables.
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
    /// Reads the JSON document.
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

    /// Reads the document as a value.
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

    /// The environment variable, unless it is unset or empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        variable(&self.environment, name)
    }

    /// When tokens are refreshed, with the default worked out.
    pub fn effective_mode(&self) -> RefreshMode {
        self.mode.unwrap_or_else(|| usual_mode(&self.environment))
    }
}

/// When a provider may refresh. Providers of different modes can share one cached token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RefreshMode {
    /// Refreshes beside the caller who asks after the refresh point. The default.
    #[default]
    Background,
    /// Never refreshes while nobody asks and never beside the caller, who fetches instead. For functions and lambdas,
    /// which are frozen between calls.
    Lazy,
    /// As `Background`, and on a timer while nobody asks.
    Ahead,
}

/// When tokens are refreshed where nothing is said of it.
pub(crate) fn usual_mode(environment: &Environment) -> RefreshMode {
    match variable(environment, "AWS_LAMBDA_FUNCTION_NAME") {
        Some(_) => RefreshMode::Lazy,
        None => RefreshMode::Background,
    }
}

/// The JSON Schema of [`Config`], checked in as `docs/config.schema.json`.
#[cfg(feature = "schema")]
pub fn json_schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// A number of seconds that a `Duration` can hold; refused inside its visitor, where the key is known.
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

/// A duration of an option in seconds.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(30))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn refused(key: &str, expected: &str, came: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("option `{key}`: expected {expected}, got {came}"))
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
