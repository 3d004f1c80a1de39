//! Runs a developer's command-line tool: with limits on time and output, one at a time, and killed together with its
//! children.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures_util::future::{Either, join, select};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::{Instant, timeout, timeout_at},
};
use zeroize::Zeroizing;

use crate::{
    config::{BuildInputs, Environment, duration, variable},
    credential::{developer_tools::tool_text::Complaint, entra::error_codes, progress, sanitize},
    error::{Error, ErrorKind, Result, ServiceErrorDetails},
    runtime::PerProcess,
};

/// The default time limit of a tool.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default bound of a fetch. It includes the wait for another run of the same tool, and is longer only if the
/// tool's own time limit is.
const BOUND: Duration = Duration::from_secs(30);

/// A fetch ends this much before its bound, so that callers get its own error.
const MARGIN: Duration = Duration::from_secs(1);

/// The maximum output. The output for a token is smaller.
const MAX_OUTPUT: u64 = 256 * 1024;

/// How long to continue reading after the tool has ended. A child that it left running can keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A developer tool.
pub(in crate::credential) struct DeveloperTool {
    /// The commands that the tool can be installed as, the usual one first.
    pub(in crate::credential) programs: &'static [&'static str],
    /// The name of the tool in messages.
    pub(in crate::credential) title: &'static str,
    /// The command that signs in.
    pub(in crate::credential) sign_in: &'static str,
    /// The command that shows the tool's full output about a token.
    pub(in crate::credential) token_command: &'static str,
    /// Texts of the tool, in lower case, that mean that no account is signed in.
    pub(in crate::credential) signed_out: &'static [&'static str],
    /// The commands that the tool names when the user has to sign in again or to another account or tenant.
    pub(in crate::credential) sign_in_commands: &'static [&'static str],
    /// Held while the tool runs, because parallel runs of one tool fail on each other's locks or time out.
    pub(in crate::credential) turn: &'static PerProcess<tokio::sync::Mutex<()>>,
}

/// The environment that a tool is started with. It is copied when the credential is built, because it decides which
/// user's sign-in is found.
pub(in crate::credential) struct ToolEnvironment {
    variables: Environment,
    /// The working directory.
    folder: PathBuf,
}

impl ToolEnvironment {
    pub(in crate::credential) fn new(inputs: &BuildInputs<'_>) -> ToolEnvironment {
        let names = ["PATH", "HOME", "USERPROFILE", "APPDATA", "AZURE_CONFIG_DIR", "AZD_CONFIG_DIR"];
        ToolEnvironment { variables: inputs.copy(&names), folder: safe_folder(inputs) }
    }
}

/// The output of a tool.
pub(in crate::credential) struct Output {
    /// Whether it ended with status 0. An unknown status (in an application that reaps every child itself) counts as
    /// success.
    pub(in crate::credential) success: bool,
    pub(in crate::credential) code: Option<i32>,
    pub(in crate::credential) stdout: Zeroizing<String>,
    pub(in crate::credential) stderr: Zeroizing<String>,
}

/// The output of the next run of a tool on this thread, instead of running it.
#[cfg(feature = "testing")]
pub mod canned {
    use std::cell::Cell;

    use super::Output;

    thread_local! {
        static NEXT: Cell<Option<Output>> = const { Cell::new(None) };
    }

    /// Sets the output of the next run on this thread.
    pub fn set_tool_output(success: bool, stdout: String, stderr: String) {
        let output = Output { success, code: Some(i32::from(!success)), stdout: stdout.into(), stderr: stderr.into() };
        NEXT.set(Some(output));
    }

    pub(super) fn take() -> Option<Output> {
        NEXT.take()
    }
}

/// Returns the bound of a fetch with this time limit for the tool.
pub(in crate::credential) fn bound(process_timeout: Option<f64>) -> Duration {
    process_timeout.map_or(BOUND, |limit| duration(limit).saturating_add(2 * MARGIN).max(BOUND))
}

