//! The Unix socket of a proxy, which only its user can reach.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use tokio::net::UnixListener;

use crate::failure::{Exit, Failure, Result};

/// The longest path that every system accepts for a socket, without the final NUL.
const MAX_PATH: usize = 103;

/// Returns the directory of the socket for a server: in `$XDG_RUNTIME_DIR`, otherwise in the directory for temporary
/// files.
pub fn default_directory(host: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = match runtime {
        Some(path) => path.join("pgentra"),
        None => std::env::temp_dir().join(format!("pgentra-{}", geteuid().as_raw())),
    };
    parent.join(file_name(host))
}

/// Returns a host in the form of a file name.
fn file_name(host: &str) -> String {
    let plain =
        |character: char| if character.is_ascii_alphanumeric() || ".-:".contains(character) { character } else { '_' };
    let name: String = host.to_ascii_lowercase().chars().map(plain).collect();
    let is_special = name.is_empty() || name.starts_with('.');
    if is_special { format!("_{name}") } else { name }
}

/// A listening socket with the name that libpq expects. The socket and its lock file are removed when this is dropped.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    lock: PathBuf,
    /// Locked as long as the process uses the socket.
    _locked: File,
}

impl UnixSocket {
    /// Creates the socket `.s.PGSQL.PORT` in a private directory, which is created if it is missing. A socket that an
    /// ended process has left is replaced. Must be called within a runtime.
    ///
    /// # Errors
    /// Fails if the directory is another user's or can be used by other users, if another process listens there, or if
    /// the path is too long for a socket.
    pub fn bind(directory: &Path, port: u16) -> Result<UnixSocket> {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        if path.as_os_str().len() > MAX_PATH {
            return Err(Failure::usage(
                format!("the path of the socket {} has more than {MAX_PATH} bytes", path.display()),
                "Select a shorter directory with --listen unix:DIR.",
            ));
        }
        private_directory(directory)?;
        let failed = |error: io::Error| Failure::io(format!("cannot listen at {}", path.display()), &error);
        let lock = directory.join(format!(".s.PGSQL.{port}.lock"));
        let locked = lock_file(&lock).map_err(failed)?.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "io",
                format!("cannot listen at {}: another process listens there", path.display()),
                "Stop the other proxy, or select another directory or port with --listen unix:DIR:PORT.",
            )
        })?;
        remove_stale(&path).map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let socket = UnixSocket { listener, path, lock, _locked: locked };
        // Until here, the directory keeps other users out.
        fs::set_permissions(&socket.path, Permissions::from_mode(0o600))
            .map_err(|error| Failure::io(socket.path.display(), &error))?;
        Ok(socket)
    }

    /// Returns the listener.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Creates the directory and its missing parents, and checks that only this user can use it.
fn private_directory(directory: &Path) -> Result<()> {
    let failed =
        |error: io::Error| Failure::io(format!("the directory {} cannot be used", directory.display()), &error);
    if !directory.is_absolute() {
        return Err(Failure::usage(
            format!("the directory of the socket is not an absolute path: {}", directory.display()),
            "Correct --listen unix:DIR.",
        ));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let metadata = fs::symlink_metadata(directory).map_err(failed)?;
    let refused = |what: String| {
        Failure::usage(
            format!("the directory {} {what}", directory.display()),
            "Select another directory with --listen unix:DIR; it is created. An existing one must belong to this user \
             and have mode 0700.",
        )
    };
    if !metadata.is_dir() {
        return Err(refused("is not a directory, but a link or a file".to_owned()));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(refused(format!("belongs to the user id {}", metadata.uid())));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refused(format!("can be used by other users (mode {:04o})", metadata.mode() & 0o7777)));
    }
    Ok(())
}

/// Locks a file, which is created if it is missing. Returns `None` if another process has locked it.
fn lock_file(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        // The process that held the lock may have removed the file before it was locked here.
        let current = fs::symlink_metadata(path).map(|metadata| metadata.ino()).ok();
        if current == Some(file.metadata()?.ino()) {
            return Ok(Some(file));
        }
    }
}

