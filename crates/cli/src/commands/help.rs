//! `billet help`: commands, and topics that are no command.

use clap::CommandFactory;

use crate::{
    cli::{Cli, Help, TOPICS},
    failure::Failure,
    output::print,
};

/// Prints the help of a command or topic.
pub fn run(help: &Help) -> Result<(), Failure> {
    if let [topic] = help.words.as_slice()
        && let Some((_, text)) = TOPICS.iter().find(|(name, _)| name == topic)
    {
        return print(&format!("{text}\n"));
    }
    let mut command = Cli::command();
    command.build();
    let found = help
        .words
        .iter()
        .try_fold(&command, |at, word| at.find_subcommand(word));
    let Some(found) = found else {
        let topics: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
        let asked = help.words.join(" ");
        return Err(
            Failure::usage(format!("there is no command or topic {asked:?}")).hint(format!(
                "see `billet --help`; topics are {}",
                topics.join(", ")
            )),
        );
    };
    print(&found.clone().render_long_help().to_string())
}
