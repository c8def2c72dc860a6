//! One call, from the request to the typed answer: the one place that sends, and that repeats.
//!
//! What may be repeated: a GET always. A POST too, because it carries an idempotency key that stays
//! the same over its repetitions. PATCH, PUT and DELETE only where no connection came about, so
//! that nothing can have been done.

use std::time::Duration;

use billet_model::api::Problem;
use reqwest::{Method, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Result,
    client::Client,
    error::{ClientError, root_cause},
};

/// A request to be made.
pub(crate) struct Call<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    if_match: Option<i64>,
    timeout: Duration,
}

/// One part of a path, so that a slash in a name stays one part.
pub(crate) fn part(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // "." and ".." alone would be taken out of the path.
            b'.' if text.bytes().any(|other| other != b'.') => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Client {
    /// A call to `path`, whose parts were made with [`part`].
    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call {
            client: self,
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            if_match: None,
            timeout: self.patience.answer,
        }
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, path)
    }
}

impl Call<'_> {
    /// Adds to the query.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// The JSON body.
    pub(crate) fn body(self, body: &impl Serialize) -> Self {
        let value = serde_json::to_value(body).unwrap_or(Value::Null);
        self.value(value)
    }

    /// The JSON body, as a value: for bodies with secrets, whose types cannot be serialised.
    pub(crate) fn value(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Only where the thing still has this version.
    pub(crate) fn if_match(mut self, version: Option<i64>) -> Self {
        self.if_match = version;
        self
    }

    /// Waits this much longer for the answer, because the server waits on purpose.
    pub(crate) fn wait(mut self, more: Duration) -> Self {
        self.timeout += more;
        self
    }

    fn asked(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Sends it and reads the answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let asked = self.asked();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed {
            asked,
            detail: error.to_string(),
        })
    }

    /// Sends it; the answer has nothing in it that matters.
    pub(crate) async fn done(self) -> Result<()> {
        self.bytes().await.map(|_| ())
    }

    /// Sends it, again where that is safe, until there is a whole answer.
    pub(crate) async fn bytes(self) -> Result<bytes::Bytes> {
        self.answer().await.map(|(_, bytes)| bytes)
    }

    /// As [`Call::bytes`], with the ETag.
    pub(crate) async fn answer(self) -> Result<(Option<String>, bytes::Bytes)> {
        let key = (self.method == Method::POST).then(|| uuid::Uuid::new_v4().to_string());
        let patience = self.client.patience;
        let mut pause = patience.pause;
        for attempt in 0.. {
            let failure = match self.once(key.as_deref()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may = match failure.repeat {
                Repeat::Never => false,
                Repeat::NothingSent => true,
                Repeat::IfHarmless => matches!(self.method, Method::GET | Method::POST),
            };
            if !may || attempt >= patience.retries {
                return Err(failure.error);
            }
            tracing::debug!(asked = %self.asked(), error = %failure.error, "asking again");
            tokio::time::sleep(failure.after.unwrap_or(pause)).await;
            pause *= 2;
        }
        unreachable!("the loop ends by returning")
    }

    async fn once(
        &self,
        key: Option<&str>,
    ) -> std::result::Result<(Option<String>, bytes::Bytes), Failure> {
        let asked = self.asked();
        let mut url = self.client.base.clone();
        url.set_path(&self.path);
        let mut request = self
            .client
            .http
            .request(self.method.clone(), url)
            .timeout(self.timeout);
        if !self.query.is_empty() {
            request = request.query(&self.query);
        }
        if let Some(token) = &self.client.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(version) = self.if_match {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| sending(self.client, &asked, &error))?;
        let tag = response
            .headers()
            .get(header::ETAG)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.trim_start_matches("W/").trim_matches('"').to_owned());
        let response = accepted(response, &asked).await?;
        let bytes = response.bytes().await.map_err(|error| Failure {
            error: ClientError::Lost {
                asked,
                detail: root_cause(&error),
            },
            repeat: Repeat::IfHarmless,
            after: None,
        })?;
        Ok((tag, bytes))
    }
}

/// Whether a failed call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// The server answered: it would say the same again.
    Never,
    /// It did not get there.
    NothingSent,
    /// It may have been carried out.
    IfHarmless,
}

/// A call that failed once.
pub(crate) struct Failure {
    pub(crate) error: ClientError,
    pub(crate) repeat: Repeat,
    pub(crate) after: Option<Duration>,
}

/// What a failure to send means.
pub(crate) fn sending(client: &Client, asked: &str, error: &reqwest::Error) -> Failure {
    let server = client.base.to_string();
    let detail = root_cause(error);
    if let Some(detail) = certificate_trouble(error) {
        return Failure {
            error: ClientError::Untrusted { server, detail },
            repeat: Repeat::Never,
            after: None,
        };
    }
    let (error, repeat) = if error.is_connect() {
        (
            ClientError::Unreachable { server, detail },
            Repeat::NothingSent,
        )
    } else if error.is_builder() {
        (ClientError::Setup { detail }, Repeat::Never)
    } else {
        let asked = asked.to_owned();
        (ClientError::Lost { asked, detail }, Repeat::IfHarmless)
    };
    Failure {
        error,
        repeat,
        after: None,
    }
}

fn certificate_trouble(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // An io::Error hides what it wraps from `source`, and may wrap another one.
        let mut inner = error;
        while let Some(wrapped) = inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            inner = wrapped;
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
                rustls::Error::General(text) => Some(text.clone()),
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}

/// Gives back a response that is a success; turns any other into what it means.
pub(crate) async fn accepted(
    response: Response,
    asked: &str,
) -> std::result::Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .map(|seconds: u64| Duration::from_secs(seconds.min(30)));
    let bytes = response.bytes().await.unwrap_or_default();
    // Billet's own refusal is an answer; a gateway's in between is not, nor is "later".
    let problem = serde_json::from_slice::<Problem>(&bytes).ok();
    let between = matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    let repeat = if status == StatusCode::TOO_MANY_REQUESTS
        || (between && (problem.is_none() || after.is_some()))
    {
        Repeat::IfHarmless
    } else {
        Repeat::Never
    };
    let problem = problem.unwrap_or_else(|| Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("no reason").to_owned(),
        status: status.as_u16(),
        detail: format!(
            "the server answered {status} without saying why: is this a Billet server?"
        ),
        field: None,
    });
    Err(Failure {
        error: ClientError::Problem {
            asked: asked.to_owned(),
            problem: Box::new(problem),
        },
        repeat,
        after,
    })
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_stays_one_part() {
        for (text, wanted) in [
            ("r1-u07", "r1-u07"),
            ("h100-sxm5-80g.8x", "h100-sxm5-80g.8x"),
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a?b#c d", "a%3Fb%23c%20d"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(part(text), wanted);
        }
    }
}
