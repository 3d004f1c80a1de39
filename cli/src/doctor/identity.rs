//! The checks that need no server: environment, credential, token, role.

use std::{sync::Arc, time::Instant};

use pgentra::{
    Config, Error, ErrorKind, Login, Token,
    bindings::cloud::{is_azure_server, resource_of},
    config::Environment,
    postgres::role_name::{MAX_ROLE_BYTES, Principal, PrincipalKind},
};

use super::report::{Check, Status};
use crate::{
    connection::{self, Connection, port_of},
    failure::Failure,
    options::CredentialOptions,
    text::{describe_life, describe_role_source, grouped},
};

/// The members of the default chain.
const MEMBERS: [&str; 6] = [
    "EnvironmentCredential",
    "WorkloadIdentityCredential",
    "ManagedIdentityCredential",
    "AzureCliCredential",
    "AzurePowerShellCredential",
    "AzureDeveloperCliCredential",
];

/// What the advice of a chain's error says about this command.
const CHECKED_HERE: &str = "; pgentra doctor checks each step";

/// The application id of PostgreSQL's resource, which tokens of version 2.0 have in place of its address.
const RESOURCE_ID: &str = "123cd850-d9df-40bd-94d5-c9f07b7fa203";

/// No terminal accepts a longer line.
const TERMINAL_LINE: usize = 4095;
/// No server accepts a longer password.
const LONGEST_PASSWORD: usize = 65_530;
/// PgBouncer of Azure listens here. Its older versions accept no longer passwords.
const POOLER: (u16, usize) = (6432, 2000);

/// Checks variables that contradict each other, and names the cloud.
pub fn environment(connection: &Connection, options: &CredentialOptions) -> Check {
    let variable = |name: &str| std::env::var(name).ok();
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let host = connection.plan.host.as_deref().unwrap_or_default();
    let decided = if options.scope.is_some() {
        "from --scope"
    } else if host.split(',').any(is_azure_server) {
        "from the host name"
    } else if options.cloud.is_some() {
        "from --cloud"
    } else if is_set("AZURE_AUTHORITY_HOST") {
        "from AZURE_AUTHORITY_HOST"
    } else {
        "by default"
    };
    let summary = format!("pgentra {}, {}, {decided}", env!("CARGO_PKG_VERSION"), connection.cloud());
    let mut check = Check::ok("environment", summary);
    if let Some(warning) = connection.cloud_warning() {
        check.warn(warning, "Correct the setting that does not belong to the server's cloud.");
    }
    for name in ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"] {
        if variable(name).is_some_and(|value| value.trim().is_empty()) {
            check.warn(format!("{name} is set and empty."), format!("Unset {name}, or give it a value."));
        }
    }
    if is_set("PGPASSWORD") {
        check.warn(
            "PGPASSWORD is set. pgentra does not use it, but other programs send it to every server.",
            "Unset PGPASSWORD.",
        );
    }
    if is_set("AZURE_CLIENT_SECRET") && is_set("AZURE_CLIENT_CERTIFICATE_PATH") {
        check.warn(
            "AZURE_CLIENT_SECRET and AZURE_CLIENT_CERTIFICATE_PATH are both set; the secret is used.",
            "Unset the one that is not needed.",
        );
    }
    if is_set("IDENTITY_ENDPOINT") && !is_set("IDENTITY_HEADER") && !is_set("IMDS_ENDPOINT") {
        check.warn(
            "IDENTITY_ENDPOINT is set without IDENTITY_HEADER, so it is not used.",
            "Pass both to the process, as App Service sets them.",
        );
    }
    if let Some(path) = variable("AZURE_FEDERATED_TOKEN_FILE").filter(|path| !path.is_empty())
        && !std::path::Path::new(&path).is_file()
    {
        check.warn(
            format!("AZURE_FEDERATED_TOKEN_FILE names {path}, which is not a file."),
            "Check the pod's label azure.workload.identity/use and its service account.",
        );
    }
    if let Some(selection) = variable("AZURE_TOKEN_CREDENTIALS").filter(|value| !value.trim().is_empty()) {
        check = check.found(format!("AZURE_TOKEN_CREDENTIALS restricts the default chain to {}.", selection.trim()));
    }
    check
}

