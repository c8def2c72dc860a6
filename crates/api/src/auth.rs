//! Who asks: access tokens, and what their bearer may see.
//!
//! A token is `billet_` and 43 characters of base64url over 32 random bytes.
//! Only its SHA-256 is kept: 256 bits of chance need no slow hash.

use std::net::IpAddr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use billet_control::Control;
use billet_model::{
    Name, ProjectId, Secret, TokenId, UserId,
    people::{Actor, Role, Token, User},
};
use billet_store::{Batch, StoreError, Write};
use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use crate::{
    access::Caller,
    app::App,
    problem::{Failure, Kind},
    signin::{Refused, Why},
};

/// What every token begins with, so that a leaked one is known for what it is.
pub const TOKEN_PREFIX: &str = "billet_";

/// How exactly the last use of a token is kept.
const LAST_USE: SignedDuration = SignedDuration::from_mins(1);

/// A new token's secret and what is kept of it.
pub(crate) fn fresh_secret(control: &Control) -> (Secret, [u8; 32]) {
    let mut random = [0; 32];
    control.world.fill(&mut random);
    let text = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hash(&text);
    (Secret::new(text), hash)
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Makes the first operator's token where there is no token at all, and returns
/// its secret: the only time that anybody can see it.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn bootstrap(control: &Control) -> Result<Option<Secret>, StoreError> {
    if !control.store().tokens(None, None, 1).await?.is_empty() {
        return Ok(None);
    }
    let (secret, hash) = fresh_secret(control);
    let Ok(name) = "first-operator".parse::<Name>() else {
        return Ok(None);
    };
    let token = Token {
        id: control.new_id(),
        name: name.clone(),
        role: Some(Role::Operator),
        project: None,
        user: None,
        scopes: Vec::new(),
        expires_at: None,
        disabled: false,
        created_at: control.now(),
        last_used_at: None,
        rotated_at: None,
    };
    let row = control.audit_row(
        &Actor::Billet,
        "token.create",
        serde_json::json!({
            "token": token.id, "name": name, "role": token.role, "why": "first start",
        }),
    );
    let write = Write::PutToken {
        token,
        hash: Some(hash),
    };
    control
        .store()
        .commit(Batch::new().with(write).audited(row))
        .await?;
    Ok(Some(secret))
}

/// A role, and where it holds: in one project, or everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) caller: Caller,
    pub(crate) project: Option<ProjectId>,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    pub(crate) token: Token,
    pub(crate) user: Option<User>,
    /// All that the bearer may.
    pub(crate) rights: Vec<Right>,
    /// Of these, those that count at the endpoint which is asked: who only reads
    /// in one project changes nothing there by being a member of another.
    here: Vec<Right>,
}

impl Bearer {
    /// Keeps to the rights that count where these may call; whether there are any.
    pub(crate) fn keep(&mut self, callers: &[Caller]) -> bool {
        self.here.retain(|right| callers.contains(&right.caller));
        !self.here.is_empty()
    }

    /// The bearer as the audit log names them.
    pub(crate) fn actor(&self) -> Actor {
        let strongest = |role: &Role| self.here.iter().any(|r| r.caller.role() == *role);
        Actor::Token {
            id: self.token.id,
            name: self.token.name.clone(),
            role: Role::ALL
                .into_iter()
                .find(strongest)
                .unwrap_or(Role::Auditor),
            user: self.token.user,
        }
    }

    /// Whether the bearer asks as an operator.
    pub(crate) fn is_operator(&self) -> bool {
        self.here.iter().any(|r| r.caller == Caller::Operator)
    }

    /// The projects whose things alone the bearer sees here; none for all.
    pub(crate) fn bound_to(&self) -> Option<Vec<ProjectId>> {
        let mut projects: Vec<ProjectId> =
            self.here.iter().map(|r| r.project).collect::<Option<_>>()?;
        projects.sort_unstable();
        projects.dedup();
        Some(projects)
    }

    /// Whether the bearer may see, and do what is asked to, what belongs to
    /// `owner` (none is the operator's).
    pub(crate) fn sees(&self, owner: Option<ProjectId>) -> bool {
        covers(&self.here, owner)
    }

    /// That the bearer may see it and do what is asked; else why not. What may
    /// be seen and not changed is no secret; all else is not found.
    pub(crate) fn admit(
        &self,
        what: &str,
        asked: &str,
        owner: Option<ProjectId>,
    ) -> Result<(), Failure> {
        if self.sees(owner) {
            return Ok(());
        }
        if covers(&self.rights, owner) {
            let detail = format!(
                "you may see {what} {asked:?}, and not do this to it: your role there does not cover it"
            );
            return Err(Failure::new(Kind::Forbidden, detail));
        }
        Err(Failure::not_found(what, asked))
    }
}

