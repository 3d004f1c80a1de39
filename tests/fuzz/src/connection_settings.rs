//! Connection strings in every form, connection requests, service files and Service Connector's variables.

use pgentra::postgres::{ConnectionPlan, ConnectionRequest, Form, ServiceConnector, connection_string};

use crate::{SECRET, check_error, environment, select};

#[derive(Clone, Copy)]
enum Source {
    Text(Form),
    Request,
    ServiceFile,
    ServiceConnector(&'static str),
}

/// Reads the settings, and decides how a connection with them logs in.
pub fn run(data: &[u8]) {
    const SOURCES: [Source; 12] = [
        Source::Text(Form::Libpq),
        Source::Text(Form::Url),
        Source::Text(Form::UrlAuthorityFirst),
        Source::Text(Form::Dotnet),
        Source::Text(Form::Jdbc),
        Source::Request,
        Source::ServiceFile,
        Source::ServiceConnector("AZURE_POSTGRESQL_CONNECTIONSTRING"),
        Source::ServiceConnector("AZURE_POSTGRESQL_HOST"),
        Source::ServiceConnector("AZURE_POSTGRESQL_USER"),
        Source::ServiceConnector("AZURE_POSTGRESQL_SSL"),
        Source::Text(Form::LibpqWithParameters),
    ];
    let Some((source, rest)) = select(data, &SOURCES) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match source {
        Source::Text(form) => {
            let settings = connection_string::parse(text, form);
            if let Ok(settings) = &settings {
                for (keyword, value) in settings.iter() {
                    assert!(!keyword.is_empty());
                    // The name of a setting can be shown, its value cannot.
                    let is_name = settings.iter().any(|(name, _)| name == value);
                    assert!(is_name || !format!("{settings:?}").contains(&format!("{value:?}")), "a value is shown");
                }
            }
            let _ = connection_string::parse_any(text);
            plan(&ConnectionRequest { text: Some(text.into()), form, ..ConnectionRequest::default() });
        }
        Source::Request => match ConnectionRequest::from_json(text) {
            // A document can name any file of this machine.
            Ok(request) => plan(&ConnectionRequest { service_files: false, ..request }),
            Err(error) => check_error(&error),
        },
        Source::ServiceFile => {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), rest).expect("the file is written");
            let path = file.path().display().to_string();
            let variables = [("PGSERVICEFILE", path.as_str()), ("PGSERVICE", "fuzz"), ("PGSYSCONFDIR", "/nonexistent")];
            plan(&ConnectionRequest { environment: environment(&variables), ..ConnectionRequest::default() });
        }
        Source::ServiceConnector(name) => {
            let mut variables = environment(&[
                ("AZURE_POSTGRESQL_HOST", "shop.postgres.database.azure.com"),
                ("AZURE_POSTGRESQL_USER", "aad_postgresql"),
                ("AZURE_POSTGRESQL_CLIENTID", "c1"),
                ("AZURE_POSTGRESQL_CLIENTSECRET", SECRET),
                ("AZURE_POSTGRESQL_TENANTID", "t1"),
            ]);
            variables.insert(name.to_owned(), text.into());
            plan(&ConnectionRequest {
                environment: variables,
                service_connector: Some(ServiceConnector::Only),
                ..ConnectionRequest::default()
            });
        }
    }
}

fn plan(request: &ConnectionRequest) {
    for conninfo in [false, true] {
        let request = ConnectionRequest { repeat_warnings: true, conninfo, ..request.clone() };
        match ConnectionPlan::new(&request) {
            Ok(plan) => {
                let allows_plaintext = matches!(plan.sslmode.as_deref(), Some("disable" | "allow" | "prefer"));
                let is_safe = plan.server.is_local() || request.allow_insecure_transport;
                assert!(!plan.uses_entra || is_safe || !allows_plaintext, "a token without TLS: {plan:?}");
                assert!(!format!("{plan:?}").contains(SECRET), "Debug contains a secret");
                assert!(plan.warnings.iter().all(|warning| !warning.contains(SECRET)), "a warning contains a secret");
                let _ = plan.to_json();
            }
            Err(error) => check_error(&error),
        }
    }
}
