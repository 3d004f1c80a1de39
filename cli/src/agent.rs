//! `pgentra agent`: keeps files with the token fresh, for programs that read a file and cannot request a token.

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

use clap::Args;
use pgentra::{Login, RefreshMode};
use zeroize::Zeroizing;

use crate::{
    child,
    connection::{self, Connection, port_of},
    failure::{Failure, Result},
    log,
    managed_file::{self, Access, Kind, ManagedFile},
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    passfile,
    renewal::Logins,
    text::{describe_life, grouped},
};

/// The longest password that PgBouncer accepts: from version 1.17 on, and in most older versions.
const PGBOUNCER_PASSWORD: usize = 2047;
const OLD_PGBOUNCER_PASSWORD: usize = 995;

/// The time limit of the command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The arguments of the command.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("files").required(true).multiple(true))]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// Keep a password file of libpq
    #[arg(long, value_name = "FILE", group = "files")]
    pub pgpass: Option<PathBuf>,
    /// Keep only the agent's own lines of the password file, and leave the others
    #[arg(long, requires = "pgpass")]
    pub merge: bool,
    /// Keep a file that contains only the token
    #[arg(long, value_name = "FILE", group = "files")]
    pub token_file: Option<PathBuf>,
    /// Keep an auth_file of PgBouncer
    #[arg(long, value_name = "FILE", group = "files")]
    pub pgbouncer_auth_file: Option<PathBuf>,
    /// Permissions of the files, octal; not for other users [default: 600, or 640 with --file-group]
    #[arg(long, value_name = "MODE", value_parser = managed_file::parse_mode)]
    pub file_mode: Option<u32>,
    /// Group of the files, by name or number
    #[arg(long, value_name = "GROUP")]
    pub file_group: Option<String>,
    /// Run COMMAND whenever the files were written
    #[arg(long, requires = "command")]
    pub on_refresh: bool,
    /// The command of --on-refresh, which is run without a shell
    #[arg(last = true, requires = "on_refresh", value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command until a signal ends it.
///
/// # Errors
/// Fails without a first token, and if a file cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    let server = arguments.server.server.as_deref();
    let connection = Connection::new(server, &arguments.connection, &arguments.credential, Some(RefreshMode::Ahead))?;
    if arguments.pgpass.is_some() {
        connection.hosts()?;
    }
    child::runtime()?.block_on(keep(arguments, &connection))
}

async fn keep(arguments: &Arguments, connection: &Connection) -> Result<()> {
    let mut signals = child::Signals::listen()?;
    let mut files = files(arguments, connection)?;
    let (login, mut logins) = tokio::select! {
        started = Logins::start(&connection.provider) => started?,
        _ = signals.next() => return Ok(()),
    };
    log::show_failed_fetches();
    // The first time, a file that cannot be written is an error.
    write(&mut files, arguments, connection, &login)?;
    loop {
        tokio::select! {
            () = notify(arguments) => {}
            _ = signals.next() => return Ok(()),
        }
        let renewed = tokio::select! {
            renewed = logins.next() => renewed,
            _ = signals.next() => return Ok(()),
        };
        let written = renewed.and_then(|login| write(&mut files, arguments, connection, &login));
        if let Err(failure) = written {
            eprintln!("pgentra: warning: the files were not renewed: {}", failure.headline());
        }
    }
}

/// Checks the files before a token is requested.
fn files(arguments: &Arguments, connection: &Connection) -> Result<Vec<ManagedFile>> {
    let group = arguments.file_group.as_deref().map(managed_file::group_of).transpose()?;
    let mode = arguments.file_mode.unwrap_or(if group.is_some() { 0o640 } else { 0o600 });
    let access = Access { mode, group };
    let mut files = Vec::new();
    if let Some(path) = &arguments.pgpass {
        let kind = match arguments.merge {
            true => Kind::MergedPasswordFile(block_name(connection)?),
            false => Kind::PasswordFile,
        };
        files.push(ManagedFile::new(path, kind, access)?);
    }
    for (path, kind) in [(&arguments.token_file, Kind::Token), (&arguments.pgbouncer_auth_file, Kind::PgBouncer)] {
        if let Some(path) = path {
            files.push(ManagedFile::new(path, kind, access)?);
        }
    }
    if let Some(twice) =
        files.iter().enumerate().find(|(n, one)| files[..*n].iter().any(|other| other.path() == one.path()))
    {
        return Err(Failure::usage(
            format!("{} is given twice", twice.1.path().display()),
            "Use a file for each form.",
        ));
    }
    for file in &files {
        if !file.is_in_memory() && !arguments.output.quiet {
            eprintln!(
                "pgentra: warning: {} is not on a file system in memory (tmpfs), so the token is written to a disk",
                file.path().display()
            );
        }
    }
    Ok(files)
}

/// Returns the name of the agent's own lines in a password file.
fn block_name(connection: &Connection) -> Result<String> {
    let hosts = connection.hosts()?;
    let names: Result<Vec<String>> =
        hosts.iter().map(|host| Ok(format!("{}:{}", host.address(), port_of(host)?))).collect();
    Ok(names?.join(","))
}

fn write(files: &mut [ManagedFile], arguments: &Arguments, connection: &Connection, login: &Login) -> Result<()> {
    let length = login.password().len();
    for file in files {
        let contents = match file.kind() {
            Kind::PasswordFile | Kind::MergedPasswordFile(_) => passfile::lines(connection, login)?,
            Kind::Token | Kind::Variables => Zeroizing::new(login.password().to_owned()),
            Kind::PgBouncer => {
                warn_of_length(length);
                connection::require_role(login.user())?;
                let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                Zeroizing::new(format!("{} {}\n", quoted(login.user()), quoted(login.password())))
            }
        };
        file.write(&contents)?;
    }
    if !arguments.output.quiet {
        let life = describe_life(connection::life_left(login.token().expires_on()));
        eprintln!("pgentra: info: wrote the token of {}, {life}", login.user());
    }
    Ok(())
}

fn warn_of_length(length: usize) {
    let version = match length {
        length if length <= OLD_PGBOUNCER_PASSWORD => return,
        length if length <= PGBOUNCER_PASSWORD => "1.17",
        _ => "1.26",
    };
    static WARNED: std::sync::Once = std::sync::Once::new();
    WARNED.call_once(|| {
        let length = grouped(length);
        eprintln!(
            "pgentra: warning: the token has {length} characters, for which PgBouncer {version} or newer is needed"
        );
    });
}

/// Runs the command of `--on-refresh`.
async fn notify(arguments: &Arguments) {
    let Some((program, words)) = arguments.command.split_first() else { return };
    let mut command = tokio::process::Command::new(program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let what = program.display();
    let problem = match command.spawn() {
        Ok(mut child) => match tokio::time::timeout(COMMAND_LIMIT, child.wait()).await {
            Ok(Ok(status)) if status.success() => return,
            Ok(Ok(status)) => format!("{what} ended with {status}"),
            Ok(Err(error)) => format!("{what}: {error}"),
            Err(_) => format!("{what} did not end within {} s and was killed", COMMAND_LIMIT.as_secs()),
        },
        Err(error) => format!("cannot run {what}: {error}"),
    };
    eprintln!("pgentra: warning: the command of --on-refresh failed: {problem}");
}
