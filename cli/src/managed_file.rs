//! Files that the program keeps for other programs: it writes only files that it has created, and removes them at its end.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Gid, flock};

use crate::{
    failure::{Failure, Result},
    private_file::write_atomically,
};

/// The first line of such a file.
const MARK: &str = "written by pgentra; do not edit";

/// The limit for a file that is merged.
const MAX_FILE: u64 = 1 << 20;

/// The form of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// libpq's password file.
    PasswordFile,
    /// The program's own lines, with this name, in a password file with other lines.
    MergedPasswordFile(String),
    /// The token alone. A second file has its digest.
    Token,
    /// PgBouncer's `auth_file`.
    PgBouncer,
    /// Lines NAME=VALUE.
    Variables,
}

/// Who can read the file.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The permissions.
    pub mode: u32,
    /// The group.
    pub group: Option<Gid>,
}

/// A file that is removed when this value is dropped.
pub struct ManagedFile {
    path: PathBuf,
    kind: Kind,
    access: Access,
    is_written: bool,
}

impl ManagedFile {
    /// Checks whether the file may be written.
    ///
    /// # Errors
    /// Fails for a file that the program did not create, for a link, and for a directory in which every user can write.
    pub fn new(path: &Path, kind: Kind, access: Access) -> Result<ManagedFile> {
        let shown = path.display();
        let refuse = |why: &str, advice: &str| Err(Failure::usage(format!("{shown} is refused: {why}"), advice));
        let name = path.file_name().ok_or_else(|| Failure::usage(format!("{shown} is not a file"), "Pass a file."))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(|error| Failure::io(parent.display(), &error))?;
        let file = ManagedFile { path: parent.join(name), kind, access, is_written: false };
        let folder = fs::metadata(&parent).map_err(|error| Failure::io(parent.display(), &error))?;
        if folder.mode() & 0o002 != 0 {
            return refuse("every user can write to its directory", "Use a directory of the reader's own.");
        }
        for path in [&file.path, &file.companion()] {
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_symlink() => {
                    return refuse("it is a symbolic link", "Pass the file that it points to.");
                }
                Ok(metadata) if !metadata.is_file() => return refuse("it is not a regular file", "Pass another file."),
                _ => {}
            }
        }
        if file.kind == Kind::Token && !is_absent_or_digests(&file.companion()) {
            return refuse("another program uses the file of its digest", "Pass another file.");
        }
        if !file.is_absent()? && !file.is_ours()? {
            return match file.kind {
                Kind::PasswordFile => refuse(
                    "pgentra did not create it",
                    "Add --merge to add lines to it, or pass a file that does not exist.",
                ),
                Kind::MergedPasswordFile(_) => refuse(
                    "it belongs to another user, is too large, or the lines of pgentra in it are not complete",
                    "Correct the file, or pass another one.",
                ),
                _ => refuse("pgentra did not create it", "Pass a file that does not exist."),
            };
        }
        Ok(file)
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the form.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns whether the file is on a file system in memory, as far as this is known.
    pub fn is_in_memory(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            /// tmpfs and ramfs, of linux/magic.h.
            const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
            let parent = self.path.parent().unwrap_or(Path::new("/"));
            #[allow(clippy::useless_conversion, reason = "the type differs between processors")]
            return rustix::fs::statfs(parent).is_ok_and(|found| IN_MEMORY.contains(&i64::from(found.f_type)));
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Replaces the contents.
    ///
    /// # Errors
    /// Fails if the file was replaced by another program, or cannot be written. The old contents remain then.
    pub fn write(&mut self, contents: &str) -> Result<()> {
        let failed = |error: io::Error| Failure::io(format!("cannot write {}", self.path.display()), &error);
        let _locked = self.lock().map_err(failed)?;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_symlink())
            || !(self.is_absent()? || self.is_ours()?)
        {
            let message = format!("{} was replaced by another program", self.path.display());
            return Err(Failure::usage(message, "Pass a file that only pgentra writes."));
        }
        let contents = match &self.kind {
            Kind::PasswordFile | Kind::Variables => format!("# {MARK}\n{contents}"),
            Kind::PgBouncer => format!("; {MARK}\n{contents}"),
            Kind::MergedPasswordFile(name) => merged(&self.read().map_err(failed)?, name, contents),
            Kind::Token => {
                // Both digests, so that the program recognises the file even if it is killed before the file is replaced.
                let before = fs::read(&self.path).unwrap_or_default();
                self.write_digests(&[contents.as_bytes(), &before]).map_err(failed)?;
                contents.to_owned()
            }
        };
        let contents = zeroize::Zeroizing::new(contents);
        let access = self.access;
        write_atomically(&self.path, contents.as_bytes(), |file| set_access(file, access)).map_err(failed)?;
        if self.kind == Kind::Token {
            self.write_digests(&[contents.as_bytes()]).map_err(failed)?;
        }
        self.is_written = true;
        Ok(())
    }