/// Requests a token; with `all`, also from each member of the default chain, with this configuration.
pub async fn credential(connection: &Connection, all: Option<&Config>) -> (Check, Result<Arc<Token>, Failure>) {
    let started = Instant::now();
    let token = connection.provider.get().await;
    let elapsed = started.elapsed().as_millis();
    let source = connection.provider.credential().token_source();
    let mut check = match &token {
        Ok(_) => {
            let earlier: Vec<String> = source
                .unavailable
                .iter()
                .map(|error| format!("{} ({})", error.credential().unwrap_or_default(), reason(error)))
                .collect();
            let before =
                if earlier.is_empty() { String::new() } else { format!("; before it: {}", earlier.join(", ")) };
            let path = source.to_string();
            let selected = path.strip_prefix("DefaultAzureCredential > ").unwrap_or(&path);
            Check::ok("credential", format!("{selected} in {elapsed} ms{before}"))
        }
        Err(error) => {
            let attempts = error.attempts().iter();
            let lines = attempts.map(|attempt| format!("- {}", described(attempt).replace('\n', " ")));
            let check = Check::fail("credential", format!("{}: {}", error.code(), error.headline()));
            let check = lines.fold(check, Check::found);
            check.do_this(error.advice().replace(CHECKED_HERE, ""))
        }
    };
    if let Some(config) = all {
        for name in MEMBERS {
            check = check.found(format!("{name}: {}", alone(config, name).await));
        }
    }
    (check, token.map_err(Failure::from))
}

/// Requests a token from one member of the default chain.
async fn alone(config: &Config, name: &str) -> String {
    let mut environment: Environment = pgentra::config::environment_of_process();
    environment.insert("AZURE_TOKEN_CREDENTIALS".to_owned(), name.into());
    let config = Config { mode: None, ..config.clone() };
    let provider = match pgentra::TokenProvider::builder().config(config).environment(environment).build() {
        Ok(provider) => provider,
        Err(error) => return error.headline(),
    };
    let started = Instant::now();
    match provider.get().await {
        Ok(_) => format!("a token in {} ms", started.elapsed().as_millis()),
        Err(error) => match error.attempts().first() {
            Some(attempt) => reason(attempt),
            None => reason(&error),
        },
    }
}

/// Returns the first line of an error without the credential.
fn reason(error: &pgentra::Error) -> String {
    let line = error.headline();
    let prefix = error.credential().map(|name| format!("{name}: ")).unwrap_or_default();
    line.strip_prefix(&prefix).unwrap_or(&line).to_owned()
}

/// Returns an error's text without the reference to this command.
fn described(error: &Error) -> String {
    let headline = error.headline();
    let own = format!("{}. {}", headline.trim_end_matches(['.', ' ']), error.advice());
    error.attempts().iter().fold(own, |text, attempt| format!("{text} - {}", described(attempt)))
}

/// Checks the token's claims, life and length.
pub fn token(connection: &Connection, token: &Token) -> Check {
    let left = connection::life_left(token.expires_on());
    let length = token.secret().len();
    let claims = match token.claims() {
        Ok(claims) => claims,
        Err(error) => {
            return Check::fail("token", error.to_string())
                .do_this("Check the token that the credential returns; a server cannot read it either.");
        }
    };
    let resource = resource_of(&connection.scope);
    let audience = claims.audience().unwrap_or_default();
    let is_for_server = audience.trim_end_matches('/').eq_ignore_ascii_case(resource.trim_end_matches('/'))
        || audience.eq_ignore_ascii_case(RESOURCE_ID)
        || resource.trim_start_matches("api://").eq_ignore_ascii_case(audience);
    let is_usual = connection.scope == connection.cloud().facts().scope;
    let target = if is_usual { "PostgreSQL" } else { resource };
    let summary = format!("for {target}, {}, {} characters", describe_life(left), grouped(length));
    let mut check = if !is_for_server {
        let audience = if audience.is_empty() { "no resource" } else { audience };
        Check::fail("token", format!("it is for {audience}, and the server expects {resource}"))
            .do_this("Omit --scope, or pass the scope of the server's cloud; check --cloud and AZURE_AUTHORITY_HOST.")
    } else if length > LONGEST_PASSWORD {
        Check::fail("token", format!("{} characters; a server accepts {}", grouped(length), grouped(LONGEST_PASSWORD)))
            .do_this("Remove group claims or optional claims from the application's tokens.")
    } else if left <= 0 {
        Check::fail("token", describe_life(left)).do_this("Check this machine's clock, and the credential's own cache.")
    } else {
        Check::ok("token", summary)
    };
    let principal = claims.principal();
    check = check.found(principal.to_string());
    if principal.oid.is_none() || principal.tid.is_none() {
        check.warn("The token has no object id or no tenant id.", "Use a credential of the server's tenant.");
    }
    if length > TERMINAL_LINE {
        check.warn(
            format!("With {} characters the token cannot be pasted into a terminal.", grouped(length)),
            "Use pgentra exec or pgentra psql.",
        );
    }
    let uses_pooler =
        connection.plan.server.hosts().iter().any(|host| port_of(host).is_ok_and(|port| port == POOLER.0));
    if uses_pooler && length > POOLER.1 {
        check.warn(
            format!(
                "Port {} is a pooler's. Older versions of PgBouncer do not accept {} characters.",
                POOLER.0,
                grouped(length)
            ),
            "Connect to port 5432, or use a PgBouncer that accepts long passwords.",
        );
    }
    check
}

