//! Files with secrets that this program reads, and reads again when they change.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file that other users must not be able to read: one of this user with mode 0600 or less, or one of root that
/// its group may read, as PostgreSQL requires for keys.
///
/// # Errors
/// Fails if the file cannot be read or if others can read it. The error names the file as `what`.
pub fn read_private(what: &str, path: &Path) -> Result<Zeroizing<String>> {
    let what = format!("{what} {}", path.display());
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("{what} cannot be read: {error}"), "Correct the option or the file's permissions.")
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    let own = geteuid().as_raw();
    let for_others = match metadata.uid() {
        uid if uid == own => 0o077,
        0 => 0o037,
        uid => {
            return Err(Failure::usage(
                format!("{what} belongs to the user id {uid}"),
                "It must belong to the user of this process, or to root.",
            ));
        }
    };
    if !metadata.is_file() {
        return Err(unreadable(&"it is not a file"));
    }
    if metadata.mode() & for_others != 0 {
        return Err(Failure::usage(
            format!("{what} can be read or written by other users (mode {:04o})", metadata.mode() & 0o7777),
            "Change its mode to 0600, or to 0640 if it belongs to root.",
        ));
    }
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0) + 1));
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(&"it is larger than 1 MB"));
    }
    Ok(text)
}

/// What shows that a file was changed or replaced.
type Version = Option<(u64, u64, i64, i64, i64, i64, u64)>;

fn version(path: &Path) -> Version {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec(), found.len()))
}

/// A value that was made from files, and is made again when one of them has changed.
///
/// Each use compares the files' metadata, which takes about a microsecond. This also works where files are replaced by
/// links, as Kubernetes does, and needs no signal.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T> + Send + Sync>,
    current: Mutex<(Vec<Version>, Arc<T>)>,
}

impl<T> Reloaded<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn new(paths: Vec<PathBuf>, make: impl Fn() -> Result<T> + Send + Sync + 'static) -> Result<Reloaded<T>> {
        // The versions come first, so that a change in between is noticed.
        let versions = paths.iter().map(|path| version(path)).collect();
        let value = Arc::new(make()?);
        Ok(Reloaded { paths, make: Box::new(make), current: Mutex::new((versions, value)) })
    }

    /// Returns whether a file has changed since the value was made.
    pub fn is_changed(&self) -> bool {
        let versions: Vec<Version> = self.paths.iter().map(|path| version(path)).collect();
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0 != versions
    }

    /// Returns the value. If it cannot be made again, the old one stays, and a warning names the reason once.
    pub fn get(&self) -> Arc<T> {
        let versions: Vec<Version> = self.paths.iter().map(|path| version(path)).collect();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != versions {
            match (self.make)() {
                Ok(value) => current.1 = Arc::new(value),
                Err(failure) => {
                    eprintln!("pgentra: warning: {}; the earlier contents stay in use", failure.headline());
                }
            }
            current.0 = versions;
        }
        Arc::clone(&current.1)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn read_private_refuses_files_of_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "canary").expect("written");
        for (mode, is_read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            let outcome = read_private("the file", &path);
            assert_eq!(outcome.is_ok(), is_read, "{mode:o}");
            if let Err(failure) = outcome {
                assert!(failure.to_string().contains("0600") && !failure.to_string().contains("canary"), "{failure}");
            }
        }
        assert!(read_private("the file", directory.path()).is_err());
        assert!(read_private("the file", &directory.path().join("missing")).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&path, vec![b'a'; (1 << 20) + 1]).expect("written");
        assert!(read_private("the file", &path).is_err());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).expect("given");
            assert!(read_private("the file", &path).expect_err("refused").to_string().contains("user id 65534"));
        }
    }

    #[test]
    fn reloaded_follows_changes_and_keeps_the_last_good_value() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "1").expect("written");
        let read = path.clone();
        let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let value = Reloaded::new(vec![path.clone()], move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let text = fs::read_to_string(&read).map_err(|error| Failure::io("x", &error))?;
            text.parse::<u32>().map_err(|_| Failure::usage("not a number", ""))
        })
        .expect("made");
        assert_eq!((*value.get(), *value.get()), (1, 1));
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 1);
        // Replaced, as editors and Kubernetes do.
        let replace = |text: &str| {
            fs::write(directory.path().join("new"), text).expect("written");
            fs::rename(directory.path().join("new"), &path).expect("renamed");
        };
        replace("22");
        assert_eq!(*value.get(), 22);
        replace("wrong");
        assert_eq!((*value.get(), *value.get()), (22, 22));
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 3);
        fs::remove_file(&path).expect("removed");
        assert_eq!(*value.get(), 22);
        replace("4");
        assert_eq!(*value.get(), 4);
    }
}
