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
    Name, ProjectId, Secret, TokenId,
    people::{Actor, Role, Token},
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

fn hash(secret: &str) -> [u8; 32] {
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
        role: Role::Operator,
        project: None,
        expires_at: None,
        disabled: false,
        created_at: control.now(),
        last_used_at: None,
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

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    pub(crate) token: Token,
    pub(crate) caller: Caller,
}

impl Bearer {
    /// The bearer as the audit log names them.
    pub(crate) fn actor(&self) -> Actor {
        Actor::Token {
            id: self.token.id,
            name: self.token.name.clone(),
            role: self.token.role,
        }
    }

    /// The project whose things alone the bearer sees; none for all.
    pub(crate) fn bound_to(&self) -> Option<ProjectId> {
        self.token.project
    }

    /// Whether the bearer may see what belongs to `owner` (none is the operator's).
    pub(crate) fn sees(&self, owner: Option<ProjectId>) -> bool {
        match self.bound_to() {
            None => true,
            bound => owner == bound,
        }
    }
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
            .token_by_hash(&hash(secret))
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
    let Some(caller) = Caller::of(&token) else {
        return Err(Failure::internal(
            "signing in",
            &"a token whose role and project disagree",
        ));
    };
    if token
        .last_used_at
        .is_none_or(|last| now.duration_since(last) >= LAST_USE)
    {
        touch(app, token.id).await;
    }
    Ok(Bearer { token, caller })
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
