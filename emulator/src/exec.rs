//! `--exec`: runs a command with the emulator in place of Azure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::developer_tools;
use crate::principal::{Principal, PrincipalKind};
use crate::{Addresses, Emulator};

/// The time that a command has to end when the emulator ends.
const GRACE: Duration = Duration::from_secs(5);

/// Prefixes of inherited variables that would direct the command to other services.
const REMOVED_PREFIXES: [&str; 3] = ["AZURE_", "IDENTITY_", "MSI_"];
/// Further such variables, in upper case. Proxy variables are also removed in lower case.
const REMOVED: [&str; 9] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IMDS_ENDPOINT",
    "NO_PROXY",
    "PGHOSTADDR",
    "PGPASSWORD",
    "PGSERVICE",
    "SSL_CERT_DIR",
];

/// The identity of the command.
pub(crate) enum Identity {
    /// The default identity of App Service.
    AppService,
    /// A managed identity. It is the default of a separate App Service endpoint.
    Managed(Arc<Principal>),
    /// An application with its secret.
    Secret(Arc<Principal>),
    /// A user, signed in to the developer tools in this directory.
    User(PathBuf),
}

impl Identity {
    /// Returns the identity for the principal of this name.
    pub(crate) fn of(emulator: &Emulator, name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name else { return Ok(Self::AppService) };
        let principal = emulator.state().principal(name).ok_or_else(|| format!("there is no principal {name:?}"))?;
        match principal.kind {
            PrincipalKind::UserAssigned | PrincipalKind::SystemAssigned => Ok(Self::Managed(principal)),
            PrincipalKind::ServicePrincipal if principal.client_secret.is_some() => Ok(Self::Secret(principal)),
            PrincipalKind::ServicePrincipal => Err(format!("service principal {name:?} has no client secret")),
            PrincipalKind::Group => Err(format!("{name:?} is a group: its members sign in, not the group")),
            PrincipalKind::User | PrincipalKind::Guest => {
                let directory = emulator.scratch().join("bin");
                let installed =
                    developer_tools::install(&directory, &emulator.addresses().developer_tools, &principal.oid);
                installed
                    .map(|()| Self::User(directory))
                    .map_err(|error| format!("cannot write the developer tools: {error}"))
            }
        }
    }
}

/// Returns the environment variables for the command.
fn environment(identity: &Identity, addresses: &Addresses, dns_names: &[String]) -> BTreeMap<&'static str, OsString> {
    let mut set: BTreeMap<&'static str, OsString> = BTreeMap::new();
    for name in ["SSL_CERT_FILE", "PGSSLROOTCERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"] {
        set.insert(name, addresses.bundle_file.clone().into());
    }
    let always = ["localhost", "127.0.0.1", "::1", "169.254.169.254"].map(String::from);
    let no_proxy: Vec<&str> = always.iter().chain(dns_names).map(String::as_str).collect();
    set.insert("NO_PROXY", no_proxy.join(",").into());
    set.insert("PGENTRA_EMULATOR_CONTROL", addresses.control.clone().into());
    if let Some(postgres) = &addresses.postgres {
        set.insert("PGHOST", postgres.host.clone().into());
        set.insert("PGPORT", postgres.port.to_string().into());
        set.insert("PGDATABASE", postgres.database.clone().into());
        set.insert("PGSSLMODE", "verify-full".into());
        if let Some(admin_dsn) = &postgres.admin_dsn {
            set.insert("PGENTRA_EMULATOR_ADMIN_DSN", admin_dsn.clone().into());
        }
    }
    match identity {
        Identity::AppService | Identity::Managed(_) => {
            let endpoint = match identity {
                Identity::Managed(principal) => addresses.app_service.endpoint_for(principal),
                _ => addresses.app_service.endpoint.clone(),
            };
            set.insert("IDENTITY_ENDPOINT", endpoint.into());
            set.insert("IDENTITY_HEADER", addresses.app_service.header.clone().into());
        }
        Identity::Secret(principal) => {
            set.insert("AZURE_TENANT_ID", addresses.tenant_id.clone().into());
            set.insert("AZURE_CLIENT_ID", principal.appid.clone().into());
            set.insert("AZURE_CLIENT_SECRET", principal.client_secret.clone().unwrap_or_default().into());
            set.insert("AZURE_AUTHORITY_HOST", addresses.authority_host.clone().into());
        }
        Identity::User(tools) => {
            let inherited = std::env::var_os("PATH").unwrap_or_default();
            let directories = std::iter::once(tools.clone()).chain(std::env::split_paths(&inherited));
            // Joining fails only if a name contains a separator, which names of temporary directories do not.
            set.insert("PATH", std::env::join_paths(directories).unwrap_or(inherited));
            set.insert("AZURE_TOKEN_CREDENTIALS", "dev".into());
        }
    }
    set
}