    fn write_digests(&self, contents: &[&[u8]]) -> io::Result<()> {
        let lines: String = contents.iter().map(|contents| digest(contents) + "\n").collect();
        write_atomically(&self.companion(), lines.as_bytes(), |_| Ok(()))
    }

    /// Excludes other processes that merge into the same file.
    fn lock(&self) -> io::Result<File> {
        let folder = File::open(self.path.parent().unwrap_or(Path::new("/")))?;
        flock(&folder, FlockOperation::LockExclusive)?;
        Ok(folder)
    }

    fn companion(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".pgentra");
        name.into()
    }

    fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        }
    }

    fn is_absent(&self) -> Result<bool> {
        let found = self.path.try_exists().map_err(|error| Failure::io(self.path.display(), &error))?;
        Ok(!found)
    }

    /// Returns whether the program has created the file, or may merge into it.
    fn is_ours(&self) -> Result<bool> {
        let failed = |error: io::Error| Failure::io(self.path.display(), &error);
        let metadata = fs::metadata(&self.path).map_err(failed)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.len() > MAX_FILE {
            return Ok(false);
        }
        let contents = fs::read(&self.path).map_err(failed)?;
        let begins = |mark: &str| contents.starts_with(format!("{mark} {MARK}\n").as_bytes());
        Ok(match &self.kind {
            Kind::PasswordFile | Kind::Variables => begins("#"),
            Kind::PgBouncer => begins(";"),
            Kind::MergedPasswordFile(name) => {
                std::str::from_utf8(&contents).is_ok_and(|text| split(text, name).is_some())
            }
            Kind::Token => {
                let digests = fs::read_to_string(self.companion()).unwrap_or_default();
                digests.lines().any(|line| line == digest(&contents))
            }
        })
    }

    fn remove(&self) -> io::Result<()> {
        let _locked = self.lock()?;
        if !self.is_ours().unwrap_or(false) {
            return Ok(());
        }
        if let Kind::MergedPasswordFile(name) = &self.kind {
            let text = self.read()?;
            let (before, after) = split(&text, name).unwrap_or((&text, ""));
            let rest = format!("{before}{after}");
            if !rest.is_empty() {
                let access = self.access;
                return write_atomically(&self.path, rest.as_bytes(), |file| set_access(file, access));
            }
        }
        fs::remove_file(&self.path)?;
        match self.kind {
            Kind::Token => fs::remove_file(self.companion()),
            _ => Ok(()),
        }
    }
}

impl Drop for ManagedFile {
    fn drop(&mut self) {
        if !self.is_written {
            return;
        }
        if let Err(error) = self.remove() {
            eprintln!("pgentra: warning: {} was not removed: {error}", self.path.display());
        }
    }
}

fn set_access(file: &File, access: Access) -> io::Result<()> {
    if let Some(group) = access.group {
        rustix::fs::fchown(file, None, Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))
}

fn begin(name: &str) -> String {
    format!("# begin {name}: {MARK}\n")
}

fn end(name: &str) -> String {
    format!("# end {name}: {MARK}\n")
}

/// Returns the text before and after the program's own lines; without such lines, nothing and the whole text. Returns
/// `None` if the lines are not complete.
fn split<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (begin, end) = (begin(name), end(name));
    match (at_line(text, &begin), at_line(text, &end)) {
        (None, None) => Some(("", text)),
        (Some(first), Some(last)) if first < last => Some((&text[..first], &text[last + end.len()..])),
        _ => None,
    }
}

