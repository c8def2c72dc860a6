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

use clap::Parser;

/// The program, with the arguments of the process.
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
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
