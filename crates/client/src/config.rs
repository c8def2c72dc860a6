//! Which server is meant, and with which token: the file, and the environment over it.
//!
//! The file holds contexts by name, with the token of each, so only its owner may read it: it is
//! written with mode 0600, in one rename, and is refused where others can read it.

use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use billet_model::Secret;
use serde::Deserialize;
use url::Url;

use crate::{
    error::ClientError,
    trust::{Fingerprint, Trust},
};

/// A server, how it is known, and what to show it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Base URL, as `https://billet.example.org:8443`.
    pub url: Url,
    /// How it is known again.
    pub trust: Trust,
    /// The access token; some calls need none.
    pub token: Option<Secret>,
}

/// A server as the file keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Base URL.
    pub server: Url,
    /// How it is known again.
    pub trust: Trust,
    /// The token, while signed in.
    pub token: Option<Secret>,
}

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The context that is meant where none is named.
    pub current: Option<String>,
    /// Contexts by name.
    pub contexts: BTreeMap<String, Context>,
}

/// What is wrong with the file, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others than the owner can read or write the file.
    #[error(
        "{} holds access tokens and others can read it (mode {mode:03o}): run `chmod 600` on it, and make new tokens if others may have read these",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file's content is not what it should be.
    #[error("{}: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        detail: String,
    },
    /// No such context.
    #[error("there is no context {name:?} in {}; known: {known}", path.display())]
    NoContext {
        /// The name asked for.
        name: String,
        /// The file.
        path: PathBuf,
        /// The names there are.
        known: String,
    },
    /// Nothing says which server.
    #[error(
        "no server is known: sign in with `billet login https://HOST:PORT --fingerprint SHA256`"
    )]
    NoServer,
    /// The environment names a server, and nothing says how to know it.
    #[error(
        "BILLET_SERVER is {server}, and nothing says how to know it: set BILLET_FINGERPRINT to the fingerprint that `billet serve` prints, or sign in to it once"
    )]
    NoTrust {
        /// The server.
        server: Url,
    },
    /// A variable of the environment cannot be used.
    #[error("{variable}: {detail}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// Why not.
        detail: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, ContextOnDisk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextOnDisk {
    server: Url,
    authority: Option<String>,
    fingerprint: Option<String>,
    token: Option<Secret>,
}

impl Config {
    /// Reads the file; a missing one has nothing in it.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, or its content is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io {
            doing: "reading",
            path: path.to_owned(),
            source,
        };
        let meta = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            other => other.map_err(io)?,
        };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        Self::parse(&text).map_err(|detail| ConfigError::Malformed {
            path: path.to_owned(),
            detail,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // toml's own message shows the line, and a token may stand in it.
        let read: OnDisk = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            format!("line {line}: {}", error.message())
        })?;
        let mut contexts = BTreeMap::new();
        for (name, context) in read.contexts {
            let trust = match (context.authority, context.fingerprint) {
                (Some(pem), None) => Trust::Authority(pem),
                (None, Some(text)) => Trust::Leaf(
                    text.parse()
                        .map_err(|error| format!("[contexts.{name}]: {error}"))?,
                ),
                _ => {
                    return Err(format!(
                        "[contexts.{name}] needs either `authority` or `fingerprint`"
                    ));
                }
            };
            contexts.insert(
                name,
                Context {
                    server: context.server,
                    trust,
                    token: context.token,
                },
            );
        }
        Ok(Self {
            current: read.current,
            contexts,
        })
    }

    /// Writes the file, whole or not at all, with mode 0600, and its directory where that is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let io = |source| ConfigError::Io {
            doing: "writing",
            path: path.to_owned(),
            source,
        };
        let directory = match path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io)?;
        // Temporary files are made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
        file.write_all(self.to_toml().as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        Ok(())
    }

    fn to_toml(&self) -> String {
        let mut top = toml::Table::new();
        if let Some(current) = &self.current {
            top.insert("current".to_owned(), current.clone().into());
        }
        let mut contexts = toml::Table::new();
        for (name, context) in &self.contexts {
            let mut table = toml::Table::new();
            table.insert("server".to_owned(), context.server.to_string().into());
            let (key, value) = match &context.trust {
                Trust::Authority(pem) => ("authority", pem.clone()),
                Trust::Leaf(fingerprint) => ("fingerprint", fingerprint.to_string()),
            };
            table.insert(key.to_owned(), value.into());
            if let Some(token) = &context.token {
                table.insert("token".to_owned(), token.expose().into());
            }
            contexts.insert(name.clone(), table.into());
        }
        top.insert("contexts".to_owned(), contexts.into());
        format!("# Written by `billet login`. It holds access tokens: keep it to yourself.\n{top}")
    }
}

