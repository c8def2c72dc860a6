//! What every command has at hand, and the end that all of them come to.

use std::process::ExitCode;

use billet_client::{Client, Environment, Target};

use crate::{
    cli::{Cli, Command, LogFormat},
    commands,
    failure::{Code, Failure},
    output::{Output, say},
};

/// What every command has at hand.
pub struct App {
    /// Where and how to print.
    pub output: Output,
    /// The environment.
    pub environment: Environment,
    /// The context named on the command line.
    pub context: Option<String>,
}

impl App {
    /// The client of the server that is meant, with a token to show.
    pub async fn client(&self) -> Result<Client, Failure> {
        let target = Target::find(&self.environment, self.context.as_deref())?;
        if target.token.is_none() {
            let server = target.url;
            return Err(Failure::new(
                Code::NotSignedIn,
                format!("you are not signed in to {server}"),
            )
            .hint("sign in with `billet login`, or set BILLET_TOKEN"));
        }
        Ok(Client::new(target.server().await?)?)
    }
}

/// Carries out a command line.
pub async fn run(cli: Cli) -> ExitCode {
    // What a server or a lab does by itself is told without being asked for.
    let runs = matches!(cli.command, Command::Serve(_) | Command::Lab(_));
    let verbose = cli.global.verbose + u8::from(runs && !cli.global.quiet);
    logging(verbose, cli.global.log_format);
    let app = App {
        output: Output {
            format: cli.global.output,
            quiet: cli.global.quiet,
        },
        environment: Environment::read(),
        context: cli.global.context,
    };
    match commands::run(cli.command, &app).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.sentence.is_empty() {
                say(&format!("error: {}", failure.sentence));
            }
            if let Some(hint) = failure.hint {
                say(&format!("hint: {hint}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Logs go to stderr: warnings, or what BILLET_LOG asks for.
fn logging(verbose: u8, format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("BILLET_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    let _ = match format {
        LogFormat::Text => log.with_ansi(crate::output::watched()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