/// Removes a socket that no process uses. Something else is not removed.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::{fs::FileTypeExt, net::UnixStream};
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is there"))
        }
        // A program without this lock file, such as PostgreSQL, may listen.
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(directory: &Path, port: u16) -> String {
        UnixSocket::bind(directory, port).map(drop).expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn unix_socket_is_private_and_removed_at_the_end() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("a/b");
        let socket = UnixSocket::bind(&directory, 5432).expect("bound");
        let mode = |path: &Path| fs::metadata(path).expect("exists").mode() & 0o777;
        assert_eq!((mode(&directory), mode(&parent.path().join("a")), mode(socket.path())), (0o700, 0o700, 0o600));
        assert!(std::os::unix::net::UnixStream::connect(socket.path()).is_ok());
        assert_eq!(socket.path(), directory.join(".s.PGSQL.5432"));
        drop(socket);
        assert_eq!(fs::read_dir(&directory).expect("readable").count(), 0);
    }

    #[tokio::test]
    async fn unix_socket_of_a_living_process_is_refused_and_a_stale_one_replaced() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("s");
        let socket = UnixSocket::bind(&directory, 1).expect("bound");
        assert!(error_of(&directory, 1).contains("another process listens there"));
        let other = UnixSocket::bind(&directory, 2).expect("another port");
        drop((socket, other));
        // A killed process leaves both files, the lock file unlocked.
        drop(std::os::unix::net::UnixListener::bind(directory.join(".s.PGSQL.1")).expect("bound"));
        fs::write(directory.join(".s.PGSQL.1.lock"), "").expect("written");
        let socket = UnixSocket::bind(&directory, 1).expect("replaced");
        assert!(std::os::unix::net::UnixStream::connect(socket.path()).is_ok());
        // Another program has no lock file.
        let _other = std::os::unix::net::UnixListener::bind(directory.join(".s.PGSQL.3")).expect("bound");
        assert!(error_of(&directory, 3).contains("another process listens there"));
        fs::write(directory.join(".s.PGSQL.4"), "precious").expect("written");
        assert!(error_of(&directory, 4).contains("not a socket"));
        assert_eq!(fs::read(directory.join(".s.PGSQL.4")).expect("kept"), b"precious");
    }

    #[tokio::test]
    async fn unix_socket_in_a_directory_of_others_is_refused() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("s");
        drop(UnixSocket::bind(&directory, 1).expect("bound"));
        for mode in [0o701, 0o750, 0o770, 0o1777] {
            fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("changed");
            assert!(error_of(&directory, 1).contains("can be used by other users"), "{mode:o}");
        }
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("changed");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).expect("linked");
        assert!(error_of(&link, 1).contains("not a directory"));
        fs::write(parent.path().join("file"), "").expect("written");
        UnixSocket::bind(&parent.path().join("file"), 1).map(drop).expect_err("refused");
        assert!(error_of(Path::new("relative"), 1).contains("not an absolute path"));
        assert!(error_of(&parent.path().join("x".repeat(120)), 1).contains("more than 103 bytes"));
        // Only root can give a directory to another user.
        if geteuid().is_root() {
            std::os::unix::fs::chown(&directory, Some(65_534), None).expect("given");
            assert!(error_of(&directory, 1).contains("belongs to the user id 65534"));
        }
    }

    #[test]
    fn file_name_is_inside_the_directory() {
        for (host, name) in [
            ("Shop.postgres.database.azure.com", "shop.postgres.database.azure.com"),
            ("::1", "::1"),
            ("..", "_.."),
            (".", "_."),
            ("", "_"),
            ("/run/postgresql", "_run_postgresql"),
            ("a/../b\0", "a_.._b_"),
        ] {
            assert_eq!(file_name(host), name);
        }
    }
}