fn is_removed(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    REMOVED.contains(&name.as_str()) || REMOVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Runs the command until it or `end` ends. In the second case the command is terminated, and killed after [`GRACE`].
pub(crate) async fn run(
    command: &[OsString],
    identity: &Identity,
    addresses: &Addresses,
    dns_names: &[String],
    signals: &mut Signals,
    end: impl Future<Output = ()>,
) -> Result<ExitCode, String> {
    let (program, arguments) = command.split_first().ok_or("--exec needs a command")?;
    let mut child = Command::new(program);
    child.args(arguments).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_removed) {
            child.env_remove(name);
        }
    }
    child.envs(environment(identity, addresses, dns_names));
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe and touches no memory. The
    // signal is sent when the thread that forks ends: this is the program's main thread.
    unsafe {
        child.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let mut child = match child.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("pgentra-emulator: cannot run {}: {error}", program.display());
            // The exit codes are those of shells.
            return Ok(ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }));
        }
    };
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code).map_err(|error| error.to_string()),
            received = signals.next() => forward(&child, received),
            () = &mut end => break,
        }
    }
    send(&child, libc::SIGTERM);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status.map(exit_code).map_err(|error| error.to_string()),
        Err(_) => {
            let _ = child.kill().await;
            Ok(exit_code_of_signal(libc::SIGKILL))
        }
    }
}

fn forward(child: &Child, received: i32) {
    // At a terminal, the keyboard sends these signals to the whole foreground group. The command must not get them
    // twice.
    let from_keyboard = matches!(received, libc::SIGINT | libc::SIGQUIT) && io::stdin().is_terminal();
    if !from_keyboard {
        send(child, received);
    }
}

fn send(child: &Child, number: i32) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // SAFETY: `kill` has no memory effects, and the child is not reaped yet (it has an id), so that the id is still its own.
        unsafe { libc::kill(pid, number) };
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(number)) => exit_code_of_signal(number),
        (None, None) => ExitCode::FAILURE,
    }
}

/// Returns the exit code that shells use: 128 and the signal's number.
pub(crate) fn exit_code_of_signal(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))
}

/// The signals that are forwarded to a command, or end an emulator without one.
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Returns the number of the next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.hangup.recv() => libc::SIGHUP,
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.quit.recv() => libc::SIGQUIT,
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.user1.recv() => libc::SIGUSR1,
            _ = self.user2.recv() => libc::SIGUSR2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_accepts_variables_of_other_services_only() {
        for name in
            ["AZURE_CLIENT_ID", "IDENTITY_ENDPOINT", "MSI_SECRET", "https_proxy", "NO_PROXY", "PGPASSWORD", "PGSERVICE"]
        {
            assert!(is_removed(name), "{name}");
        }
        for name in ["PATH", "PGUSER", "PGAPPNAME", "MSISDN", "HOME", "MY_AZURE_ID"] {
            assert!(!is_removed(name), "{name}");
        }
    }
}