impl DeveloperTool {
    /// Runs the tool with `arguments` and returns what it printed.
    ///
    /// # Errors
    /// [`ErrorKind::CredentialUnavailable`] if the tool is not installed, [`ErrorKind::Timeout`] if it does not end.
    pub(in crate::credential) async fn run(
        &self,
        arguments: &[String],
        environment: &ToolEnvironment,
        process_timeout: Option<f64>,
    ) -> Result<Output> {
        #[cfg(feature = "testing")]
        if let Some(output) = canned::take() {
            return Ok(output);
        }
        let started = Instant::now();
        let deadline = started + bound(process_timeout) - MARGIN;
        let program = self.find(environment)?;
        let limit = process_timeout.map_or(DEFAULT_TIMEOUT, duration);

        let Ok(_turn) = timeout_at(deadline, self.turn.get(Default::default).lock()).await else {
            return Err(self.timed_out(started.elapsed(), " behind other runs of it"));
        };
        let end = deadline.min(Instant::now() + limit);
        let _waiting = progress::wait_for(self.title);
        let result = match timeout_at(end, self.finish(&program, arguments, environment)).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(limit.min(started.elapsed()), "")),
        };
        tracing::debug!(
            target: "pgentra::credential",
            tool = self.title,
            elapsed_ms = started.elapsed().as_millis(),
            outcome = match &result {
                Ok(output) if output.success => "success",
                Ok(_) => "failure",
                Err(error) => error.code(),
            },
            "ran"
        );
        result
    }

    fn timed_out(&self, after: Duration, where_it_was: &str) -> Error {
        let message = format!("{} did not finish within {:.1} s{where_it_was}", self.title, after.as_secs_f32());
        Error::new(ErrorKind::Timeout, message).with_advice(format!(
            "Run `{}` in a terminal to see what it waits for, or increase the time limit of developer tools.",
            self.sign_in
        ))
    }

    fn not_installed(&self) -> Error {
        let message = format!("{} is not installed: no `{}` in PATH", self.title, self.programs.join("` or `"));
        Error::new(ErrorKind::CredentialUnavailable, message)
            .with_advice(format!("Install {} and run `{}`.", self.title, self.sign_in))
    }

    /// Returns the path of the tool from the absolute folders of `PATH`. A relative folder would depend on the working
    /// directory.
    fn find(&self, environment: &ToolEnvironment) -> Result<PathBuf> {
        let path = variable(&environment.variables, "PATH").unwrap_or_default();
        let names: &[&str] = if cfg!(windows) { &["cmd", "exe", "bat"] } else { &[""] };
        let folders: Vec<PathBuf> = std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
        self.programs
            .iter()
            .flat_map(|program| folders.iter().map(move |folder| folder.join(program)))
            .flat_map(|candidate| names.iter().map(move |extension| candidate.with_extension(extension)))
            .find(|candidate| is_executable(candidate))
            .ok_or_else(|| self.not_installed())
    }

    async fn finish(&self, program: &Path, arguments: &[String], environment: &ToolEnvironment) -> Result<Output> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&environment.folder)
            .env("AZURE_CORE_NO_COLOR", "true")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The tool inherits the process's environment, overridden by the application's variables.
        command.envs(environment.variables.iter().map(|(name, value)| (name, value.expose())));
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(not(unix))]
        command.kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            // The tool itself has just been found, so the interpreter named in its first line is missing.
            std::io::ErrorKind::NotFound => Error::new(
                ErrorKind::AuthenticationFailed,
                format!("{} cannot be started: its interpreter is missing", self.title),
            )
            .with_advice(self.repair()),
            _ => Error::new(ErrorKind::CredentialUnavailable, format!("{} cannot be started: {error}", self.title)),
        })?;
        let mut group = Group::of(&child);

        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut stdout = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let mut stderr = Zeroizing::new(Vec::new());
        let status = {
            let mut reading = pin!(join(read(out, &mut stdout), read(err, &mut stderr)));
            match select(pin!(child.wait()), reading.as_mut()).await {
                Either::Left((status, _)) => {
                    group.ended();
                    let _ = timeout(LAST_WORDS, reading).await;
                    status
                }
                // A tool that closes its output can still be running.
                Either::Right((_, waiting)) => {
                    let status = waiting.await;
                    group.ended();
                    status
                }
            }
        };
        // The wait itself fails if the application reaps every child; then only the output decides.
        let status: Option<ExitStatus> = status.ok();
        let text = |bytes: &[u8]| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
        Ok(Output {
            success: status.is_none_or(|status| status.success()),
            code: status.and_then(|status| status.code()),
            stdout: text(&stdout),
            stderr: text(&stderr),
        })
    }

    /// Returns the error for a tool that failed.
    pub(in crate::credential) fn failure(&self, output: &Output, complaint: &Complaint) -> Error {
        let said = &*complaint.cause;
        let how = match output.code {
            Some(code) => format!("exit status {code}"),
            None => "killed".to_owned(),
        };
        let number = error_codes::find(said);
        let message = match number.is_none() && is_page(said) {
            true => Some("it printed an HTML page".to_owned()),
            false => sanitize::sentence(said, &[]),
        };
        let service = ServiceErrorDetails { aadsts: number, message, ..ServiceErrorDetails::default() };
        let error = |kind, what: String| Error::new(kind, what).with_service(service.clone());

        let lower = said.to_ascii_lowercase();
        let rest = complaint.rest.to_ascii_lowercase();
        let is_unknown = |program: &&str| {
            let is_word = |at: usize| !lower[..at].ends_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
            let says = |text: &str| lower.match_indices(&format!("{program}{text}")).any(|(at, _)| is_word(at));
            says(": not found")
                || says(": command not found")
                || lower.contains(&format!("'{program}' is not recognized"))
        };
        if number.is_none() && self.programs.iter().any(is_unknown) {
            return error(ErrorKind::CredentialUnavailable, format!("{} is not installed", self.title))
                .with_advice(format!("Install {} and run `{}`.", self.title, self.sign_in));
        }
        // The tool was found and started, so a part of the tool is missing. cmd reports this as 9009.
        let lacks_a_part =
            ["is not recognized as an internal or external command", "bad interpreter", "cannot execute:"]
                .iter()
                .any(|words| lower.contains(words));
        if matches!(output.code, Some(126 | 127 | 9009)) || lacks_a_part {
            return error(ErrorKind::AuthenticationFailed, format!("{} does not run ({how})", self.title))
                .with_advice(self.repair());
        }
        let commands = complaint.commands(self.sign_in_commands);
        let run = match commands.as_slice() {
            [] => format!("Run `{}`.", self.sign_in),
            commands => format!("Run `{}`.", commands.join("`, then `")),
        };
        if number.is_none() && self.signed_out.iter().any(|words| lower.contains(words)) {
            return error(ErrorKind::CredentialUnavailable, format!("no account is signed in to {}", self.title))
                .with_advice(run);
        }
        let what = format!("{} failed ({how})", self.title);
        if number.is_none() && self.sign_in_commands.iter().any(|command| rest.contains(&command.to_ascii_lowercase()))
        {
            return error(ErrorKind::CredentialUnavailable, what).with_advice(run);
        }
        let known = number.and_then(error_codes::lookup);
        let kind = known.map_or(ErrorKind::AuthenticationFailed, |entry| entry.verdict.kind());
        let suggestion = || complaint.suggestion.as_deref().and_then(|text| sanitize::sentence(text, &[]));
        let advice = match (known, number) {
            (Some(entry), _) if kind != ErrorKind::InteractionRequired => entry.advice.to_owned(),
            (Some(_), _) => run,
            (None, Some(number)) => format!("{run} See https://login.microsoftonline.com/error?code={number}."),
            (None, None) => match trouble(&lower) {
                Some(advice) => advice.to_owned(),
                None if !commands.is_empty() => run,
                None => match suggestion() {
                    Some(suggestion) => format!("{suggestion}."),
                    None => format!("Run `{}` in a terminal to see its complete output.", self.token_command),
                },
            },
        };
        error(kind, what).with_advice(advice)
    }

    fn repair(&self) -> String {
        format!("Repair or reinstall {}: `{}` must run in a terminal.", self.title, self.token_command)
    }

    /// Returns the error for output without a token, with the tool's message.
    pub(in crate::credential) fn unreadable(&self, output: &Output) -> Error {
        let said = Complaint::read(&output.stderr).cause;
        let message = sanitize::sentence(&said, &[]).filter(|_| !is_page(&said));
        Error::new(ErrorKind::BadResponse, format!("the output of {} contains no token", self.title))
            .with_service(ServiceErrorDetails { message, ..ServiceErrorDetails::default() })
            .with_advice(format!(
                "Update {}, and run `{}` in a terminal to see its output.",
                self.title, self.token_command
            ))
    }
}