fn covers(rights: &[Right], owner: Option<ProjectId>) -> bool {
    rights
        .iter()
        .any(|right| right.project.is_none() || right.project == owner)
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // The gate puts it there; without the gate there is nobody.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Failure::new(Kind::Unauthenticated, SIGN_IN))
    }
}

const SIGN_IN: &str = "send `Authorization: Bearer billet_…` with an access token: `billet login` \
     keeps one for the CLI, and an operator or the project's owner makes them with \
     `billet token create`";

/// Signs the bearer of a request's token in.
pub(crate) async fn sign_in(
    app: &App,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Bearer, Failure> {
    let Some(secret) = crate::agents::bearer(headers) else {
        return Err(Failure::new(Kind::Unauthenticated, SIGN_IN));
    };
    let found = if secret.starts_with(TOKEN_PREFIX) {
        app.store()
            .token_by_hash(&hash(secret), app.now())
            .await
            .map_err(|e| crate::app::of_store("signing in", e))?
    } else {
        None
    };
    let Some(token) = found else {
        refuse(app, Why::Unknown, None, address).await;
        let detail = format!("there is no such token. {SIGN_IN}");
        return Err(Failure::new(Kind::Unauthenticated, detail));
    };
    let now = app.now();
    if token.disabled {
        refuse(app, Why::Disabled, Some(&token), address).await;
        let detail =
            "this token is disabled: whoever gave it to you can enable it, or make another";
        return Err(Failure::new(Kind::Unauthenticated, detail));
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        refuse(app, Why::Expired, Some(&token), address).await;
        let detail = "this token's time is over: ask whoever gave it to you for another";
        return Err(Failure::new(Kind::Unauthenticated, detail));
    }
    let user = match token.user {
        Some(id) => Some(user_of(app, &token, id, address).await?),
        None => None,
    };
    let rights = rights(app, &token).await?;
    if token
        .last_used_at
        .is_none_or(|last| now.duration_since(last) >= LAST_USE)
    {
        touch(app, token.id).await;
    }
    Ok(Bearer {
        token,
        user,
        here: rights.clone(),
        rights,
    })
}

/// The user that a token stands for, if that user may sign in.
async fn user_of(
    app: &App,
    token: &Token,
    id: UserId,
    address: Option<IpAddr>,
) -> Result<User, Failure> {
    let read = |id| async move {
        let read = app.store().user(id).await;
        read.map_err(|e| crate::app::of_store("signing in", e))
    };
    let no = |why, detail: &'static str| async move {
        refuse(app, why, Some(token), address).await;
        Failure::new(Kind::Unauthenticated, detail)
    };
    let now = app.now();
    let Some(user) = read(id).await? else {
        return Err(no(Why::Unknown, "this token's user is gone: ask for another").await);
    };
    if user.disabled {
        let detail = "this token's user is disabled: an operator can enable it";
        return Err(no(Why::Disabled, detail).await);
    }
    if !user.may_sign_in(now) {
        let detail = "the time of this token's user is over: an operator can give it more";
        return Err(no(Why::Expired, detail).await);
    }
    if let Some(owner) = user.owner {
        let answers = read(owner).await?.is_some_and(|o| o.may_sign_in(now));
        if !answers {
            let detail = "nobody answers for this service account any more: an operator can hand \
                          it over to another owner";
            return Err(no(Why::Disabled, detail).await);
        }
    }
    Ok(user)
}

/// What a token's bearer may: its own role, or all that its user's groups give.
async fn rights(app: &App, token: &Token) -> Result<Vec<Right>, Failure> {
    let roles = match (token.user, token.role) {
        (Some(user), _) => {
            let read = app.store().rights_of(user).await;
            read.map_err(|e| crate::app::of_store("signing in", e))?
        }
        (None, Some(role)) => vec![(role, token.project)],
        (None, None) => Vec::new(),
    };
    roles
        .into_iter()
        .map(|(role, project)| {
            let caller = Caller::of(role, project.is_some());
            caller.map(|caller| Right { caller, project })
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::internal("signing in", &"a role and its place disagree"))
}

async fn refuse(app: &App, why: Why, token: Option<&Token>, address: Option<IpAddr>) {
    let refused = Refused {
        why,
        token: token.map(|token| token.id),
        address,
    };
    let named = token.map(|token| (token.name.as_str(), token.project));
    app.refused_sign_in(refused, named).await;
}

async fn touch(app: &App, id: TokenId) {
    let write = Write::TouchToken { id, at: app.now() };
    // Not worth refusing a request for.
    if let Err(error) = app.store().commit(Batch::new().with(write)).await {
        tracing::warn!(%error, "a token's last use could not be kept");
    }
}
