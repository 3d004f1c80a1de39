//! `pgentra exec`: runs a program that logs in with the identity.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use crate::{
    failure::Result,
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
};

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// How the program gets the token
    #[arg(long, value_enum, default_value_t)]
    pub via: Via,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// How the program gets the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// In a private password file, which is renewed while the program runs
    #[default]
    Passfile,
    /// In PGPASSWORD, which is never renewed
    Env,
}

/// Runs the command.
///
/// # Errors
/// Fails if the program cannot be started.
pub fn run(_: &Arguments) -> Result<u8> {
    todo!()
}
