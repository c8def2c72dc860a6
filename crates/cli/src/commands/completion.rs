//! `billet completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure, output::print};

/// Print completion for a shell.
///
/// The shell then completes commands and options after `billet`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet completion bash > ~/.local/share/bash-completion/completions/billet
  billet completion zsh > ~/.zfunc/_billet
  billet completion fish > ~/.config/fish/completions/billet.fish")]
pub struct Completion {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints it.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "billet", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
