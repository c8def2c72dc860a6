//! What a failure means: a code for scripts, a sentence for people, and the way out.

use billet_client::{ClientError, ConfigError};

/// Exit codes. `billet help exit-codes` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It was tried and did not work.
    Failed = 1,
    /// The command line or a file given with it is wrong; nothing was sent.
    Usage = 2,
    /// There is no such thing, or the caller may not know of it.
    NotFound = 3,
    /// The server understood and said no.
    Refused = 4,
    /// The server cannot be reached, or is not the one known.
    Unreachable = 5,
    /// Nobody is signed in, or the token is not, or no longer, good.
    NotSignedIn = 6,
    /// Interrupted by hand; what was begun on the server goes on.
    Interrupted = 130,
}

/// What `billet help exit-codes` prints, and `billet --help` ends with.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    tried, and it did not work (an operation failed, evidence does not hold)
  2    wrong command line or manifest; nothing was sent
  3    not found
  4    refused by the server: not allowed, a conflict, none free, not valid
  5    the server cannot be reached, or is not the one known
  6    not signed in, or the token is not good any more
  130  interrupted; what was begun on the server goes on
`billet ssh` exits as the remote command did, and with 255 where ssh itself failed.";

/// A command that did not end well.
#[derive(Debug)]
pub struct Failure {
    /// For scripts; `None` for exactly this status, as a child process gave it.
    pub code: u8,
    /// What happened to what; nothing where all was said already.
    pub sentence: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a sentence.
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            code: code as u8,
            sentence: sentence.into(),
            hint: None,
        }
    }

    /// A wrong command line or file.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Code::Usage, sentence)
    }

    /// It was tried and did not work.
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Code::Failed, sentence)
    }

    /// A file that was given and cannot be read.
    pub fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::usage(format!("reading {}: {error}", path.display()))
    }

    /// A file that could not be made or written.
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("{doing} {}: {error}", path.display()))
    }

    /// Exits with `code`, and says nothing more.
    pub fn silent(code: u8) -> Self {
        Self {
            code,
            sentence: String::new(),
            hint: None,
        }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An error with all of its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Problem { problem, .. } => {
                let field = problem
                    .field
                    .as_ref()
                    .map(|field| format!("{field}: "))
                    .unwrap_or_default();
                let sentence = format!("{field}{}", problem.detail);
                match problem.status {
                    404 => Self::new(Code::NotFound, sentence),
                    401 => Self::new(Code::NotSignedIn, sentence)
                        .hint("sign in again with `billet login`, or set BILLET_TOKEN"),
                    412 => Self::new(Code::Refused, sentence)
                        .hint("it changed in the meantime: look at it again, then repeat"),
                    403 => Self::new(Code::Refused, sentence)
                        .hint("`billet whoami` shows what your token lets you do"),
                    status if status < 500 => Self::new(Code::Refused, sentence),
                    // Billet's own "none free" is a refusal; a gateway's words are a failure.
                    503 if problem.kind != "about:blank" => Self::new(Code::Refused, sentence),
                    _ => Self::new(Code::Failed, sentence),
                }
            }
            ClientError::Unreachable { .. } => Self::new(Code::Unreachable, error.to_string())
                .hint("is `billet serve` running there, and does nothing stand between?"),
            ClientError::Lost { .. } => Self::new(Code::Unreachable, error.to_string())
                .hint("it may have been done all the same: look before you repeat it"),
            ClientError::Untrusted { detail, .. } => {
                let hint = if detail.contains("not valid for name") || detail.contains("NotValidForName") {
                    "it is not made for this name: start `billet serve` with --name for it, or use a name that it has"
                } else {
                    "if the server was set up anew, sign in again with the fingerprint that it prints; if not, somebody may be in between"
                };
                Self::new(Code::Unreachable, error.to_string()).hint(hint)
            }
            ClientError::WrongFingerprint { .. } => {
                Self::new(Code::Unreachable, error.to_string()).hint(
                    "compare with what `billet serve` printed; if that is what you gave, somebody may be in between. Nothing was sent",
                )
            }
            ClientError::Malformed { .. } => Self::failed(error.to_string())
                .hint("`billet whoami` shows the server's version: is it newer or older than this program?"),
            ClientError::File { .. } | ClientError::Setup { .. } => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match &error {
            ConfigError::NoServer => Code::NotSignedIn,
            ConfigError::Io { .. } => Code::Failed,
            _ => Code::Usage,
        };
        Self::new(code, error.to_string())
    }
}
