//! `pgentra exec`: runs a program that logs in with the identity.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
};

use clap::{Args, ValueEnum};
use pgentra::{Login, RefreshMode};

use crate::{
    child,
    connection::{self, Connection, port_of},
    failure::{Exit, Failure, Result},
    log,
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    passfile,
    private_file::{PrivateDirectory, PrivateFile},
    proxy,
    renewal::Logins,
};

/// The exit code for a program that does not exist, and for one that cannot be executed: those of shells.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// How the program gets the token
    #[arg(long, value_enum, default_value_t)]
    pub via: Via,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// How the program gets the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// In a private password file, which is renewed while the program runs
    #[default]
    Passfile,
    /// In PGPASSWORD, which is never renewed
    Env,
    /// Not at all: it connects to a proxy at a private socket, also after the token has expired
    Proxy,
}

/// Runs the command, and returns the exit code.
///
/// # Errors
/// Fails if the program was not started: without a token, without a server.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let mode = match arguments.via {
        Via::Passfile | Via::Proxy => RefreshMode::Ahead,
        Via::Env => RefreshMode::Background,
    };
    let server = arguments.server.server.as_deref();
    let connection = Connection::new(server, &arguments.connection, &arguments.credential, Some(mode))?;
    connection.hosts()?;
    match arguments.via {
        Via::Passfile => child::runtime()?.block_on(with_password_file(arguments, &connection)),
        Via::Env => with_variable(arguments, &connection),
        Via::Proxy => child::runtime()?.block_on(with_proxy(arguments, connection)),
    }
}

async fn with_password_file(arguments: &Arguments, connection: &Connection) -> Result<u8> {
    // From here on a signal does not end this process before the file is removed.
    let mut signals = child::Signals::listen()?;
    let (login, logins) = tokio::select! {
        started = Logins::start(&connection.provider) => started?,
        number = signals.next() => return Ok(child::code_of(number)),
    };
    log::show_failed_fetches();
    let file = PrivateFile::create("pgpass", &passfile::lines(connection, &login)?)?;
    let mut command = command(&arguments.command, connection, &login)?;
    command.env("PGPASSFILE", file.path());
    let ended = child::run(command, &mut signals, renew(connection, &file, logins)).await;
    Ok(ended.unwrap_or_else(|error| not_started(&arguments.command[0], &error, &arguments.output)))
}

async fn with_proxy(arguments: &Arguments, connection: Connection) -> Result<u8> {
    let mut signals = child::Signals::listen()?;
    // Without a token, the program is not started. The role is for what it shows.
    let login = tokio::select! {
        login = connection.provider.login() => login?,
        number = signals.next() => return Ok(child::code_of(number)),
    };
    let directory = PrivateDirectory::create("proxy")?;
    let mut command = command(&arguments.command, &connection, &login)?;
    command.env("PGHOST", directory.path()).env("PGPORT", PORT.to_string()).env("PGSSLMODE", "disable");
    for name in OF_SERVER {
        command.env_remove(name);
    }
    let accepting = proxy::start_private(connection, directory.path()).await?;
    log::show_failed_fetches();
    let ended = child::run(command, &mut signals, std::future::pending()).await;
    drop(accepting);
    Ok(ended.unwrap_or_else(|error| not_started(&arguments.command[0], &error, &arguments.output)))
}

/// The port in the name of the private socket.
const PORT: u16 = 5432;

/// What libpq would demand from the proxy, and what the proxy does itself.
const OF_SERVER: [&str; 8] = [
    "PGHOSTADDR",
    "PGSSLROOTCERT",
    "PGSSLNEGOTIATION",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGREQUIRESSL",
    "PGGSSENCMODE",
    "PGTARGETSESSIONATTRS",
];

/// Replaces the file at each refresh. The engine logs a failed refresh.
async fn renew(connection: &Connection, file: &PrivateFile, mut logins: Logins<'_>) {
    loop {
        let renewed = logins.next().await.and_then(|login| {
            let lines = passfile::lines(connection, &login)?;
            file.replace(&lines).map_err(|error| Failure::io(file.path().display(), &error))
        });
        if let Err(failure) = renewed {
            eprintln!("pgentra: warning: the password file was not renewed: {}", failure.headline());
        }
    }
}

/// Replaces this process by the program.
fn with_variable(arguments: &Arguments, connection: &Connection) -> Result<u8> {
    let login = connection.login()?;
    connection::require_role(login.user())?;
    if !arguments.output.quiet {
        let left = connection::life_left(login.token().expires_on()) / 60;
        eprintln!(
            "pgentra: warning: PGPASSWORD is never renewed: new connections fail after {left} min. --via passfile has \
             no such limit."
        );
    }
    let mut command = command(&arguments.command, connection, &login)?;
    command.env("PGPASSWORD", login.password()).env_remove("PGPASSFILE");
    let error = command.exec();
    Ok(not_started(&arguments.command[0], &error, &arguments.output))
}

/// Returns the program with the variables of the connection, without a password.
///
/// `PGSERVICE` is removed: the connection's settings have been read from it, and libpq would use the service's own user
/// and `sslmode` instead of the variables.
fn command(words: &[OsString], connection: &Connection, login: &Login) -> Result<Command> {
    let (program, arguments) = words.split_first().ok_or_else(|| Failure::usage("no command is given", ""))?;
    let hosts = connection.hosts()?;
    let ports: Result<Vec<String>> = hosts.iter().map(|host| port_of(host).map(|port| port.to_string())).collect();
    let list = |texts: Vec<&str>| if texts.iter().all(|text| text.is_empty()) { None } else { Some(texts.join(",")) };
    let mut command = Command::new(program);
    command.args(arguments).env_remove("PGPASSWORD").env_remove("PGSERVICE");
    for (name, value) in [
        ("PGHOST", list(hosts.iter().map(|host| host.host.as_str()).collect())),
        ("PGHOSTADDR", list(hosts.iter().map(|host| host.hostaddr.as_deref().unwrap_or_default()).collect())),
        ("PGPORT", Some(ports?.join(","))),
        ("PGUSER", Some(login.user().to_owned())),
        ("PGDATABASE", Some(connection.database().to_owned())),
        ("PGSSLMODE", connection.sslmode().map(str::to_owned)),
        ("PGSSLROOTCERT", connection.sslmode().map(|_| connection.sslrootcert())),
    ] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(command)
}

/// Reports that a program cannot be run, and returns the exit code.
pub fn not_started(program: &OsStr, error: &io::Error, output: &OutputOptions) -> u8 {
    let failure = Failure::new(Exit::Failed, "not_started", format!("cannot run {}: {error}", program.display()), "");
    crate::output::report(&failure, output);
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}