/// Checks the role name.
pub async fn role(connection: &Connection) -> (Check, Option<Arc<Login>>) {
    let login = match connection.provider.login().await {
        Ok(login) => login,
        Err(error) => {
            let check = Check::fail("role", error.headline()).do_this(error.advice());
            let check = match error.kind() {
                ErrorKind::UsernameExtraction | ErrorKind::ScopePermission => {
                    check.do_this("Applications, groups and guests: pass the role's name with --user or PGUSER.")
                }
                _ => check,
            };
            return (check, None);
        }
    };
    let source = connection.user_source(&login);
    let mut check = Check::ok("role", format!("\"{}\", {}", login.user(), describe_role_source(source)));
    if login.user().len() > MAX_ROLE_BYTES {
        check.warn(
            format!(
                "The name has {} bytes, and PostgreSQL truncates names after {MAX_ROLE_BYTES}.",
                login.user().len()
            ),
            "Create the role with a shorter name, and pass that with --user.",
        );
    }
    let is_guest = |principal: &Principal| principal.kind == PrincipalKind::Guest;
    let principal = login.token().claims().ok().map(|claims| claims.principal());
    if principal.as_ref().is_some_and(is_guest) && !matches!(source, "user" | "PGUSER") {
        check.warn(
            "The identity is a guest, whose role is usually named name_home.com#EXT#@tenant.onmicrosoft.com.",
            "Pass the role's name with --user if the login fails.",
        );
    }
    if check.status == Status::Ok && login.user().chars().any(char::is_uppercase) {
        check = check.found("The name is case-sensitive on the server.");
    }
    (check, Some(login))
}

/// Compares this machine's clock with the token service's and the server's. Both are in seconds that this clock is ahead.
pub fn clock(token: Option<&Token>, server: Option<i64>) -> Check {
    let mut measured: Vec<(&str, i64)> = Vec::new();
    measured.extend(pgentra::bindings::diagnostics::clock_skew().map(|skew| ("the token service", skew)));
    measured.extend(server.map(|skew| ("the server", skew)));
    // A token that is not valid yet shows a clock that is behind.
    let issued =
        token.and_then(|token| token.claims().ok()).and_then(|claims| claims.not_before().or(claims.issued_at()));
    measured.extend(
        issued.map(connection::life_left).filter(|ahead| *ahead > 5).map(|ahead| ("the token's issuer", -ahead)),
    );
    let Some((_, worst)) = measured.iter().max_by_key(|(_, skew)| skew.abs()) else {
        return Check::skip("clock", "no other clock was seen");
    };
    let describe = |(name, skew): &(&str, i64)| match skew {
        -1..=1 => format!("as {name}'s"),
        skew if *skew > 0 => format!("{skew} s ahead of {name}'s"),
        skew => format!("{} s behind {name}'s", -skew),
    };
    let summary = measured.iter().map(describe).collect::<Vec<_>>().join(", ");
    let status = match worst.abs() {
        300.. => Status::Fail,
        60.. => Status::Warn,
        _ => return Check::ok("clock", summary),
    };
    Check::new("clock", status, summary)
        .do_this("Start this machine's time service (NTP): token lifetimes depend on the clock.")
}
