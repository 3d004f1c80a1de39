//! `pgentra whoami`: shows the identity, the credential and the role. The server is not asked.

use clap::Args;
use pgentra::ErrorKind;
use serde_json::json;

use crate::{
    connection::{self, Connection},
    failure::Result,
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    output,
    text::{describe_life, describe_role_source, grouped},
};

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command.
///
/// # Errors
/// Fails without a token.
pub fn run(arguments: &Arguments) -> Result<()> {
    let server = arguments.server.server.as_deref();
    let connection = Connection::new(server, &arguments.connection, &arguments.credential, None)?;
    let token = connection.provider.get_blocking()?;
    let login = match connection.login() {
        Ok(login) => Ok(login),
        // Without a role name, everything else is known.
        Err(failure) if is_about_role(failure.code()) => Err(failure),
        Err(failure) => return Err(failure),
    };
    let of_token = || token.claims().ok().map(|claims| claims.principal());
    let principal = login.as_ref().ok().and_then(|login| connection.principal(login)).or_else(of_token);
    let source = connection.provider.credential().token_source().to_string();
    let left = connection::life_left(token.expires_on());
    if arguments.output.json {
        let role = login.as_ref().ok().map(|login| (login.user(), connection.user_source(login)));
        let document = json!({
            "principal": principal.map(|principal| json!({
                "kind": principal.kind,
                "oid": principal.oid,
                "tid": principal.tid,
                "appid": principal.appid,
            })),
            "credential": source,
            "user": role.map(|(user, _)| user),
            "user_source": role.map(|(_, source)| source),
            "scope": connection.scope,
            "expires_on": token.expires_on(),
            "expires_in": left,
            "length": token.secret().len(),
        });
        return output::print(&document.to_string());
    }
    let identity = principal.map_or("unknown, because the token is not readable".to_owned(), |one| one.to_string());
    let role = match &login {
        Ok(login) => format!("{} ({})", login.user(), describe_role_source(connection.user_source(login))),
        Err(failure) => format!("unknown: {}. {}", failure.headline(), failure.advice()),
    };
    let token = format!(
        "for {}, {}, {} characters",
        connection.scope.trim_end_matches("/.default"),
        describe_life(left),
        grouped(token.secret().len())
    );
    let lines = [("identity", identity), ("credential", source), ("role", role), ("token", token)];
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<12}{value}")).collect();
    output::print(&lines.join("\n"))
}

fn is_about_role(code: &str) -> bool {
    [ErrorKind::UsernameExtraction, ErrorKind::ScopePermission, ErrorKind::TokenDecode]
        .iter()
        .any(|kind| kind.code() == code)
}
