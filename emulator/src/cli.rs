//! The command line of `pgentra-emulator`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

use crate::config::Config;
use crate::developer_tools;
use crate::exec::{self, Identity};
use crate::{Addresses, Emulator, EmulatorBuilder, Ports, Postgres};

const HELP: &str = "\
A local Microsoft Entra, with managed identity endpoints and a PostgreSQL proxy.

Usage: pgentra-emulator [OPTIONS] [--exec COMMAND [ARGUMENT]...]

Prints one line of JSON with all its addresses when it is ready, and runs until it is stopped (Ctrl-C, SIGTERM,
POST /stop) or its parent process ends.

  --config FILE         principals, roles and faults: TOML, or JSON if the name ends in .json
  --upstream URL        the PostgreSQL server behind the proxy (postgres://superuser@host/...); a temporary one by default
  --no-postgres         start neither PostgreSQL nor the proxy
  --listen IP[:PORT]    listen at this IP address (127.0.0.1); the port is the proxy's. The control endpoint always
                        listens on loopback
  --port NAME=PORT      fixed port of entra, imds, app_service, control or postgres (a free port by default)
  --dns-name NAME       add this name or IP address to the certificate; may be repeated
  --ca-dir DIR          keep the certificate authority in this directory (a new one at each start by default)
  --ready-file FILE     also write the JSON line to this file, atomically
  --outlive-parent      continue when the parent process ends
  --stop-on-stdin-eof   stop when standard input ends
  --exec COMMAND...     run a command with a matching environment, then stop; exits with the command's exit status
  --as NAME             the principal of the command (App Service's identity by default); a user is signed in to az, azd
                        and pwsh
  --help, --version
";

struct Arguments {
    builder: EmulatorBuilder,
    dns_names: Vec<String>,
    ready_file: Option<PathBuf>,
    outlive_parent: bool,
    stop_on_stdin_eof: bool,
    identity: Option<String>,
    command: Option<Vec<OsString>>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == developer_tools::MARK) {
        return developer_tools::run(arguments);
    }
    // This must come first, so that the early end of the parent is not missed.
    let parent = parent();
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Some(arguments)) => run(arguments, parent),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("{error}\nTry 'pgentra-emulator --help'.")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pgentra-emulator: {error}");
        // Shells use this status for wrong usage of their own commands. A command run by --exec rarely ends with it.
        ExitCode::from(125)
    })
}

