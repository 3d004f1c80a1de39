//! `pgentra psql`: a short form of `pgentra exec --via proxy -- psql`.

use std::ffi::OsString;

use clap::Args;

use crate::{
    exec,
    failure::Result,
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
};

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
    /// SERVER, unless the first one begins with a hyphen, and psql's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "[SERVER] [ARGUMENT]...")]
    pub arguments: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// Those of [`exec::run`].
pub fn run(arguments: &Arguments) -> Result<u8> {
    let is_server = |first: &OsString| !first.to_string_lossy().starts_with('-');
    let (server, rest) = match arguments.arguments.split_first() {
        Some((first, rest)) if is_server(first) => (Some(first.to_string_lossy().into_owned()), rest),
        _ => (None, arguments.arguments.as_slice()),
    };
    exec::run(&exec::Arguments {
        server: ServerArgument { server },
        via: exec::Via::Proxy,
        command: std::iter::once("psql".into()).chain(rest.iter().cloned()).collect(),
        connection: arguments.connection.clone(),
        credential: arguments.credential.clone(),
        output: arguments.output.clone(),
    })
}
