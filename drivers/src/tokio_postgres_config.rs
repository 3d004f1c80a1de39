//! The settings of a connection as tokio-postgres needs them, and its TLS.

use std::{sync::Arc, time::Duration};

use pgentra::{
    ErrorKind,
    bindings::server_roots,
    config::Environment,
    postgres::{ConnectionPlan, ConnectionSettings},
};
use rustls::ClientConfig;
use tokio_postgres::{Config, Error as DriverFailure, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Error, Result};

/// A configuration without a login, and the connector for TLS.
pub(crate) struct TokioPostgresConfig {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

impl TokioPostgresConfig {
    pub(crate) fn new(plan: &ConnectionPlan, environment: &Environment) -> Result<TokioPostgresConfig> {
        let settings = &plan.settings;
        let mut config: Config = text_of(settings)
            .parse()
            .map_err(|error: DriverFailure| unusable(&Error::Driver(error.into()).to_string()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        if let Some(limit) = plan.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            config.connect_timeout(limit);
        }
        config.ssl_mode(match plan.sslmode.as_deref().or_else(|| settings.get("sslmode")) {
            Some("disable") => SslMode::Disable,
            None | Some("allow" | "prefer") => SslMode::Prefer,
            Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(_) => return Err(unusable("sslmode has an unknown value")),
        });
        let roots = server_roots(environment, settings.get("sslrootcert"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| pgentra::Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TokioPostgresConfig { config, tls: MakeRustlsConnect::new(tls) })
    }
}

/// Returns the settings that tokio-postgres reads, as a key=value string. It refuses those that it does not have.
fn text_of(settings: &ConnectionSettings) -> String {
    let ours = ["sslmode", "sslrootcert", "connect_timeout", "timeout"];
    let settings = settings.iter().filter(|(keyword, value)| !ours.contains(keyword) && !value.is_empty());
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    settings.map(|(keyword, value)| format!("{keyword}='{}' ", quoted(value))).collect()
}

fn unusable(why: &str) -> Error {
    let message = format!("tokio-postgres cannot use the connection's settings: {why}");
    pgentra::Error::new(ErrorKind::InvalidConnection, message).into()
}

#[cfg(test)]
mod tests {
    use pgentra::postgres::ConnectionRequest;

    use super::*;

    fn settings(text: &str) -> Result<TokioPostgresConfig> {
        let request =
            ConnectionRequest { text: Some(text.into()), complete_settings: true, ..ConnectionRequest::default() };
        TokioPostgresConfig::new(&ConnectionPlan::new(&request)?, &Environment::new())
    }

    #[test]
    fn settings_of_a_connection_become_a_configuration() {
        let made = settings(
            "host=a.example,b.example hostaddr=10.0.0.1,10.0.0.2 port=1,2 dbname='a \\'b\\\\' options='-c geqo=off' \
             connect_timeout=9 keepalives_idle=4 sslmode=verify-ca target_session_attrs=read-write",
        );
        let config = made.unwrap().config;
        assert_eq!((config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports()), (2, 2, &[1, 2][..]));
        assert_eq!((config.get_dbname(), config.get_options()), (Some("a 'b\\"), Some("-c geqo=off")));
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(9)));
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!((config.get_user(), config.get_password()), (None, None));
    }

    #[test]
    fn settings_decide_on_the_mode_of_tls() {
        for (text, mode) in [
            ("host=a.example", SslMode::Require),
            ("host=a.example sslmode=prefer", SslMode::Require),
            ("host=a.example user=a password=b", SslMode::Prefer),
            ("", SslMode::Prefer),
            ("sslmode=allow", SslMode::Prefer),
            ("host=::1 sslmode=disable", SslMode::Disable),
        ] {
            assert_eq!(settings(text).unwrap().config.get_ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn settings_that_the_driver_does_not_have_are_refused() {
        for text in ["host=a.example sslcert=x", "host=a.example sslmode=other", "host=a.example sslrootcert=/no/such"]
        {
            let Err(error) = settings(text) else { panic!("{text}") };
            assert_eq!(error.entra().map(pgentra::Error::kind), Some(ErrorKind::InvalidConnection), "{text}: {error}");
        }
    }
}
