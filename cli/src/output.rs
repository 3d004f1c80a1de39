//! What the commands print.

use std::io::Write;

use crate::{
    failure::{Failure, Result},
    options::OutputOptions,
};

/// Prints text and a newline on standard output.
///
/// # Errors
/// Fails if standard output is closed.
pub fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    let written =
        output.write_all(text.as_bytes()).and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush());
    written.map_err(|error| Failure::io("standard output cannot be written", &error))
}

/// Prints an error on standard error.
pub fn report(failure: &Failure, output: &OutputOptions) {
    // A closed standard error leaves the exit code.
    let _ = match output.json {
        true => writeln!(std::io::stderr(), "{}", failure.document()),
        false => writeln!(std::io::stderr(), "pgentra: {failure}"),
    };
}
