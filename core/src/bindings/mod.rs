//! What the bindings of several languages share. Not part of the public API of the crate: it changes with the bindings.
//!
//! | module | contents |
//! | --- | --- |
//! | `custom_credential` | [`CustomCredential`] and the [`CustomRequest`] that the application responds to once |
//! | `credential_handle` | [`CredentialHandle`]: the document of a credential with its custom credentials |
//! | [`diagnostics`] | clocks and certificate authorities, for the command line |
//! | `environment` | [`ProcessVariables`]: the environment as the application's language sees it |
//! | `errors` | error kinds by code, the cause behind an error, errors as documents |
//! | `failed_login` | [`FailedLogin`]: the explanation of a login error; claims and connection strings as documents |
//! | `log_level` | [`LogLevel`], and [`set_log_sink`] |
//! | `token_strings` | [`TokenStringCache`]: a token as the strings of the application's language |

mod credential_handle;
mod custom_credential;
pub mod diagnostics;
mod environment;
mod errors;
mod failed_login;
mod log_level;
mod token_strings;

pub use credential_handle::CredentialHandle;
pub use custom_credential::{CustomCredential, CustomRequest, means_unavailable};
pub use environment::{ProcessVariables, config_from_json, connection_request_from_json, environment_from_json};
pub use errors::{cause, error_document, kind_of_code, new_error};
pub use failed_login::{FailedLogin, connection_settings, decode_claims};
pub use log_level::{LogEvent, LogLevel, set_log_sink};
pub use token_strings::{TokenStringCache, TokenStrings};

pub use crate::{
    cache::clear_caches,
    config::environment::KNOWN_VARIABLES,
    credential::{
        entra::error_codes::{Aadsts, Verdict, aadsts_advice},
        progress::{Waiting, wait_for},
    },
    error::{ChainRule, CustomCause},
    postgres::{connection_plan::CONNECTION_VARIABLES, connection_url::UrlSettings, settings::sslmode_of_text},
    runtime::{PerProcess, start_thread, without_fork},
    transport::server_roots,
};

/// Clouds, scopes and authority hosts.
pub mod cloud {
    pub use crate::cloud::{
        Cloud, CloudError, CloudFacts, CloudInputs, Resolved, is_azure_server, resolve, resource_of,
    };
}

/// Connections with settings from outside the application.
pub mod untrusted {
    pub use crate::postgres::untrusted::{ALLOWED_HOSTS_VARIABLE, SETTINGS, UntrustedLogin, refused, untrusted_login};
}
