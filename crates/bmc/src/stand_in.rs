//! A BMC that is a function: what answers in the network's place where answers
//! themselves are at stake.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::http::Answer;

/// Answers requests in this process.
pub trait StandIn: Send + Sync {
    /// What a BMC would answer to `method` at `path`, its query included.
    fn answer(&self, method: &str, path: &str) -> Answered;
}

/// One answer. Headers that could not have come over HTTP are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Headers by name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer as the client sees it: a body above `largest` bytes is not read.
pub(crate) fn answered(
    stand_in: &dyn StandIn,
    method: &Method,
    url: &Url,
    largest: usize,
) -> Answer {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let given = stand_in.answer(method.as_str(), &path);
    let mut headers = HeaderMap::new();
    for (name, value) in given.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(&value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = match given.body.len() > largest {
        true => Err(format!("larger than {largest} bytes")),
        false => Ok(given.body),
    };
    Answer {
        status: given.status,
        headers,
        body,
    }
}