/// Returns the advice for a failure that is unrelated to the signed-in account, by the tool's message in lower case.
fn trouble(said: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["407 proxy", "407 auth", "failed: 407", "proxy authentication required"]) {
        return Some("Add user:password, percent-encoded, to HTTPS_PROXY, which the tool also reads.");
    }
    if says(&["certificate verify failed", "certificate_verify_failed", "x509: ", "unable to get local issuer"]) {
        return Some(
            "Set REQUESTS_CA_BUNDLE (az) or SSL_CERT_FILE (azd) to a PEM file with the authority that signed the \
             proxy's certificate.",
        );
    }
    let is_network = says(&[
        "proxyerror",
        "cannot connect to proxy",
        "name resolution",
        "getaddrinfo",
        "nameresolutionerror",
        "no such host",
        "failed to establish a new connection",
        "connection refused",
        "connection aborted",
        "connection reset",
        "network is unreachable",
        "read timed out",
        "connecttimeout",
        "i/o timeout",
    ]);
    is_network.then_some("Check DNS, firewall and the variables HTTPS_PROXY and NO_PROXY, which the tool also reads.")
}

/// Returns whether the text is a page of a proxy or portal, which the tool printed as if it were a response.
fn is_page(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.trim_start().starts_with('<') || lower.contains("<html") || lower.contains("<!doctype")
}

