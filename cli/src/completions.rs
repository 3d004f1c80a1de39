//! `pgentra completions` and `pgentra man`: files for packages.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::{Failure, Result};

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The arguments of `man`.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// The directory to write to
    pub directory: PathBuf,
}

/// Prints the completions of a shell.
pub fn run(arguments: &Arguments, mut command: Command) {
    clap_complete::generate(arguments.shell, &mut command, "pgentra", &mut std::io::stdout());
}

/// Writes a man page for the program and one for each command.
///
/// # Errors
/// Fails if the directory cannot be written.
pub fn man(arguments: &ManArguments, command: Command) -> Result<()> {
    let written = std::fs::create_dir_all(&arguments.directory)
        .and_then(|()| clap_mangen::generate_to(command, &arguments.directory));
    written.map_err(|error| Failure::io(format!("cannot write to {}", arguments.directory.display()), &error))
}