/// What the environment says, read once.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `BILLET_CONFIG`: the file.
    pub config: Option<PathBuf>,
    /// `BILLET_SERVER`: the server's base URL.
    pub server: Option<String>,
    /// `BILLET_TOKEN`: the token.
    pub token: Option<Secret>,
    /// `BILLET_FINGERPRINT`: how the server is known.
    pub fingerprint: Option<String>,
    /// `BILLET_CONTEXT`: the context.
    pub context: Option<String>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Reads the process's environment; empty variables count as absent.
    pub fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            config: text("BILLET_CONFIG").map(PathBuf::from),
            server: text("BILLET_SERVER"),
            token: text("BILLET_TOKEN").map(Secret::new),
            fingerprint: text("BILLET_FINGERPRINT"),
            context: text("BILLET_CONTEXT"),
            config_home: text("XDG_CONFIG_HOME").map(PathBuf::from),
            home: text("HOME").map(PathBuf::from),
        }
    }

    /// The file: `BILLET_CONFIG`, else `billet/config.toml` where configuration is kept.
    pub fn config_path(&self) -> PathBuf {
        if let Some(path) = &self.config {
            return path.clone();
        }
        let base = match (&self.config_home, &self.home) {
            (Some(base), _) => base.clone(),
            (None, Some(home)) => home.join(".config"),
            (None, None) => PathBuf::from("."),
        };
        base.join("billet").join("config.toml")
    }
}

/// The server that is meant, before anything was asked of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Base URL.
    pub url: Url,
    /// How it is known.
    pub known: Known,
    /// The token, if there is one.
    pub token: Option<Secret>,
    /// The context it is from, if from one.
    pub context: Option<String>,
}

/// How a server is known, as far as can be told without asking it.
#[derive(Clone, Debug)]
pub enum Known {
    /// The file has its certificate.
    Trust(Trust),
    /// The environment has a fingerprint, to be looked for among what it shows.
    Fingerprint(Fingerprint),
}

impl Target {
    /// Finds the server that is meant: `context` where one is named, else `BILLET_SERVER`, else
    /// the file's current context. `BILLET_TOKEN` goes before the context's token, and the
    /// context's token is never shown to another server than its own.
    ///
    /// # Errors
    /// When nothing says which server, or how to know it.
    pub fn find(environment: &Environment, context: Option<&str>) -> Result<Self, ConfigError> {
        let path = environment.config_path();
        let config = Config::load(&path)?;
        let fingerprint = environment
            .fingerprint
            .as_deref()
            .map(str::parse::<Fingerprint>)
            .transpose()
            .map_err(|error| ConfigError::Variable {
                variable: "BILLET_FINGERPRINT",
                detail: error.to_string(),
            })?;

        if let (None, Some(text)) = (context, &environment.server) {
            let url = parse_server(text).map_err(|detail| ConfigError::Variable {
                variable: "BILLET_SERVER",
                detail,
            })?;
            let known = config
                .contexts
                .iter()
                .find(|(_, context)| context.server == url);
            return Ok(Self {
                known: match (fingerprint, known) {
                    (Some(fingerprint), _) => Known::Fingerprint(fingerprint),
                    (None, Some((_, context))) => Known::Trust(context.trust.clone()),
                    (None, None) => return Err(ConfigError::NoTrust { server: url }),
                },
                token: environment
                    .token
                    .clone()
                    .or_else(|| known.and_then(|(_, context)| context.token.clone())),
                context: known.map(|(name, _)| name.clone()),
                url,
            });
        }

        let name = context
            .or(environment.context.as_deref())
            .or(config.current.as_deref())
            .ok_or(ConfigError::NoServer)?;
        let Some(found) = config.contexts.get(name) else {
            let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
            return Err(ConfigError::NoContext {
                name: name.to_owned(),
                path,
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            });
        };
        Ok(Self {
            url: found.server.clone(),
            known: Known::Trust(found.trust.clone()),
            token: environment.token.clone().or_else(|| found.token.clone()),
            context: Some(name.to_owned()),
        })
    }

    /// The server, recognised by its fingerprint where only that is known.
    ///
    /// # Errors
    /// When the server cannot be reached or is not the one known.
    pub async fn server(self) -> Result<Server, ClientError> {
        let trust = match self.known {
            Known::Trust(trust) => trust,
            Known::Fingerprint(fingerprint) => Trust::recognise(&self.url, fingerprint).await?,
        };
        Ok(Server {
            url: self.url,
            trust,
            token: self.token,
        })
    }
}

/// Reads a server's base URL; `https://` may be left out.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse_server(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url: Url = full
        .parse()
        .map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("{text:?} does not begin with https://"));
    }
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{text:?} is not https://HOST:PORT"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has more than https://HOST:PORT"));
    }
    Ok(url)
}

impl Server {
    /// Reads a server's base URL; `https://` may be left out.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse_url(text: &str) -> Result<Url, String> {
        parse_server(text)
    }
}
