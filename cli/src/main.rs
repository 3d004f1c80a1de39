//! The program `pgentra`: logs unchanged programs in to PostgreSQL with a Microsoft Entra identity.

#[cfg(not(unix))]
compile_error!("the program pgentra runs on Unix");

mod agent;
mod args;
mod child;
mod completions;
mod config_file;
mod connection;
mod doctor;
#[cfg(test)]
mod documentation;
mod exec;
mod failure;
mod http;
mod log;
mod managed_file;
mod options;
mod output;
mod passfile;
mod private_file;
mod proxy;
mod psql;
mod ready;
mod renewal;
mod serve;
mod server_certificate;
mod shell;
mod startup_message;
mod static_names;
mod text;
mod token;
mod whoami;

use std::process::ExitCode;

use args::{Commands, Program, Unparsed};
use failure::Failure;
use options::OutputOptions;
use output::report;
use pgentra::bindings::LogLevel;

/// The exit code of `exec` and `psql` if the child was not started.
const NOT_STARTED: u8 = 125;

fn main() -> ExitCode {
    // A core dump, and other processes of this user by ptrace, could show a token. A child is not affected.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    static_names::use_own_modules();
    let arguments: Vec<_> = std::env::args_os().collect();
    let runs_child = arguments.get(1).is_some_and(|name| name == "exec" || name == "psql");
    let asks_json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    let code = match args::parse(arguments) {
        Ok(program) => return ExitCode::from(run(program)),
        Err(Unparsed::Clap(error)) => {
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(failure::Exit::Usage as u8)
        }
        Err(Unparsed::File(failure)) => {
            report(&failure, &OutputOptions { json: asks_json, ..OutputOptions::default() });
            failure.exit as u8
        }
    };
    // Help is not an error.
    ExitCode::from(if runs_child && code != 0 { NOT_STARTED } else { code })
}

fn run(program: Program) -> u8 {
    let output = program.command.output();
    log::start(
        &output,
        match &program.command {
            // What is logged as a warning is one of its checks.
            Commands::Doctor(_) => LogLevel::Error,
            // The begin and the end of sessions.
            Commands::Proxy(_) => LogLevel::Info,
            _ => LogLevel::Warning,
        },
    );
    let outcome = match &program.command {
        Commands::Token(arguments) => token::run(arguments).map(|()| 0),
        Commands::Whoami(arguments) => whoami::run(arguments).map(|()| 0),
        Commands::Exec(arguments) => {
            return exec::run(arguments).unwrap_or_else(|failure| not_started(&failure, &output));
        }
        Commands::Psql(arguments) => {
            return psql::run(arguments).unwrap_or_else(|failure| not_started(&failure, &output));
        }
        Commands::Doctor(arguments) => doctor::run(arguments),
        Commands::Agent(arguments) => agent::run(arguments).map(|()| 0),
        Commands::Ready(arguments) => ready::run(arguments).map(|()| 0),
        Commands::Serve(arguments) => serve::run(arguments),
        Commands::Proxy(arguments) => proxy::run(arguments),
        Commands::Completions(arguments) => {
            completions::run(arguments, args::command());
            Ok(0)
        }
        Commands::Man(arguments) => completions::man(arguments, args::command()).map(|()| 0),
    };
    outcome.unwrap_or_else(|failure| {
        report(&failure, &output);
        failure.exit as u8
    })
}

fn not_started(failure: &Failure, output: &OutputOptions) -> u8 {
    report(failure, output);
    NOT_STARTED
}
