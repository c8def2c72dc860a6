//! The commands, one file for each noun.

pub mod apply;
pub mod audit;
pub mod backup;
pub mod bmc;
pub mod build;
pub mod completion;
pub mod events;
pub mod evidence;
pub mod group;
pub mod image;
pub mod install_config;
pub mod lab;
mod layout;
pub mod lease;
pub mod login;
pub mod machine;
mod measured;
pub mod operation;
pub mod people;
pub mod place;
pub mod quota;
pub mod serve;
pub mod ssh;
pub mod token;
pub mod user;
pub mod webhook;

mod ask;
mod certificate;
mod console;
mod enroll;
mod help;
pub mod keys_given;

use crate::{app::App, cli::Command, failure::Failure};

/// Carries out a command.
pub async fn run(command: Command, app: &App) -> Result<(), Failure> {
    match command {
        Command::Serve(command) => command.run(app).await,
        Command::Backup(command) => command.run(app).await,
        Command::Restore(command) => command.run(app).await,
        Command::Bmc(command) => command.run(app).await,
        Command::Lab(command) => command.run(app).await,
        Command::Ramdisk(command) => command.run(app).await,
        Command::Login(command) => command.run(app).await,
        Command::Logout(command) => command.run(app),
        Command::Whoami(command) => command.run(app).await,
        Command::Apply(command) => command.run(app).await,
        Command::Machine(command) => command.run(app).await,
        Command::Site(command) => command.run(app).await,
        Command::Network(command) => command.run(app).await,
        Command::Type(command) => command.run(app).await,
        Command::Offers(command) => command.run(app).await,
        Command::Image(command) => command.run(app).await,
        Command::Lease(command) => command.run(app).await,
        Command::Ssh(command) => command.run(app).await,
        Command::Operation(command) => command.run(app).await,
        Command::Organisation(command) => command.run(app).await,
        Command::Project(command) => command.run(app).await,
        Command::Token(command) => command.run(app).await,
        Command::User(command) => command.run(app).await,
        Command::Quota(command) => command.run(app).await,
        Command::Group(command) => command.run(app).await,
        Command::Evidence(command) => command.run(app).await,
        Command::Events(command) => command.run(app).await,
        Command::Webhook(command) => command.run(app).await,
        Command::Audit(command) => command.run(app).await,
        Command::Keys(command) => command.run(app).await,
        Command::Completion(command) => command.run(),
        Command::Help(command) => help::run(&command),
    }
}

/// The filters that were given.
fn filters<'f>(all: &[(&'f str, Option<&'f str>)]) -> Vec<(&'f str, &'f str)> {
    all.iter()
        .filter_map(|(name, value)| value.map(|value| (*name, value)))
        .collect()
}
