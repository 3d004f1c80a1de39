//! Unix sockets.
use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::failure::{Failure, Result};

pub fn default_directory(host: &str) -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join("pgentra").join(host)
}

pub struct UnixSocket {
    listener: UnixListener,
    directory: PathBuf,
    path: PathBuf,
}

impl UnixSocket {
    pub fn bind(directory: &Path, port: u16) -> Result<UnixSocket> {
        let _ = fs::DirBuilder::new().mode(0o700).recursive(true).create(directory);
        let path = directory.join(format!(".s.PGSQL.{port}"));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|error| Failure::io(path.display(), &error))?;
        Ok(UnixSocket { listener, directory: directory.to_owned(), path })
    }

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
