//! `pgentra whoami`: shows the identity, the credential and the role. The server is not asked.

use clap::Args;

use crate::{
    failure::Result,
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
};

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command.
///
/// # Errors
/// Fails without a token.
pub fn run(_: &Arguments) -> Result<()> {
    todo!()
}
