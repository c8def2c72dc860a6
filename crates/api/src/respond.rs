//! Answers with one thing: with its `ETag`, or that it is as it was.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use crate::problem::Failure;

/// What stands in an `ETag`: the thing's version where it has one, which can be
/// sent back as `If-Match`; else a hash.
pub(crate) fn etag<T: Serialize>(thing: &T, version: Option<i64>) -> String {
    match version {
        Some(version) => format!("\"{version}\""),
        None => {
            let json = serde_json::to_vec(thing).unwrap_or_default();
            format!("\"{}\"", &crate::sha256_hex(&json)[..24])
        }
    }
}

/// One thing, or 304 where the caller has it.
pub(crate) fn one<T: Serialize>(
    headers: &HeaderMap,
    thing: &T,
    version: Option<i64>,
) -> Result<Response, Failure> {
    // A version does not cover what a view takes from elsewhere.
    answer(headers, thing, version, version.is_none())
}

/// One thing whose version covers all of it, or 304 where the caller has it.
pub(crate) fn versioned<T: Serialize>(
    headers: &HeaderMap,
    thing: &T,
    version: i64,
) -> Result<Response, Failure> {
    answer(headers, thing, Some(version), true)
}

fn answer<T: Serialize>(
    headers: &HeaderMap,
    thing: &T,
    version: Option<i64>,
    covers: bool,
) -> Result<Response, Failure> {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    let tag = etag(thing, version);
    if covers && known.is_some_and(|known| known == tag) {
        return tagged(StatusCode::NOT_MODIFIED.into_response(), &tag);
    }
    tagged(axum::Json(thing).into_response(), &tag)
}

/// A thing after a change, or a new one at `location`.
pub(crate) fn changed<T: Serialize>(
    status: StatusCode,
    thing: &T,
    version: Option<i64>,
    location: Option<String>,
) -> Result<Response, Failure> {
    let mut response = (status, axum::Json(thing)).into_response();
    if let Some(location) = location.and_then(|l| HeaderValue::from_str(&l).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    match version {
        Some(version) => tagged(response, &format!("\"{version}\"")),
        None => Ok(response),
    }
}

fn tagged(mut response: Response, tag: &str) -> Result<Response, Failure> {
    let value = HeaderValue::from_str(tag).map_err(|e| Failure::internal("answering", &e))?;
    response.headers_mut().insert(header::ETAG, value);
    Ok(response)
}
