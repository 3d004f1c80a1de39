//! The command line: commands, the variable of each option, and the tables of the configuration file.
//!
//! The value of an option is from the first of these that has it: the argument, the variable `PGENTRA_` with the option's
//! name, the command's table in the file of `--config`.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use serde_json::{Map, Value};

use crate::{
    agent, completions, config_file, doctor, exec,
    failure::{Failure, Result},
    options::OutputOptions,
    proxy, psql, ready, serve, token, whoami,
};

/// Logs unchanged programs in to PostgreSQL with a Microsoft Entra identity.
#[derive(Parser, Debug)]
#[command(
    name = "pgentra",
    version,
    disable_help_flag = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Each option also has a variable: --ca-file is PGENTRA_CA_FILE. \
                        Exit codes: 0 done, 1 a check or login failed, 2 usage or configuration, 3 no credential, \
                        4 refused by Entra, 5 transient, 6 server unreachable, 7 login refused.")]
pub struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Commands,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Commands {
    /// Print a token
    Token(token::Arguments),
    /// Show the identity, the credential and the role
    Whoami(whoami::Arguments),
    /// Run a program that logs in with the identity
    Exec(exec::Arguments),
    /// Run psql; short for `exec --via proxy -- psql`
    Psql(psql::Arguments),
    /// Check each step of a login
    Doctor(doctor::Arguments),
    /// Keep files with the token fresh, for programs that cannot request one
    Agent(agent::Arguments),
    /// Give tokens to other processes of this machine, as App Service does
    Serve(serve::Arguments),
    /// Log programs in through a local port or socket, so that they need no token
    Proxy(Box<proxy::Arguments>),
    /// Ask a proxy whether it is ready
    Ready(ready::Arguments),
    /// Print a script with the completions of a shell
    Completions(completions::Arguments),
    /// Write the man pages
    #[command(hide = true)]
    Man(completions::ManArguments),
}

impl Commands {
    /// Returns what the command prints.
    pub fn output(&self) -> OutputOptions {
        match self {
            Commands::Token(arguments) => arguments.output.clone(),
            Commands::Whoami(arguments) => arguments.output.clone(),
            Commands::Exec(arguments) => arguments.output.clone(),
            Commands::Psql(arguments) => arguments.output.clone(),
            Commands::Doctor(arguments) => arguments.output.clone(),
            Commands::Agent(arguments) => arguments.output.clone(),
            Commands::Ready(arguments) => arguments.output.clone(),
            Commands::Serve(arguments) => arguments.output.clone(),
            Commands::Proxy(arguments) => arguments.output.clone(),
            Commands::Completions(_) | Commands::Man(_) => OutputOptions::default(),
        }
    }

    /// Returns the fields for whether host and port are from variables.
    fn is_variable_mut(&mut self) -> Option<(&mut bool, &mut bool)> {
        let connection = match self {
            Commands::Token(arguments) => &mut arguments.connection,
            Commands::Whoami(arguments) => &mut arguments.connection,
            Commands::Exec(arguments) => &mut arguments.connection,
            Commands::Psql(arguments) => &mut arguments.connection,
            Commands::Doctor(arguments) => &mut arguments.connection,
            Commands::Agent(arguments) => &mut arguments.connection,
            Commands::Proxy(arguments) => {
                let upstream = &mut arguments.upstream;
                return Some((&mut upstream.is_host_variable, &mut upstream.is_port_variable));
            }
            Commands::Ready(_) | Commands::Serve(_) | Commands::Completions(_) | Commands::Man(_) => return None,
        };
        Some((&mut connection.is_host_variable, &mut connection.is_port_variable))
    }
}

/// Why the arguments are not run.
pub enum Unparsed {
    /// Help, a version, or an error of the arguments, as clap prints it.
    Clap(clap::Error),
    /// The configuration file cannot be used.
    File(Failure),
}

/// Returns the command line with the variable of each option.
pub fn command() -> Command {
    with_variables(Program::command(), true)
}

