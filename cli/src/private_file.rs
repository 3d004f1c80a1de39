//! Files and directories that only this user can read, which end with this process.
//!
//! They are in a directory of this user's own, on a file system in memory if there is one. A lock file next to each shows
//! that its process lives; the next start removes the files of processes that were killed.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};

use crate::failure::{Failure, Result};

/// The suffix of the lock file.
const LOCK: &str = ".lock";

/// A file that is removed when this value is dropped.
pub struct PrivateFile {
    path: PathBuf,
    lock: PathBuf,
    /// Open as long as the file is in use.
    _locked: File,
}

impl PrivateFile {
    /// Creates a file with these contents. Removes files of earlier processes that no longer live.
    ///
    /// # Errors
    /// Fails if no directory can be used.
    pub fn create(name: &str, contents: &str) -> Result<PrivateFile> {
        let directory = directory().map_err(|error| Failure::io("no directory for a private file", &error))?;
        remove_left_over(&directory);
        let created = lock_in(&directory, name).and_then(|(locked, lock)| {
            let path = lock.with_extension("");
            let file = PrivateFile { path, lock, _locked: locked };
            file.replace(contents).map(|()| file)
        });
        created.map_err(|error| Failure::io(format!("cannot write to {}", directory.display()), &error))
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the contents. A reader sees the old or the new ones, and nothing in between.
    ///
    /// # Errors
    /// Fails if the file cannot be written. The old one remains then.
    pub fn replace(&self, contents: &str) -> io::Result<()> {
        write_atomically(&self.path, contents.as_bytes(), |_| Ok(()))
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.lock);
    }
}

/// An empty directory that is removed with its contents when this value is dropped.
pub struct PrivateDirectory {
    path: PathBuf,
    lock: PathBuf,
    /// Open as long as the directory is in use.
    _locked: File,
}

impl PrivateDirectory {
    /// Creates a directory. Removes what earlier processes that no longer live have left.
    ///
    /// # Errors
    /// Fails if no directory can be used.
    pub fn create(name: &str) -> Result<PrivateDirectory> {
        let parent = directory().map_err(|error| Failure::io("no directory for a private one", &error))?;
        remove_left_over(&parent);
        let created = lock_in(&parent, name).and_then(|(locked, lock)| {
            let path = lock.with_extension("");
            let directory = PrivateDirectory { path, lock, _locked: locked };
            fs::DirBuilder::new().mode(0o700).create(&directory.path).map(|()| directory)
        });
        created.map_err(|error| Failure::io(format!("cannot write to {}", parent.display()), &error))
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Writes a new file that only this user can read, passes it to `change`, and renames it to `path`.
///
/// # Errors
/// Fails if the file cannot be written. An old one remains then.
pub fn write_atomically(path: &Path, contents: &[u8], change: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its permissions are 0600.
    let mut file = tempfile::Builder::new().prefix(".pgentra-").tempfile_in(directory)?;
    io::Write::write_all(&mut file, contents)?;
    change(file.as_file())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Creates a lock file with a random name and locks it.
fn lock_in(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    loop {
        let file = tempfile::Builder::new().prefix(&format!("{name}-")).suffix(LOCK).tempfile_in(directory)?;
        let (file, path) = file.keep().map_err(|error| error.error)?;
        flock(&file, FlockOperation::LockExclusive)?;
        // Another process may have removed the file before it was locked.
        if file.metadata()?.nlink() > 0 {
            return Ok((file, path));
        }
    }
}

/// Returns the directory for private files of this user. It is created if it is missing.
fn directory() -> io::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let candidates =
        [variable("XDG_RUNTIME_DIR"), Some("/dev/shm".into()), variable("TMPDIR"), Some(std::env::temp_dir())];
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for parent in candidates.into_iter().flatten() {
        match own_directory(&parent) {
            Ok(directory) => return Ok(directory),
            Err(error) => failure = io::Error::new(error.kind(), format!("{}: {error}", parent.display())),
        }
    }
    Err(failure)
}

fn own_directory(parent: &Path) -> io::Result<PathBuf> {
    if !parent.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let user = geteuid().as_raw();
    let directory = parent.join(format!("pgentra-{user}"));
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In a directory of all users, another user can have created it first, or a link.
    let metadata = fs::symlink_metadata(&directory)?;
    if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
        let message = format!("{} is not a private directory of this user", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(directory)
}

/// Removes the files whose processes no longer hold their locks.
fn remove_left_over(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for lock in entries.flatten().map(|entry| entry.path()) {
        let is_lock = lock.to_string_lossy().ends_with(LOCK);
        let Some(file) = is_lock.then(|| File::open(&lock).ok()).flatten() else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let left = lock.with_extension("");
            let _ = if left.is_dir() { fs::remove_dir_all(&left) } else { fs::remove_file(&left) };
            let _ = fs::remove_file(&lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remove_left_over_keeps_files_in_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let (locked, lock) = lock_in(directory.path(), "pgpass").expect("locked");
        let used = lock.with_extension("");
        fs::write(&used, "used").expect("written");
        fs::write(directory.path().join("pgpass-killed"), "left").expect("written");
        fs::write(directory.path().join("pgpass-killed.lock"), "").expect("written");
        fs::write(directory.path().join("other"), "other").expect("written");
        remove_left_over(directory.path());
        let names = || {
            let entries = fs::read_dir(directory.path()).expect("readable");
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            names.sort();
            names
        };
        let mut expected = vec![directory.path().join("other"), used.clone(), lock.clone()];
        expected.sort();
        assert_eq!(names(), expected);
        drop(locked);
        // A process that another test is starting shares the lock until it runs its program.
        for _ in 0..1000 {
            remove_left_over(directory.path());
            if names().len() == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(names(), [directory.path().join("other")]);
    }

    #[test]
    fn private_directory_left_over_is_removed_with_its_contents() {
        let parent = tempfile::tempdir().expect("a directory");
        fs::create_dir(parent.path().join("proxy-killed")).expect("created");
        fs::write(parent.path().join("proxy-killed/.s.PGSQL.5432"), "").expect("written");
        fs::write(parent.path().join("proxy-killed.lock"), "").expect("written");
        remove_left_over(parent.path());
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
    }

    #[test]
    fn own_directory_of_another_mode_or_a_link_is_refused() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = own_directory(parent.path()).expect("created");
        assert_eq!(fs::metadata(&directory).expect("exists").mode() & 0o777, 0o700);
        assert_eq!(own_directory(parent.path()).expect("exists"), directory);
        fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
        assert_eq!(own_directory(parent.path()).expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
        fs::remove_dir(&directory).expect("removed");
        std::os::unix::fs::symlink("/tmp", &directory).expect("linked");
        assert_eq!(own_directory(parent.path()).expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn private_file_is_private_and_ends_with_its_value() {
        let file = PrivateFile::create("test", "one").expect("created");
        let path = file.path().to_owned();
        assert_eq!(fs::metadata(&path).expect("exists").mode() & 0o777, 0o600);
        file.replace("two").expect("replaced");
        assert_eq!(fs::metadata(&path).expect("exists").mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).expect("readable"), "two");
        let lock = file.lock.clone();
        drop(file);
        assert!(!path.exists() && !lock.exists());
    }
}