/// Parses the arguments. Returns `None` if there is nothing left to do.
fn parse(mut parser: lexopt::Parser) -> Result<Option<Arguments>, lexopt::Error> {
    let mut builder = Emulator::builder().postgres(Postgres::Own);
    let (mut ports, mut dns_names) = (Ports::default(), Vec::new());
    let (mut config, mut ready_file, mut identity, mut command) = (None, None, None, None);
    let (mut outlive_parent, mut stop_on_stdin_eof) = (false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("upstream") => builder = builder.postgres(Postgres::Upstream(parser.value()?.string()?)),
            Long("no-postgres") => builder = builder.postgres(Postgres::None),
            Long("listen") => {
                let (address, port) = parse_listen(&parser.value()?.string()?)?;
                builder = builder.listen(address);
                ports.postgres = port.unwrap_or(ports.postgres);
            }
            Long("port") => set_port(&mut ports, &parser.value()?.string()?)?,
            Long("dns-name") => dns_names.push(parser.value()?.string()?),
            Long("ca-dir") => builder = builder.ca_dir(parser.value()?),
            Long("ready-file") => ready_file = Some(parser.value()?.into()),
            Long("outlive-parent") => outlive_parent = true,
            Long("stop-on-stdin-eof") => stop_on_stdin_eof = true,
            Long("as") => identity = Some(parser.value()?.string()?),
            Long("exec") => {
                // All further arguments belong to the command.
                let words: Vec<OsString> = parser.raw_args()?.collect();
                let words = match words.first() {
                    Some(first) if first == "--" => words[1..].to_vec(),
                    _ => words,
                };
                if words.is_empty() {
                    return Err("--exec needs a command".into());
                }
                command = Some(words);
            }
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("pgentra-emulator {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    if identity.is_some() && command.is_none() {
        return Err("--as needs --exec: it is the principal of the command".into());
    }
    if let Some(file) = config {
        builder = builder.config(Config::load(&file).map_err(|error| lexopt::Error::Custom(error.into()))?);
    }
    builder = dns_names.iter().fold(builder.ports(ports), EmulatorBuilder::dns_name);
    Ok(Some(Arguments { builder, dns_names, ready_file, outlive_parent, stop_on_stdin_eof, identity, command }))
}

fn parse_listen(value: &str) -> Result<(IpAddr, Option<u16>), lexopt::Error> {
    if let Ok(address) = value.parse::<IpAddr>() {
        Ok((address, None))
    } else if let Ok(address) = value.parse::<SocketAddr>() {
        Ok((address.ip(), Some(address.port())))
    } else {
        Err(format!("--listen {value}: not an IP address, with or without the proxy's port").into())
    }
}

fn set_port(ports: &mut Ports, value: &str) -> Result<(), lexopt::Error> {
    let wrong = || {
        lexopt::Error::from(format!("--port {value}: expected entra, imds, app_service, control or postgres = port"))
    };
    let (name, port) = value.split_once('=').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    *match name {
        "entra" => &mut ports.entra,
        "imds" => &mut ports.imds,
        "app_service" => &mut ports.app_service,
        "control" => &mut ports.control,
        "postgres" => &mut ports.postgres,
        _ => return Err(wrong()),
    } = port;
    Ok(())
}

fn run(arguments: Arguments, parent: i32) -> Result<ExitCode, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        // From here on a signal ends the emulator cleanly, even while it starts.
        let mut signals = exec::Signals::listen().map_err(|error| error.to_string())?;
        let starting = arguments.builder.clone().start();
        let emulator = tokio::select! {
            emulator = starting => emulator.map_err(|error| error.to_string())?,
            signal = signals.next() => return Ok(exec::exit_code_of_signal(signal)),
        };
        let outcome = serve(&emulator, &arguments, &mut signals, parent).await;
        emulator.stop().await;
        outcome
    })
}

/// Serves until a signal, the parent's end or a request ends it.
async fn serve(
    emulator: &Emulator,
    arguments: &Arguments,
    signals: &mut exec::Signals,
    parent: i32,
) -> Result<ExitCode, String> {
    let addresses = emulator.addresses();
    if let Some(file) = &arguments.ready_file {
        write_ready_file(file, addresses).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let end = async {
        tokio::select! {
            () = emulator.stop_requested() => {}
            () = parent_end(parent), if !arguments.outlive_parent => {}
            () = stdin_end(), if arguments.stop_on_stdin_eof => {}
        }
    };
    if let Some(command) = &arguments.command {
        let identity = Identity::of(emulator, arguments.identity.as_deref())?;
        return exec::run(command, &identity, addresses, &arguments.dns_names, signals, end).await;
    }
    announce(addresses).map_err(|error| format!("cannot write to standard output: {error}"))?;
    tokio::select! {
        () = end => Ok(ExitCode::SUCCESS),
        // A signal is the normal way to end an emulator.
        _ = signals.next() => Ok(ExitCode::SUCCESS),
    }
}

fn announce(addresses: &Addresses) -> io::Result<()> {
    let mut line = serde_json::to_vec(addresses)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn write_ready_file(file: &Path, addresses: &Addresses) -> io::Result<()> {
    let file = std::path::absolute(file)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut temporary, addresses)?;
    temporary.write_all(b"\n")?;
    temporary.persist(&file).map_err(|error| error.error)?;
    Ok(())
}

fn parent() -> i32 {
    std::os::unix::process::parent_id().try_into().unwrap_or(i32::MAX)
}

/// Waits until the parent has ended. It is polled, because the kernel's own notification (`PR_SET_PDEATHSIG`) is sent
/// when the parent's *thread* ends, and exists only on Linux.
async fn parent_end(parent_at_start: i32) {
    while parent() == parent_at_start {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for the end of standard input. This uses a separate thread, because a read of standard input cannot be
/// cancelled.
async fn stdin_end() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while !matches!(io::stdin().read(&mut buffer), Ok(0) | Err(_)) {}
        let _ = sender.send(());
    });
    let _ = receiver.await;
}
