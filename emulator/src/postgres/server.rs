//! A real PostgreSQL server that runs as long as the emulator.
//!
//! A small shell script, the keeper, is its parent. It waits for the end of its standard input, which comes however the
//! emulator ends, SIGKILL included. Then it stops the server and removes its directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, sleep, timeout};

use super::upstream::Upstream;

/// The superuser, with the same name as on Azure.
pub(super) const SUPERUSER: &str = "azuresu";

/// The port, which is only the suffix of the socket's name. No TCP port is opened.
const PORT: u16 = 5432;

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The parent of the socket's directory. The path of a Unix socket is limited to about a hundred bytes, and `TMPDIR`
/// can use up most of them.
const PARENT_DIRECTORY: &str = "/tmp";

/// The server's options. Durability is switched off, because the server is temporary.
const OPTIONS: [&str; 8] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=200",
    // Statements with passwords of roles are not logged.
    "log_min_error_statement=panic",
];

/// The keeper's script. `$1` is the directory, `$2` the binaries; the rest are options of `postgres`. Its output
/// explains why the server did not start.
const KEEPER: &str = r#"
trap '' HUP INT TERM
dir=$1 bin=$2
shift 2
exec 3<&0 </dev/null
if "$bin/initdb" -D "$dir/data" -U "$SUPERUSER" -A trust -E UTF8 --no-locale --no-sync >"$dir/log" 2>&1 3<&-; then
    "$bin/postgres" -D "$dir/data" "$@" >"$dir/log" 2>&1 3<&- &
    server=$!
    # Again and again: until it has a handler for the signal, the server ignores it.
    (while read -r _; do :; done; while kill -QUIT $server; do sleep 1; done) <&3 >/dev/null 2>&1 &
    watcher=$!
    exec 3<&-
    wait $server
    kill -KILL $watcher 2>/dev/null
fi
tail -n 20 "$dir/log"
cd /
rm -rf "$dir"
"#;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No PostgreSQL was found on this machine.
    #[error(
        "no PostgreSQL server found: looked for initdb and postgres in {tried}. Install one (Debian and Ubuntu: \
         apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql), or set \
         PGENTRA_POSTGRES_BIN to the directory that holds them"
    )]
    NotFound {
        /// The directories that were searched, in order.
        tried: String,
    },
    /// The emulator runs as root, and there is no other user for the server.
    #[error("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody in /etc/passwd")]
    NoUnprivilegedUser,
    /// An operation on a file or a process failed.
    #[error("PostgreSQL could not be started: {action}: {source}")]
    Io {
        /// The operation.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// The server ended during its start.
    #[error("PostgreSQL ({binaries}) did not start: {output}")]
    Ended {
        /// The directory of the binaries.
        binaries: String,
        /// The end of the server's log.
        output: String,
    },
    /// The server is running but does not accept a connection.
    #[error("PostgreSQL did not accept a connection within {} s: {last}", READY_LIMIT.as_secs())]
    NotReady {
        /// The error of the last attempt.
        last: String,
    },
}

impl StartError {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// A running PostgreSQL server, reachable only by a Unix socket. After it is dropped, it stops shortly later, and its
/// files are removed.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    binaries: PathBuf,
    keeper: Child,
    _alive: ChildStdin,
}

impl Server {
    /// Finds the binaries, creates a cluster in a new directory under `/tmp` and starts it. This takes about a second.
    ///
    /// If `PGENTRA_POSTGRES_BIN` is set, only that directory is searched. Otherwise `PATH` is searched, then the
    /// directories where distributions install PostgreSQL, newest first. If the emulator runs as root, the server runs
    /// as the user `postgres` or `nobody`.
    ///
    /// # Errors
    /// See [`StartError`]. No files or processes remain.
    pub async fn start() -> Result<Self, StartError> {
        let binaries = find_binaries(
            std::env::var_os("PGENTRA_POSTGRES_BIN").as_deref(),
            std::env::var_os("PATH").as_deref(),
            &INSTALLATIONS,
        )?;
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(binaries)).await.map_err(|error| {
            StartError::Io { action: "preparing its directory".into(), source: io::Error::other(error) }
        })??;
        let mut server = prepared.launch()?;
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Returns the directory of the Unix socket, which is removed with the server.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory of the binaries.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Returns the superuser's connection string, over the Unix socket.
    pub fn admin_dsn(&self) -> String {
        format!("postgres://{SUPERUSER}@/postgres?host={}&port={PORT}", self.directory.display())
    }

    /// Returns this server as the upstream server of a proxy.
    pub fn upstream(&self) -> Upstream {
        Upstream::local(&self.directory, PORT, SUPERUSER)
    }

    /// Stops the server and waits at most 15 s until it has ended and its directory is removed.
    pub async fn stop(self) {
        let Self { mut keeper, _alive: alive, .. } = self;
        drop(alive);
        // After the limit the keeper continues alone.
        let _ = timeout(STOP_LIMIT, keeper.wait()).await;
    }

