//! Why a request was not carried out, as RFC 9457 problem details.
//!
//! Everything that is refused anywhere in this crate becomes a [`Failure`], and a
//! `Failure` becomes `application/problem+json`: there is no other form of error
//! on the wire. What went wrong inside is logged and not told to the caller.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use billet_control::{Refusal, RefusalKind};
use billet_model::api::Problem;

/// What kind of problem: the last word of its `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request cannot be read: not JSON, not a query.
    Malformed,
    /// No token, or one that is not good.
    Unauthenticated,
    /// The token's role does not cover this.
    Forbidden,
    /// No such thing, or none that the caller may see.
    NotFound,
    /// There is something at this path, but not for this method.
    MethodNotAllowed,
    /// The body took too long to come.
    Timeout,
    /// Not as things stand.
    Conflict,
    /// It is still held, or still used.
    InUse,
    /// Nothing that fits is free.
    NoneFree,
    /// A quota is used up.
    OverQuota,
    /// It was changed since the caller looked.
    Stale,
    /// The body is too large.
    TooLarge,
    /// The body is of another type than is understood.
    MediaType,
    /// The range lies outside.
    Range,
    /// A field has a value that it cannot have.
    Invalid,
    /// The idempotency key was used for another request.
    KeyReused,
    /// As many as this caller may have.
    TooMany,
    /// Ours.
    Internal,
    /// For now.
    Unavailable,
}

impl Kind {
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "the request cannot be read"),
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "not signed in"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "not with this role"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "there is no such thing"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "not with this method",
            ),
            Self::Timeout => (S::REQUEST_TIMEOUT, "timeout", "the body did not come"),
            Self::Conflict => (S::CONFLICT, "conflict", "not as things stand"),
            Self::InUse => (S::CONFLICT, "in-use", "it is still used"),
            Self::NoneFree => (S::CONFLICT, "none-free", "nothing that fits is free"),
            Self::OverQuota => (S::CONFLICT, "over-quota", "a quota is used up"),
            Self::Stale => (S::PRECONDITION_FAILED, "stale", "it was changed meanwhile"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "the body is too large"),
            Self::MediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "the body is of another type",
            ),
            Self::Range => (S::RANGE_NOT_SATISFIABLE, "range", "the range lies outside"),
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "a value cannot be used"),
            Self::KeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the idempotency key was used for another request",
            ),
            Self::TooMany => (S::TOO_MANY_REQUESTS, "too-many", "too many at once"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Billet failed"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "not for now"),
        }
    }
}

/// A request that was not carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    detail: String,
    field: Option<String>,
    extra: Option<Box<(header::HeaderName, HeaderValue)>>,
}

impl Failure {
    /// A problem of `kind`; `detail` says what exactly, and the way out.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            extra: None,
        }
    }

    /// The field of the request that it is about.
    #[cfg(test)]
    pub(crate) fn about(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// It is about this field of the request.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.extra = Some(Box::new((name, value)));
        self
    }

    /// There is none such: the same words whether it is missing or another project's.
    pub(crate) fn not_found(what: &str, asked: &str) -> Self {
        let asked: String = asked.chars().take(80).collect();
        Self::new(
            Kind::NotFound,
            format!(
                "there is no {what} {asked:?} that you may see; list what there is, or ask by id"
            ),
        )
    }

    /// A value that cannot be used.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail).field(field)
    }

    /// Ours: logged whole, told in general.
    pub(crate) fn internal(doing: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(doing, %error, "a request failed inside");
        Self::new(
            Kind::Internal,
            format!(
                "{doing} failed inside Billet; nothing is known to have been changed. The server's \
                 log has the reason under this request's id"
            ),
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, word, title) = self.kind.facts();
        let problem = Problem {
            kind: format!("https://billet.dev/problems/{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            field: self.field,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"billet\""),
            );
        }
        if let Some((name, value)) = self.extra.map(|extra| *extra) {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::NotFound => Kind::NotFound,
            RefusalKind::Invalid => Kind::Invalid,
            RefusalKind::Conflict => Kind::Conflict,
            RefusalKind::Unavailable => Kind::NoneFree,
            RefusalKind::OverQuota => Kind::OverQuota,
            RefusalKind::Precondition => Kind::Stale,
            RefusalKind::TooLarge => Kind::TooLarge,
            RefusalKind::Internal => return Self::internal("the request", &refusal.detail),
        };
        Self {
            kind,
            detail: refusal.detail,
            field: refusal.field,
            extra: None,
        }
    }
}
