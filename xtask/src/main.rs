//! Writes the files of this repository that are generated: `cargo xtask generate`, `cargo xtask header`.
//!
//! With `--check` a command compares the file with what it would write, and fails if they differ.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod generate;
mod header;
mod options;

const USAGE: &str = "\
usage: cargo xtask COMMAND [--check]

  generate    writes docs/errors.md, docs/config.schema.json and the tables of options in the pages of the languages from
              the crate pgentra, and the file of certificate authorities in the Python package
  header      writes bindings-c/include/pgentra.h from the exports of libpgentra

With --check nothing is written; the exit status is 1 if a file is out of date.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, check) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [command] => (command, false),
        [command, "--check"] => (command, true),
        _ => return usage(),
    };
    let files = match command {
        "generate" => generate::files().into_iter().chain(options::files(&root())).collect(),
        "header" => vec![header::file(&root())],
        _ => return usage(),
    };
    let mut stale = false;
    for (name, text) in files {
        stale |= !update(name, &text, command, check);
    }
    ExitCode::from(u8::from(stale))
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes a file if its content differs. Returns `false` if it differs and only a check was requested.
fn update(name: &str, text: &str, command: &str, check: bool) -> bool {
    let path = root().join(name);
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return true;
    }
    if check {
        eprintln!("{name} is out of date: run `cargo xtask {command}`");
        return false;
    }
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{name} cannot be written: {error}"));
    true
}
