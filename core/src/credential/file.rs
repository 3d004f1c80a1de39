//! Reads files that contain secrets.

use std::{
    fs::File,
    io::{Error, ErrorKind, Read, Result},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{byte_order_mark::unmarked, secret::Secret};

/// Reads a regular file of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>> {
    let metadata = std::fs::metadata(path)?;
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    // The buffer must not grow, because that would leave a copy of the secret in memory.
    let size = usize::try_from(metadata.len().min(most)).unwrap_or(0);
    let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    match content.len() as u64 > most {
        true => Err(Error::other(format!("it is larger than {most} bytes"))),
        false => Ok(content),
    }
}

/// Reads a file as text, without a byte order mark and surrounding whitespace.
pub(super) fn read_text(path: &Path, most: u64) -> Result<Secret> {
    let content = read(path, most)?;
    let content = unmarked(&content).unwrap_or(content);
    let text = std::str::from_utf8(&content).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    Ok(Secret::new(text.trim()))
}
