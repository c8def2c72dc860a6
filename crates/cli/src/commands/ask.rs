//! Asking a person, and reading what was piped in.

use std::io::{BufRead, IsTerminal, Read, Write};

use billet_model::Secret;

use crate::failure::Failure;

/// Asks a question on the terminal and wants exactly `yes`. Without a terminal nobody can be
/// asked, which is a wrong use: `way` says how to do without.
pub fn yes(question: &str, way: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("this needs a yes, and there is no terminal to ask on").hint(way),
        );
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [yes/no] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("reading the answer: {error}")))?;
    Ok(answer.trim() == "yes")
}

/// Reads a secret: from stdin, whole where it is piped, one line from a terminal.
pub fn secret(what: &str) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{what}: ");
        let _ = stderr.flush();
        stdin.lock().read_line(&mut text)
    } else {
        // A token is short: more than this is a wrong file.
        stdin.lock().take(64 * 1024).read_to_string(&mut text)
    }
    .map_err(|error| Failure::failed(format!("reading the {what} from stdin: {error}")))?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Failure::usage(format!("stdin has no {what} in it")));
    }
    Ok(Secret::new(text))
}
