//! Signing in and out.

use billet_client::{Client, Config, Context, Fingerprint, Server, Target, Trust};
use billet_model::api::WhoAmI;
use clap::Args;

use super::ask;
use crate::{
    app::App,
    failure::{Code, Failure},
    human,
    output::{card, maybe},
};

/// Sign in to a server and remember it.
///
/// The server is known by its fingerprint, which `billet serve` prints: that of its authority, or
/// of its own certificate. The token is read from stdin, and is sent only to a server that showed
/// the right certificate. Server, certificate and token are kept in the configuration file, for
/// you alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet login https://billet.example.org:8443 --fingerprint 3f5a...
  billet login https://127.0.0.1:8443 --fingerprint 3f5a... --token-stdin < token
  billet login https://eu.example.org:8443 --fingerprint 77c0... --context eu")]
pub struct Login {
    /// The server, https://HOST:PORT.
    server: String,
    /// SHA-256 of the authority's or the server's certificate, as `billet serve` prints it.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    /// Read the token from stdin without asking.
    #[arg(long)]
    token_stdin: bool,
}

impl Login {
    /// Signs in.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let url = Server::parse_url(&self.server).map_err(Failure::usage)?;
        let Some(fingerprint) = self.fingerprint else {
            let shown = Trust::shown(&url).await?;
            let authority = maybe(shown.last());
            return Err(Failure::usage(format!("say with --fingerprint how {url} is known"))
                .hint(format!(
                    "it shows the authority {authority}: compare that with what `billet serve` printed, then give it"
                )));
        };
        let trust = Trust::recognise(&url, fingerprint).await?;
        let token = match (&app.environment.token, self.token_stdin) {
            (Some(token), false) => token.clone(),
            _ => ask::secret("token")?,
        };
        let server = Server {
            url: url.clone(),
            trust: trust.clone(),
            token: Some(token.clone()),
        };
        let who = Client::new(server)?.whoami().await?;

        let path = app.environment.config_path();
        let mut config = Config::load(&path)?;
        let name = app.context.as_deref().unwrap_or("default").to_owned();
        config.contexts.insert(
            name.clone(),
            Context {
                server: url.clone(),
                trust,
                token: Some(token),
            },
        );
        config.current = Some(name.clone());
        config.save(&path)?;
        app.output.note(format!(
            "Signed in to {url} as {} ({}); kept in {} as context {name}.",
            who.token.name,
            rights(&who),
            path.display()
        ));
        Ok(())
    }
}

/// Forget the token of a server.
///
/// The server itself stays known, so that signing in again needs no fingerprint to be compared.
/// The token stays good: to end it, use `billet token disable`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet logout
  billet logout --context eu")]
pub struct Logout {}

impl Logout {
    /// Forgets the token.
    pub fn run(self, app: &App) -> Result<(), Failure> {
        let path = app.environment.config_path();
        let mut config = Config::load(&path)?;
        let name = app
            .context
            .clone()
            .or_else(|| app.environment.context.clone())
            .or_else(|| config.current.clone());
        let context = name.as_ref().and_then(|name| config.contexts.get_mut(name));
        match context {
            Some(context) if context.token.is_some() => {
                context.token = None;
                let server = context.server.clone();
                config.save(&path)?;
                app.output.note(format!("Signed out of {server}."));
                Ok(())
            }
            _ => Err(Failure::new(Code::NotSignedIn, "you are not signed in")),
        }
    }
}

/// Show who you are to the server, and which server it is.
///
/// Shows the token's name, role, project and end, never its secret.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet whoami
  billet whoami -o json")]
pub struct Whoami {}

impl Whoami {
    /// Shows it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let target = Target::find(&app.environment, app.context.as_deref())?;
        let context = target.context.clone();
        let client = app.client().await?;
        let who = client.whoami().await?;
        // Only for show: an older server may not have it.
        let version = client.info().await.map(|info| info.version).ok();
        app.output.result(&who, |who: &WhoAmI| {
            card([
                ("name", who.token.name.to_string()),
                ("role", rights(who)),
                ("user", maybe(who.user.as_ref().map(|user| &user.name))),
                ("project", maybe(who.project_name.as_ref())),
                ("token", who.token.id.to_string()),
                (
                    "expires",
                    who.token.expires_at.map(human::time).unwrap_or_default(),
                ),
                ("server", client.server().to_string()),
                ("version", version.unwrap_or_default()),
                ("context", context.unwrap_or_default()),
            ])
        })
    }
}

/// What the bearer may, in a few words: `member in vision, auditor`.
fn rights(who: &WhoAmI) -> String {
    // An older server knows of no rights beside the token's role.
    if who.rights.is_empty() {
        return maybe(who.token.role.map(|role| role.as_str()));
    }
    let words = who.rights.iter().map(|right| match &right.project_name {
        Some(project) => format!("{} in {project}", right.role.as_str()),
        None => right.role.as_str().to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}
