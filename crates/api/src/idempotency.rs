//! `Idempotency-Key`: a request sent again is answered as before, and not
//! carried out again.
//!
//! That a request is begun is kept before it is carried out, and its answer
//! after. A crash between the two leaves a key that is begun and not answered:
//! whether it was carried out is then not known, and the caller is told to look,
//! because doing it twice may cost a second machine.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use billet_model::TokenId;
use billet_store::{Batch, StoreError, Write};
use sha2::{Digest as _, Sha256};

use crate::{
    app::App,
    auth::Bearer,
    extract,
    problem::{Failure, Kind},
};

/// The header with the caller's key.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one from before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_BYTES: usize = 128;
/// Largest answer that is kept, in bytes.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// What an advice that is kept begins with: no answer does.
const ADVICE: &str = "advice: ";
/// HTTP's "processing": marks a key that is begun.
const BEGUN: u16 = 102;

/// Marks an answer with a secret in it, which must not be kept. Kept in its place
/// is what to do, where the answer was lost: a sentence.
#[derive(Clone, Copy)]
pub(crate) struct HoldsSecret(pub(crate) &'static str);

/// Carries a request with a key out once.
pub(crate) async fn once(app: App, bearer: Bearer, request: Request, next: Next) -> Response {
    match carry_out(app, bearer, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn carry_out(
    app: App,
    bearer: Bearer,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let key = key(&request)?;
    let token = bearer.token.id;
    let Some(_mark) = app.begin_keyed(token, &key) else {
        return Err(Failure::new(
            Kind::Unavailable,
            "a request with this idempotency key is under way: ask again for its answer",
        )
        .header(header::RETRY_AFTER, HeaderValue::from_static("1")));
    };
    let (parts, body) = request.into_parts();
    let bytes = extract::read(Request::from_parts(parts.clone(), body)).await?;
    let mut hasher = Sha256::new();
    let target = parts.uri.path_and_query().map_or("", |p| p.as_str());
    for part in [parts.method.as_str(), target] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.update(&bytes);
    let hash: [u8; 32] = hasher.finalize().into();

    if let Some(answer) = answer_from_before(&app, token, &key, &hash).await? {
        return Ok(answer);
    }
    let begun = keep(&app, token, &begun_key(&key), hash, BEGUN, String::new()).await;
    match begun {
        Ok(()) => {}
        Err(StoreError::Duplicate { .. }) => return Err(unknown_end()),
        Err(error) => return Err(crate::app::of_store("keeping the idempotency key", error)),
    }

    let request = Request::from_parts(parts, Body::from(bytes));
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, ANSWER_BYTES)
        .await
        .map_err(|e| Failure::internal("answering", &e))?;
    // What failed inside is not an answer to repeat.
    if !parts.status.is_server_error() {
        let (status, text) = if let Some(HoldsSecret(advice)) = parts.extensions.get() {
            (StatusCode::CONFLICT.as_u16(), format!("{ADVICE}{advice}"))
        } else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            (parts.status.as_u16(), text)
        };
        let kept = keep(&app, token, &key, hash, status, text).await;
        if let Err(error) = kept {
            tracing::error!(%error, "the answer to an idempotency key could not be kept");
        }
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn key(request: &Request) -> Result<String, Failure> {
    let value = request.headers().get(HEADER);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let fits = (1..=KEY_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Failure::invalid(
            "Idempotency-Key",
            format!(
                "a key is 1 to {KEY_BYTES} printable ASCII characters without spaces; a UUID does well"
            ),
        ))
    }
}

/// A key that no caller can send, because of its space.
fn begun_key(key: &str) -> String {
    format!("begun {key}")
}

fn unknown_end() -> Failure {
    Failure::new(
        Kind::Conflict,
        "a request with this idempotency key was begun, and its end is not known because the \
         server was stopped or failed: look whether it was carried out, and use a new key if not",
    )
}

async fn keep(
    app: &App,
    token: TokenId,
    key: &str,
    request_hash: [u8; 32],
    status: u16,
    body: String,
) -> Result<(), StoreError> {
    let write = Write::PutIdempotency {
        key: key.to_owned(),
        token,
        request_hash,
        status,
        body,
        at: app.now(),
    };
    app.store().commit(Batch::new().with(write)).await
}

async fn answer_from_before(
    app: &App,
    token: TokenId,
    key: &str,
    hash: &[u8; 32],
) -> Result<Option<Response>, Failure> {
    let look = async |key: &str| {
        let found = app.store().idempotency(key, token).await;
        found.map_err(|e| crate::app::of_store("looking for the idempotency key", e))
    };
    let Some(answer) = look(key).await? else {
        return match look(&begun_key(key)).await? {
            Some(begun) if begun.request_hash != *hash => Err(reused()),
            Some(_) => Err(unknown_end()),
            None => Ok(None),
        };
    };
    if answer.request_hash != *hash {
        return Err(reused());
    }
    let conflict = answer.status == StatusCode::CONFLICT.as_u16();
    let advice = match answer.body.strip_prefix(ADVICE) {
        // As answers of before are kept.
        None if answer.body.is_empty() => Some("delete what it made, and make another"),
        advice => advice,
    };
    if let Some(advice) = advice.filter(|_| conflict) {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "the first request with this key was carried out, and the secret in its answer was \
                 shown then and only then: {advice}"
            ),
        ));
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let media_type = if status.is_success() {
        "application/json"
    } else {
        "application/problem+json"
    };
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(Some(response))
}

fn reused() -> Failure {
    Failure::new(
        Kind::KeyReused,
        "this idempotency key was used for another request: use a new key for each",
    )
    .field("Idempotency-Key")
}
