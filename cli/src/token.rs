//! `pgentra token`: prints a token.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use pgentra::{ErrorKind, Login, Token};
use serde_json::{Value, json};

use crate::{
    connection::{self, Connection},
    failure::{Exit, Failure, Result},
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    output, passfile, shell,
};

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Fail if the token has fewer seconds left
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub min_life: u32,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The token and a newline
    #[default]
    Raw,
    /// A JSON object with the token, its expiry, the role and the principal
    Json,
    /// A line of libpq's password file for SERVER
    Pgpass,
    /// PGUSER and PGPASSWORD, quoted for POSIX shells
    Env,
}

/// Runs the command.
///
/// # Errors
/// Fails without a token, or without a role name if the form needs one.
pub fn run(arguments: &Arguments) -> Result<()> {
    let server = arguments.server.server.as_deref();
    let connection = Connection::new(server, &arguments.connection, &arguments.credential, None)?;
    let text = match (arguments.format, arguments.output.json) {
        (Format::Json, _) | (Format::Raw, true) => document(&connection, arguments.min_life)?.to_string(),
        (Format::Raw, false) => {
            let token = connection.provider.get_blocking()?;
            check_life(&token, arguments.min_life)?;
            token.secret().to_owned()
        }
        (Format::Pgpass, _) => {
            // Fails for a missing server before a token is requested.
            connection.hosts()?;
            let login = login(&connection, arguments.min_life)?;
            passfile::lines(&connection, &login)?.trim_end().to_owned()
        }
        (Format::Env, _) => {
            let login = login(&connection, arguments.min_life)?;
            connection::require_role(login.user())?;
            format!("PGUSER={} PGPASSWORD={}", shell::quoted(login.user()), shell::quoted(login.password()))
        }
    };
    output::print(&text)
}

fn login(connection: &Connection, min_life: u32) -> Result<Arc<Login>> {
    let login = connection.login()?;
    check_life(login.token(), min_life)?;
    Ok(login)
}

fn check_life(token: &Token, min_life: u32) -> Result<()> {
    let left = connection::life_left(token.expires_on());
    if left >= i64::from(min_life) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Transient,
        "min_life",
        format!("the token expires in {left} s, and --min-life requires {min_life} s"),
        "Try again after the token's expiry, or pass a smaller --min-life.",
    ))
}

/// Returns the document of the JSON form. The role is null if it cannot be determined.
fn document(connection: &Connection, min_life: u32) -> Result<Value> {
    let mut principal = None;
    let (token, role) = match connection.provider.login_blocking() {
        Ok(login) => {
            let role = (login.user().to_owned(), connection.user_source(&login).to_owned());
            principal = connection.principal(&login);
            (Arc::clone(login.token()), Some(role))
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UsernameExtraction | ErrorKind::ScopePermission | ErrorKind::TokenDecode
            ) =>
        {
            (connection.provider.get_blocking()?, None)
        }
        Err(error) => return Err(error.into()),
    };
    check_life(&token, min_life)?;
    let principal = principal.or_else(|| token.claims().ok().map(|claims| claims.principal()));
    let (user, user_source) = role.unzip();
    Ok(json!({
        "token": token.secret(),
        "expires_on": token.expires_on(),
        "expires_in": connection::life_left(token.expires_on()),
        "user": user,
        "user_source": user_source,
        "scope": connection.scope,
        "credential": connection.provider.credential().token_source().to_string(),
        "principal": principal.map(|principal| json!({
            "kind": principal.kind,
            "oid": principal.oid,
            "tid": principal.tid,
        })),
    }))
}