    async fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let upstream = self.upstream();
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let Err(last) = upstream.check().await else { return Ok(()) };
            if let Ok(Some(_)) = self.keeper.try_wait() {
                let mut output = Vec::new();
                if let Some(stdout) = self.keeper.stdout.take() {
                    // A backend that outlives the server can hold the pipe open.
                    let _ = timeout(Duration::from_secs(1), stdout.take(65_536).read_to_end(&mut output)).await;
                }
                let output = String::from_utf8_lossy(&output).trim().to_owned();
                return Err(StartError::Ended { binaries: self.binaries.display().to_string(), output });
            }
            if Instant::now() >= deadline {
                return Err(StartError::NotReady { last: last.to_string() });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Where packages install a server that is not in `PATH`: a directory with one entry for each version, the prefix of
/// the entries, and the directory of the binaries in each.
type Installations = [(&'static str, &'static str, &'static str)];

const INSTALLATIONS: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
];

fn find_binaries(
    explicit: Option<&OsStr>,
    path: Option<&OsStr>,
    installations: &Installations,
) -> Result<PathBuf, StartError> {
    let holds_server = |directory: &Path| ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file());
    if let Some(explicit) = explicit.filter(|value| !value.is_empty()) {
        let directory = PathBuf::from(explicit);
        let tried = format!("{} (PGENTRA_POSTGRES_BIN)", directory.display());
        return if holds_server(&directory) { Ok(directory) } else { Err(StartError::NotFound { tried }) };
    }
    let in_path = std::env::split_paths(path.unwrap_or_default());
    let mut candidates: Vec<PathBuf> = in_path.filter(|directory| directory.is_absolute()).collect();
    for (parent, prefix, binaries) in installations {
        candidates.extend(newest_first(Path::new(parent), prefix).into_iter().map(|version| version.join(binaries)));
    }
    candidates.into_iter().find(|directory| holds_server(directory)).ok_or_else(|| {
        let patterns =
            installations.iter().map(|(parent, prefix, binaries)| format!(", {parent}/{prefix}*/{binaries}"));
        StartError::NotFound { tried: format!("PATH{}", patterns.collect::<String>()) }
    })
}

/// Returns the entries of `parent` that begin with `prefix`, sorted by the number in their name.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let version = |path: &PathBuf| -> Option<u32> {
        let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
        Some(name.trim_start_matches('@').split('.').next()?.parse().unwrap_or(0))
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = entries.filter(|path| version(path).is_some()).collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
    versions
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Returns the user that runs the server when the emulator runs as root. `initdb` requires a name, so a bare number
    /// is not sufficient.
    fn unprivileged() -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"].iter().find_map(|name| Self::in_passwd(&users, name))
    }

    fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then_some(Self { uid, gid })
        })
    }
}

/// The directory and the settings before the first process is started.
struct Prepared {
    directory: TempDir,
    binaries: PathBuf,
    user: Option<User>,
}

impl Prepared {
    fn new(binaries: PathBuf) -> Result<Self, StartError> {
        let directory = tempfile::Builder::new()
            .prefix("pgentra-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(PARENT_DIRECTORY)
            .map_err(StartError::io(format!("making a directory in {PARENT_DIRECTORY}")))?;
        let binaries = binaries.canonicalize().unwrap_or(binaries);
        // The creator of a directory is its owner.
        let is_root = directory.path().metadata().is_ok_and(|metadata| metadata.uid() == 0);
        let user = if is_root { Some(User::unprivileged().ok_or(StartError::NoUnprivilegedUser)?) } else { None };
        if let Some(user) = user {
            chown(directory.path(), Some(user.uid), Some(user.gid))
                .map_err(StartError::io("giving its directory away"))?;
        }
        let mut prepared = Self { directory, binaries, user };
        match prepared.try_binaries() {
            Err(error) if user.is_some() && error.kind() == io::ErrorKind::PermissionDenied => {
                prepared.copy_installation()?
            }
            other => {
                other.map_err(StartError::io(format!("running {}", prepared.binaries.join("postgres").display())))?
            }
        }
        Ok(prepared)
    }

    fn try_binaries(&self) -> io::Result<()> {
        let output = self.command(self.binaries.join("postgres")).arg("--version").stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(if reason.is_empty() { output.status.to_string() } else { reason }))
    }

    /// Copies an installation in root's home directory, which the unprivileged user cannot access.
    fn copy_installation(&mut self) -> Result<(), StartError> {
        let installation = self.binaries.parent().unwrap_or(&self.binaries).to_owned();
        let copy = self.directory.path().join("installation");
        copy_tree(&installation, &copy, self.user).map_err(StartError::io(format!(
            "copying {} to where an unprivileged user can run it",
            installation.display()
        )))?;
        self.binaries = copy.join(self.binaries.file_name().unwrap_or_default());
        self.try_binaries().map_err(StartError::io("running the copy of it that an unprivileged user can reach"))
    }

