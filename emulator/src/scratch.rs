//! The emulator's temporary directory. It is removed when the emulator ends, or after a crash when the next emulator
//! starts.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "pgentra-emulator-";
/// A file that is locked while its directory is in use. The kernel unlocks it however its process ends.
const LOCK_FILE: &str = "lock";

pub(crate) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// Creates a directory, and removes those of emulators that have ended.
    pub(crate) fn new() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        // Programs of other users can need its contents.
        let directory =
            tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o755)).tempdir_in(parent)?;
        // The file is locked before it gets its name, so that other processes never find it unlocked.
        let lock = tempfile::NamedTempFile::new_in(directory.path())?;
        if !try_lock(lock.as_file()) {
            return Err(io::Error::other("cannot lock a file in the temporary directory"));
        }
        let lock = lock.persist(directory.path().join(LOCK_FILE)).map_err(|error| error.error)?;
        Ok(Self { directory, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories of emulators that have ended. Entries that cannot be read or removed belong to other users
/// and are skipped.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && File::open(entry.path().join(LOCK_FILE)).is_ok_and(|lock| try_lock(&lock)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn try_lock(file: &File) -> bool {
    // SAFETY: `flock` has no memory effects, and the descriptor is open for as long as `file` lives.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_removes_only_abandoned_directories() {
        let alive = Scratch::new().unwrap();
        let abandoned = Scratch::new().unwrap();
        let path = abandoned.directory.keep();
        drop(abandoned._lock);
        let _next = Scratch::new().unwrap();
        assert!(alive.path().exists() && !path.exists());
    }
}