fn with_variables(command: Command, is_root: bool) -> Command {
    // `-h` is the host, as in psql.
    let help = clap::Arg::new("help").long("help").help("Print help").action(clap::ArgAction::Help);
    let command = command.disable_help_flag(true);
    let command =
        if command.get_arguments().any(|argument| argument.get_id() == "help") { command } else { command.arg(help) };
    let command = command.mut_args(|argument| {
        let name = argument.get_id().as_str().to_ascii_uppercase();
        // A variable can also be 1, yes or on.
        let argument = match argument.get_action() {
            clap::ArgAction::SetTrue => argument.value_parser(clap::builder::BoolishValueParser::new()),
            _ => argument,
        };
        match (argument.get_long(), is_root) {
            (Some("help" | "version"), _) | (None, _) | (_, true) => argument,
            _ => argument.env(format!("PGENTRA_{name}")).hide_env(true),
        }
    });
    command.mut_subcommands(|subcommand| with_variables(subcommand, false))
}

/// Parses arguments, of which the first is the program's name.
///
/// # Errors
/// See [`Unparsed`].
pub fn parse(arguments: Vec<OsString>) -> Result<Program, Unparsed> {
    let mut command = command();
    if let Some(file) = config_of(&command, &arguments) {
        let file = config_file::load(file.as_ref()).map_err(Unparsed::File)?;
        command = with_tables(command, &file.tables).map_err(Unparsed::File)?;
    }
    let mut matches = command.try_get_matches_from(arguments).map_err(Unparsed::Clap)?;
    let is_variable = |matches: &ArgMatches, name: &str| {
        let of_command = matches.subcommand().map(|(_, matches)| matches);
        of_command.is_some_and(|matches| {
            matches.try_contains_id(name).is_ok() && matches.value_source(name) == Some(ValueSource::EnvVariable)
        })
    };
    let (is_host_variable, is_port_variable) = (is_variable(&matches, "host"), is_variable(&matches, "port"));
    let mut program = Program::from_arg_matches_mut(&mut matches).map_err(Unparsed::Clap)?;
    if let Some((host, port)) = program.command.is_variable_mut() {
        (*host, *port) = (is_host_variable, is_port_variable);
    }
    Ok(program)
}

/// Returns the configuration file, as far as the arguments can be read without it.
fn config_of(command: &Command, arguments: &[OsString]) -> Option<std::path::PathBuf> {
    let matches = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    let (_, matches) = matches.subcommand()?;
    matches.try_get_one::<std::path::PathBuf>("config").ok().flatten().cloned()
}

/// Makes the values of the tables the defaults of their commands' options.
fn with_tables(mut command: Command, tables: &Map<String, Value>) -> Result<Command> {
    for (table, values) in tables {
        let Some(values) = values.as_object() else { continue };
        for (name, value) in values {
            let unknown =
                || Failure::usage(format!("unknown option `{table}.{name}`"), "Correct the configuration file.");
            let subcommand = command.find_subcommand(table).ok_or_else(unknown)?;
            let is_option = |argument: &clap::Arg| {
                argument.get_id() == name && argument.get_long().is_some() && !argument.is_hide_set()
            };
            if !subcommand.get_arguments().any(is_option) || matches!(name.as_str(), "config" | "help") {
                return Err(unknown());
            }
            let texts = config_file::texts(&format!("{table}.{name}"), value)?;
            command = command.mut_subcommand(table, |subcommand| {
                subcommand.mut_arg(name, |argument| argument.default_values(texts).hide_default_value(true))
            });
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn command_options_have_variables_of_their_names() {
        let command = command();
        let token = command.find_subcommand("token").expect("a command");
        let variable = |name: &str| {
            let argument = token.get_arguments().find(|argument| argument.get_id() == name).expect("an option");
            argument.get_env().map(|name| name.to_string_lossy().into_owned())
        };
        assert_eq!(variable("ca_file").as_deref(), Some("PGENTRA_CA_FILE"));
        assert_eq!(variable("min_life").as_deref(), Some("PGENTRA_MIN_LIFE"));
        assert_eq!((variable("server"), variable("help")), (None, None));
    }

    #[test]
    fn command_options_take_no_secrets() {
        fn check(command: &Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !["password", "secret"].iter().any(|word| name.contains(word)) || name.ends_with("_file"),
                    "{name}"
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