    /// Returns a command that runs as the server's user, in an environment without `PG*` variables and locales.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"];
        command
            .env_clear()
            .envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(self.directory.path());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn launch(self) -> Result<Server, StartError> {
        let mut socket_directory = OsString::from("unix_socket_directories=");
        socket_directory.push(self.directory.path());
        let mut command = self.command("/bin/sh");
        command
            .env("SUPERUSER", SUPERUSER)
            .args(["-c", KEEPER, "pgentra-emulator-keeper"])
            .arg(self.directory.path())
            .arg(&self.binaries)
            .arg("-c")
            .arg(socket_directory)
            .args(["-c", &format!("port={PORT}")])
            .args(OPTIONS.iter().flat_map(|option| ["-c", option]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal sends a signal to the emulator's process group.
            .process_group(0);
        let mut keeper = tokio::process::Command::from(command).spawn().map_err(StartError::io("running /bin/sh"))?;
        let Some(alive) = keeper.stdin.take() else {
            return Err(StartError::Io { action: "running /bin/sh".into(), source: io::ErrorKind::BrokenPipe.into() });
        };
        // From here on the keeper removes the directory.
        Ok(Server { directory: self.directory.keep(), binaries: self.binaries, keeper, _alive: alive })
    }
}

/// Copies a directory tree. The copy's directories belong to `owner`, which has to remove them.
fn copy_tree(from: &Path, to: &Path, owner: Option<User>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, owner)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    fs::set_permissions(to, Permissions::from_mode(0o755))?;
    owner.map_or(Ok(()), |owner| chown(to, Some(owner.uid), Some(owner.gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        for name in ["initdb", "postgres"] {
            fs::write(directory.join(name), "").unwrap();
        }
    }

    #[test]
    fn find_binaries_searches_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root: &'static Path = Box::leak(root.path().to_path_buf().into_boxed_path());
        let (explicit, in_path, packaged) = (root.join("explicit"), root.join("path"), root.join("packaged"));
        fs::create_dir_all(&in_path).unwrap();
        fs::write(in_path.join("psql"), "").unwrap();
        for version in ["9.6", "15", "17", "common"] {
            installation(&packaged.join(version).join("bin"));
        }
        let installations = [(Box::leak(packaged.display().to_string().into_boxed_str()) as &'static str, "", "bin")];
        let find = |explicit: Option<&Path>| {
            find_binaries(explicit.map(Path::as_os_str), Some(in_path.as_os_str()), &installations)
        };

        assert_eq!(find(None).unwrap(), packaged.join("17/bin"), "the newest, by number");
        installation(&in_path);
        assert_eq!(find(None).unwrap(), in_path, "PATH comes first");
        let error = find(Some(&explicit)).unwrap_err().to_string();
        assert!(error.contains("PGENTRA_POSTGRES_BIN") && error.contains("apt-get install"), "{error}");
        installation(&explicit);
        assert_eq!(find(Some(&explicit)).unwrap(), explicit);
    }

    #[test]
    fn find_binaries_error_contains_the_searched_directories() {
        let error = find_binaries(None, None, &INSTALLATIONS[1..2]).unwrap_err().to_string();
        assert!(error.contains("PATH, /usr/pgsql-*/bin"), "{error}");
    }

    /// As root, this also tests an installation that only root can access.
    #[tokio::test]
    async fn server_that_does_not_start_returns_the_reason_and_leaves_no_files() {
        for (initdb, postgres, reason) in [
            ("echo no space left; exit 1", "exit 0", "no space left"),
            (
                "exit 0",
                "test \"$1\" = --version && exit 0; echo out of shared memory >&2; exit 1",
                "out of shared memory",
            ),
            ("exit 0", "echo no such library >&2; exit 127", "no such library"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let binaries = root.path().join("bin");
            fs::create_dir(&binaries).unwrap();
            for (name, script) in [("initdb", initdb), ("postgres", postgres)] {
                fs::write(binaries.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
                fs::set_permissions(binaries.join(name), Permissions::from_mode(0o755)).unwrap();
            }
            let launched = Prepared::new(binaries).and_then(Prepared::launch);
            let (error, directory) = match launched {
                Ok(mut server) => (server.wait_until_ready().await.unwrap_err(), Some(server.directory.clone())),
                Err(error) => (error, None),
            };
            assert!(error.to_string().contains(reason), "{error}");
            assert!(directory.is_none_or(|directory| !directory.exists()), "{reason}: files are left");
        }
    }

    #[test]
    fn user_in_passwd_is_read_by_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nnobody2:x:7:7::/:\nnobody:x:65534:65533:nobody:/:/bin/false\nbroken:x\n";
        assert_eq!(User::in_passwd(passwd, "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(User::in_passwd(passwd, "root"), None);
        assert_eq!(User::in_passwd(passwd, "broken"), None);
        assert_eq!(User::in_passwd(passwd, "postgres"), None);
    }
}
