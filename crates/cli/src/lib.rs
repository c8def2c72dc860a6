//! `billet`: the client of the API, and the tools that work without one.
//!
//! Results go to stdout, everything else to stderr. What a failure means to a script is in its
//! exit code, see `failure::Code`; what it means to a person is in its sentence.
//!
//! A library, so that what reads files of other people's can be called by who tests it.

mod app;
mod bounded;
mod cli;
mod commands;
mod failure;
mod human;
pub mod manifest;
mod output;
mod plan;
mod progress;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, error::ErrorKind};

/// The command line; one that is wrong ends the process, with what is wrong and 2.
fn parsed() -> cli::Cli {
    let mut command = cli::Cli::command();
    let mut matches = command.get_matches_mut();
    if let Some((mut asked, argument)) = empty_name(&command, &matches) {
        let said = format!("{argument} is empty: give a name or an id");
        asked.error(ErrorKind::InvalidValue, said).exit();
    }
    cli::Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

/// The argument that is there and empty, if one is, with its command: a variable of a script that was never set. A
/// name that is nothing would ask for another address than was meant. Options may be empty, which
/// takes away what was; and so may the words of a command for somebody else.
fn empty_name(command: &clap::Command, matches: &ArgMatches) -> Option<(clap::Command, String)> {
    if let Some((name, inner)) = matches.subcommand() {
        return empty_name(command.find_subcommand(name)?, inner);
    }
    command
        .get_positionals()
        .filter(|argument| !argument.is_last_set() && !argument.is_trailing_var_arg_set())
        .find(|argument| {
            let given = matches.get_raw(argument.get_id().as_str());
            given.is_some_and(|mut words| words.any(|word| word.is_empty()))
        })
        .map(|argument| (command.clone(), argument.to_string()))
}

/// The program, with the arguments of the process.
pub fn run() -> ExitCode {
    let cli = parsed();
    // Several parts bring their own TLS settings; what does not uses this.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!("error: starting the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(app::run(cli));
    // A read from a terminal may be stuck in a thread of its own: nobody waits for it.
    runtime.shutdown_background();
    code
}
