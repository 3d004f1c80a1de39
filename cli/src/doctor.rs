//! `pgentra doctor`: checks each step of a login, from the environment to the role's privileges.

mod identity;
mod network;
mod proxy;
mod report;
mod server;
mod session;

use clap::Args;
use pgentra::{Login, postgres::Host};
use pgentra_proxy::BoxedStream;

use self::report::{Check, Status};
use crate::{
    child,
    connection::{Connection, port_of},
    failure::{Failure, Result},
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    output,
};

/// The checks in their order.
const CHECKS: [&str; 14] = [
    "environment",
    "credential",
    "token",
    "clock",
    "role",
    "dns",
    "tcp",
    "tls",
    "login",
    "label",
    "principals",
    "grants",
    "server",
    "proxy",
];

/// The checks that need the server.
const OF_SERVER: [&str; 8] = ["dns", "tcp", "tls", "login", "label", "principals", "grants", "server"];

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// Request a token from each member of the default chain
    #[arg(long)]
    pub all_credentials: bool,
    /// Make no connection to the server
    #[arg(long)]
    pub no_server: bool,
    /// Leave out a check; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = CHECKS, value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Fail for warnings too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command, and returns the exit code.
///
/// # Errors
/// Fails if no server is given.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let mut checks = child::runtime()?.block_on(check(arguments))?;
    let position = |check: &Check| CHECKS.iter().position(|id| *id == check.id);
    checks.sort_by_key(position);
    let text = match arguments.output.json {
        true => report::document(&checks).to_string(),
        false => report::text(&checks),
    };
    output::print(&text)?;
    let is_failed = report::has(&checks, Status::Fail) || (arguments.strict && report::has(&checks, Status::Warn));
    Ok(u8::from(is_failed))
}

/// The checks so far.
struct Checks<'a> {
    arguments: &'a Arguments,
    made: Vec<Check>,
}

impl Checks<'_> {
    /// Returns whether a check is wanted.
    fn wants(&self, id: &str) -> bool {
        let is_left_out = self.arguments.skip.iter().any(|skipped| skipped == id);
        !is_left_out && (!self.arguments.no_server || !OF_SERVER.contains(&id))
    }

    /// Adds a check, unless it is not wanted.
    fn add(&mut self, check: Check) {
        if self.wants(check.id) {
            self.made.push(check);
        }
    }

    /// Adds the missing ones of these checks as skipped.
    fn skip(&mut self, ids: &[&'static str], why: &str) {
        for id in ids {
            if !self.made.iter().any(|check| check.id == *id) {
                self.add(Check::skip(id, why));
            }
        }
    }
}

async fn check(arguments: &Arguments) -> Result<Vec<Check>> {
    let mut checks = Checks { arguments, made: Vec::new() };
    let server = arguments.server.server.as_deref();
    let connection = match Connection::new(server, &arguments.connection, &arguments.credential, None) {
        Ok(connection) => connection,
        Err(failure) => {
            checks.add(failed("environment", &failure));
            checks.skip(&CHECKS[1..], "the configuration cannot be used");
            return Ok(checks.made);
        }
    };
    if !arguments.no_server {
        connection.hosts()?;
    }
    checks.add(identity::environment(&connection, &arguments.credential));
    let config = arguments.all_credentials.then_some(&connection.config);
    let (credential, token) = identity::credential(&connection, config).await;
    checks.add(credential);
    let mut login = None;
    match &token {
        Ok(token) => {
            checks.add(identity::token(&connection, token));
            let (role, found) = identity::role(&connection).await;
            checks.add(role);
            login = found;
        }
        Err(_) => checks.skip(&["token", "role"], "there is no token"),
    }
    let mut skew = None;
    if !arguments.no_server {
        let hosts = connection.hosts()?.to_vec();
        for host in &hosts {
            let of_host = of_server(&mut checks, &connection, host, login.as_deref(), hosts.len() > 1).await?;
            skew = skew.or(of_host);
        }
    }
    checks.add(identity::clock(token.as_deref().ok(), skew));
    if checks.wants("proxy") {
        checks.add(match connection.hosts().ok().and_then(<[Host]>::first) {
            Some(host) => proxy::check(host, proxy::http_address().as_deref()).await,
            None => Check::skip("proxy", "no server is given"),
        });
    }
    Ok(checks.made)
}

/// Makes the checks of one host, and returns the difference to its clock.
async fn of_server(
    checks: &mut Checks<'_>,
    connection: &Connection,
    host: &Host,
    login: Option<&Login>,
    is_one_of_several: bool,
) -> Result<Option<i64>> {
    let mut own = Checks { arguments: checks.arguments, made: Vec::new() };
    let skew = of_host(&mut own, connection, host, login).await?;
    own.skip(&OF_SERVER, "an earlier check failed");
    if is_one_of_several {
        own.made.iter_mut().for_each(|check| check.summary = format!("{}: {}", host.address(), check.summary));
    }
    checks.made.extend(own.made);
    Ok(skew)
}

async fn of_host(
    checks: &mut Checks<'_>,
    connection: &Connection,
    host: &Host,
    login: Option<&Login>,
) -> Result<Option<i64>> {
    let Some(stream) = connect(checks, connection, host).await? else { return Ok(None) };
    let Some(login) = login else {
        checks.skip(&OF_SERVER, "there is no login");
        return Ok(None);
    };
    if !checks.wants("login") {
        return Ok(None);
    }
    let principal = connection.principal(login);
    let (check, session) = server::login(connection, login, principal.as_ref(), stream).await;
    checks.add(check);
    let Some(mut session) = session else { return Ok(None) };
    let skew = server::clock_skew(&mut session).await;
    let principal = principal.as_ref();
    checks.add(server::label(&mut session, principal, login.password()).await);
    checks.add(server::principals(&mut session, login.user(), principal).await);
    checks.add(server::grants(&mut session, login.user(), connection.database()).await);
    checks.add(server::server(&mut session).await);
    session.end().await;
    Ok(skew)
}

/// Connects to a host, and returns the connection if a token may be sent over it.
async fn connect(checks: &mut Checks<'_>, connection: &Connection, host: &Host) -> Result<Option<BoxedStream>> {
    if host.address().starts_with(['/', '@']) {
        return Ok(match network::socket(host.address(), port_of(host)?).await {
            Ok(stream) => {
                checks.skip(&["dns", "tcp", "tls"], "the server is a Unix socket");
                Some(stream)
            }
            Err(error) => {
                checks.add(
                    Check::fail("tcp", format!("{}: {error}", host.address())).do_this("Check the socket's directory."),
                );
                None
            }
        });
    }
    let (dns, addresses) = network::dns(host).await?;
    checks.add(dns);
    if addresses.is_empty() {
        return Ok(None);
    }
    let (tcp, stream) = network::tcp(&addresses).await;
    checks.add(tcp);
    let Some(stream) = stream else { return Ok(None) };
    let (tls, stream) = network::tls(connection, host, stream).await?;
    checks.add(tls);
    Ok(stream)
}

fn failed(id: &'static str, failure: &Failure) -> Check {
    Check::fail(id, format!("{}: {}", failure.code(), failure.headline())).do_this(failure.advice())
}
