//! The program `billet`; see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    billet_cli::run()
}