async fn read(stream: Option<impl AsyncRead + Unpin>, buffer: &mut Vec<u8>) {
    if let Some(stream) = stream {
        // A broken pipe ends the output in the same way as its end does.
        let mut stream = stream.take(MAX_OUTPUT);
        let _ = stream.read_to_end(buffer).await;
        // Continues reading, so that a tool that prints more is not blocked by a full pipe.
        let mut rest = stream.into_inner();
        let mut sink = Zeroizing::new([0; 4096]);
        while matches!(rest.read(&mut *sink).await, Ok(1..)) {}
    }
}

/// The tool with all processes that it started. They are killed if this is dropped before the tool ends.
struct Group {
    #[cfg(unix)]
    leader: Option<libc::pid_t>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &tokio::process::Child) -> Group {
        Group { leader: child.id().and_then(|id| libc::pid_t::try_from(id).ok()).filter(|id| *id > 1) }
    }

    #[cfg(not(unix))]
    fn of(_child: &tokio::process::Child) -> Group {
        Group {}
    }

    /// Marks the tool as ended. Processes that it left running on purpose are not killed.
    fn ended(&mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // SAFETY: kill takes no pointers. The group belongs to this child: it was made the group's leader when it
            // was started, and it has not been waited for, so its id is not reused yet.
            unsafe { libc::kill(-leader, libc::SIGKILL) };
        }
    }
}

/// Returns a folder in which a program of the user's project is not found by accident.
fn safe_folder(inputs: &BuildInputs<'_>) -> PathBuf {
    if cfg!(windows) {
        return inputs.variable("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from);
    }
    let folder = PathBuf::from("/bin");
    if folder.is_dir() { folder } else { PathBuf::from("/") }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Returns the resource of a scope, for tools that take a resource, after checking its characters.
pub(in crate::credential) fn check_scope(scope: &str) -> Result<&str> {
    check("scope", scope, |b| b.is_ascii_alphanumeric() || b"-._:/".contains(&b))
}

/// Checks that an argument has only characters without a special meaning to shells and tools.
pub(in crate::credential) fn check<'a>(what: &str, value: &'a str, allowed: impl Fn(u8) -> bool) -> Result<&'a str> {
    if !value.is_empty() && !value.starts_with('-') && value.bytes().all(allowed) {
        return Ok(value);
    }
    let error = Error::new(
        ErrorKind::InvalidConfiguration,
        format!("the {what} contains characters that are not passed to the tool"),
    );
    Err(match what {
        "subscription" => error.with_advice("Pass the subscription's id instead of its name."),
        _ => error,
    })
}

/// Returns a value that changes when one of the files changes.
pub(in crate::credential) fn stamp_of(files: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for file in files {
        let metadata = file.metadata().ok();
        metadata.map(|metadata| (metadata.modified().ok(), metadata.len())).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns the user's own folder.
pub(in crate::credential) fn home(inputs: &BuildInputs<'_>) -> Option<PathBuf> {
    let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    inputs.variable(name).map(PathBuf::from)
}
