//! What handlers take from a request, with every refusal as a problem that
//! names the field.

use std::time::Duration;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::problem::{Failure, Kind};

/// Largest JSON body, in bytes.
pub(crate) const JSON_BYTES: usize = 1024 * 1024;
/// How long a JSON body may take to come.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let json = media_type(request.headers())
            .is_some_and(|t| t == "application/json" || t.ends_with("+json"));
        if !json {
            return Err(Failure::new(
                Kind::MediaType,
                "send the body as JSON, with the header `Content-Type: application/json`",
            ));
        }
        let bytes = read(request).await?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|e| wrong(&e))?;
        json.end().map_err(|e| {
            let detail =
                format!("after the JSON value something else follows ({e}): send one value");
            Failure::new(Kind::Malformed, detail)
        })?;
        Ok(Self(value))
    }
}

/// The body as bytes, within limits of size and time.
pub(crate) async fn read(request: Request) -> Result<bytes::Bytes, Failure> {
    let too_large = || {
        Failure::new(
            Kind::TooLarge,
            format!("a body may have {JSON_BYTES} bytes; images are uploaded to their own path"),
        )
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > JSON_BYTES as u64) {
        return Err(too_large());
    }
    let body = axum::body::to_bytes(request.into_body(), JSON_BYTES);
    match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) if is_length(&e) => Err(too_large()),
        Ok(Err(e)) => Err(Failure::new(
            Kind::Malformed,
            format!("the body broke off: {e}"),
        )),
        Err(_) => Err(Failure::new(
            Kind::Timeout,
            format!("the body did not come within {} s", BODY_TIME.as_secs()),
        )),
    }
}

fn is_length(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.to_string().contains("length limit") {
            return true;
        }
        source = inner.source();
    }
    false
}

/// `Content-Type` without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or(value);
    Some(essence.trim().to_ascii_lowercase())
}

/// A problem for a value that JSON or a query could not become.
fn wrong<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> Failure {
    let path = error.path().to_string();
    let text = error.inner().to_string();
    let syntax = text.starts_with("expected") || text.starts_with("EOF") || text.starts_with("key");
    let kind = if syntax {
        Kind::Malformed
    } else {
        Kind::Invalid
    };
    let named = || text.split('`').nth(1).map(String::from);
    let unknown = text.starts_with("unknown field") || text.starts_with("missing field");
    let field = match (path.as_str(), unknown.then(named).flatten()) {
        // Of what breaks off, or stands at the top, no field is known.
        ("." | "?", inner) => inner,
        // The unknown field itself is already the path's last part.
        (path, Some(inner)) if path == inner || path.ends_with(&format!(".{inner}")) => {
            Some(path.to_owned())
        }
        (path, Some(inner)) => Some(format!("{path}.{inner}")),
        (path, None) => Some(path.to_owned()),
    };
    let failure = Failure::new(
        kind,
        format!("{text}; the API document says what is understood"),
    );
    match field {
        Some(field) => failure.field(field),
        None => failure,
    }
}

/// The query, as a type of its own; parameters it does not know are refused.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|e| wrong(&e))
    }
}

/// The one variable part of the path: a name or an id.
pub(crate) struct Of(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Failure::new(
                Kind::NotFound,
                "the path is not text: use a name or an id",
            )),
        }
    }
}

/// `If-Match`: the version that the caller has seen, if it says one.
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        version.parse().map(|v| Self(Some(v))).map_err(|_| {
            Failure::invalid(
                "If-Match",
                "If-Match holds the `ETag` (or `version`) of the thing as last seen, such as \"7\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use billet_model::api::{NewLease, Problem};

    async fn problem(body: &str) -> Problem {
        use axum::response::IntoResponse as _;
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(axum::body::Body::from(body.to_owned()))
            .expect("a request");
        let Err(failure) = Body::<NewLease>::from_request(request, &()).await else {
            panic!("{body} was taken");
        };
        let body = failure.into_response().into_body();
        let bytes = axum::body::to_bytes(body, 10_000).await.expect("a body");
        serde_json::from_slice(&bytes).expect("a problem")
    }

    #[tokio::test]
    async fn a_problem_names_its_field() {
        for (body, status, field) in [
            (r#"{"machine_type": "t", "image": 5}"#, 422, Some("image")),
            (
                r#"{"machine_type": "T", "image": "i"}"#,
                422,
                Some("machine_type"),
            ),
            (
                r#"{"machine_type": "t", "image": "i", "ssh_keys": ["a", 1]}"#,
                422,
                Some("ssh_keys[1]"),
            ),
            (
                r#"{"machine_type": "t", "image": "i", "colour": 1}"#,
                422,
                Some("colour"),
            ),
            (r#"{"machine_type": "t"}"#, 422, Some("image")),
            (r#"{"machine_type": "#, 400, Some("machine_type")),
            ("{", 400, None),
            ("", 400, None),
            (r#"{"machine_type": "t", "image": "i"} x"#, 400, None),
        ] {
            let problem = problem(body).await;
            assert_eq!(problem.status, status, "{body}: {problem:?}");
            assert_eq!(problem.field.as_deref(), field, "{body}: {problem:?}");
        }
    }
}
