//! Runs the distribution's own tools, and says which package to install when one is not there.

use std::io;
use std::process::{Command, Stdio};

/// Why a tool's run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not installed.
    #[error(
        "`{program}` is not installed: install the package `{package}` (apt-get install {package})"
    )]
    Missing {
        /// The program looked for.
        program: String,
        /// The Debian and Ubuntu package that has it.
        package: &'static str,
    },
    /// The program could not be started.
    #[error("starting `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The program ended with a failure.
    #[error("`{program}` failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
}

/// How much of a failed program's complaint is worth repeating, in bytes.
const STDERR_TAIL: usize = 2000;

/// Runs `command` to its end and returns what it wrote to its standard output.
pub fn run(command: &mut Command, package: &'static str) -> Result<Vec<u8>, CommandError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CommandError::Missing {
                program: program.clone(),
                package,
            },
            _ => CommandError::Start {
                program: program.clone(),
                source,
            },
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut from = stderr.len().saturating_sub(STDERR_TAIL);
    while !stderr.is_char_boundary(from) {
        from += 1;
    }
    Err(CommandError::Failed {
        program,
        status: output.status.to_string(),
        stderr: stderr[from..].trim().to_owned(),
    })
}