fn at_line(text: &str, line: &str) -> Option<usize> {
    let mut found = text.match_indices(line).map(|(at, _)| at);
    found.find(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// Returns the text with the program's own lines replaced. New ones come first, because libpq uses the first line that
/// matches.
fn merged(text: &str, name: &str, lines: &str) -> String {
    let (before, after) = split(text, name).unwrap_or(("", text));
    format!("{before}{}{lines}{}{after}", begin(name), end(name))
}

/// Returns the SHA-256 in hexadecimal digits.
fn digest(contents: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, contents);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns whether a file does not exist or contains digests only.
fn is_absent_or_digests(path: &Path) -> bool {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().all(|line| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit())),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Reads octal permissions. Other users must not read a token.
///
/// # Errors
/// Fails for another text, and for permissions of other users.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_| "not an octal number".to_owned())?;
    match mode {
        _ if mode & 0o7 != 0 => Err("other users could read or change the token".to_owned()),
        _ if mode & 0o600 != 0o600 => Err("the owner must be able to read and write".to_owned()),
        _ if mode & !0o660 != 0 => Err("only permissions to read and write are possible".to_owned()),
        _ => Ok(mode),
    }
}

/// Returns the number of a group. Names are looked up in `/etc/group`.
///
/// # Errors
/// Fails for a name that is not there.
pub fn group_of(name: &str) -> Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let groups = fs::read_to_string("/etc/group").map_err(|error| Failure::io("/etc/group", &error))?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    let missing =
        || Failure::usage(format!("there is no group {name:?} in /etc/group"), "Pass the number of the group.");
    number.map(Gid::from_raw).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access { mode: 0o600, group: None };

    fn open(path: &Path, kind: Kind) -> Result<ManagedFile> {
        ManagedFile::new(path, kind, ACCESS)
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("readable")
    }

    #[test]
    fn managed_file_of_each_kind_is_recognised_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        for kind in [Kind::PasswordFile, Kind::Token, Kind::PgBouncer, Kind::Variables] {
            let path = folder.path().join("file");
            let mut file = open(&path, kind.clone()).expect("absent");
            file.write("one").expect("written");
            assert_eq!(fs::metadata(&path).expect("exists").mode() & 0o777, 0o600);
            // As after a SIGKILL.
            std::mem::forget(file);
            let mut file = open(&path, kind.clone()).expect("its own");
            file.write("two").expect("written");
            assert!(read(&path).ends_with("two"), "{kind:?}");
            drop(file);
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{kind:?}");
        }
    }

    #[test]
    fn managed_file_of_another_program_is_refused_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "precious").expect("written");
        for kind in [Kind::PasswordFile, Kind::Token, Kind::PgBouncer] {
            assert!(open(&path, kind).is_err());
        }
        assert_eq!(read(&path), "precious");
        fs::write(&path, "").expect("written");
        assert!(open(&path, Kind::Token).is_err(), "an empty file of another program");
        fs::remove_file(&path).expect("removed");
        fs::write(folder.path().join("file.pgentra"), "precious").expect("written");
        assert!(open(&path, Kind::Token).is_err(), "a digest of another program");
        fs::remove_file(folder.path().join("file.pgentra")).expect("removed");
        let mut file = open(&path, Kind::Token).expect("absent");
        file.write("token").expect("written");
        let own = open(&path, Kind::Token).expect("its own");
        own.write_digests(&[b"a newer token", b"token"]).expect("written");
        assert!(own.is_ours().expect("readable"), "killed before the file was replaced");
        fs::write(&path, "precious").expect("written");
        assert!(file.write("newer").is_err());
        drop(file);
        assert_eq!(read(&path), "precious");
    }

    #[test]
    fn managed_file_through_links_and_open_folders_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, target) = (folder.path().join("link"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).expect("linked");
        assert!(open(&path, Kind::Token).err().expect("refused").to_string().contains("symbolic link"));
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&target, folder.path().join("link.pgentra")).expect("linked");
        assert!(open(&path, Kind::Token).is_err());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).expect("changed");
        assert!(open(&target, Kind::Token).err().expect("refused").to_string().contains("every user"));
    }

    #[test]
    fn managed_file_that_is_merged_keeps_the_other_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        let others = "# mine\nh:5432:*:me:secret-of-me\nno newline at the end";
        fs::write(&path, others).expect("written");
        let kind = |name: &str| Kind::MergedPasswordFile(name.to_owned());
        let mut one = open(&path, kind("a:1")).expect("merges");
        let mut other = open(&path, kind("b:1")).expect("merges");
        one.write("line 1\n").expect("written");
        other.write("line 2\n").expect("written");
        one.write("line 3\n").expect("written");
        let text = read(&path);
        assert!(text.ends_with(others) && text.contains("\nline 2\n") && text.contains("\nline 3\n"), "{text}");
        assert!(!text.contains("line 1"), "{text}");
        drop(one);
        drop(other);
        assert_eq!(read(&path), others);
        fs::write(&path, begin("a:1")).expect("written");
        assert!(open(&path, kind("a:1")).is_err(), "the end is missing");
    }

    #[test]
    fn parse_mode_accepts_no_other_users() {
        for (text, mode) in [("600", Some(0o600)), ("0640", Some(0o640)), ("0o660", Some(0o660))] {
            assert_eq!(parse_mode(text).ok(), mode, "{text}");
        }
        for text in ["644", "400", "700", "x", "604", "2640", ""] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn group_of_names_and_numbers() {
        assert_eq!(group_of("7").expect("a number").as_raw(), 7);
        assert_eq!(group_of("root").expect("a name").as_raw(), 0);
        assert!(group_of("no-such-group").is_err());
    }
}
