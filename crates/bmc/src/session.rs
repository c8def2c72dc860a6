//! Who we are to the BMC: a session where it gives one, else Basic.
//!
//! BMCs have few session slots and forget sessions at will, so one session is
//! shared by all requests, made again once when it is refused, and deleted at
//! the end. A refused password is not offered again for a while: accounts lock.

use std::time::{Duration, Instant};

use base64::Engine as _;
use billet_model::Secret;
use billet_model::bmc::BmcFailure;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::Mutex;

use crate::error::BmcError;
use crate::http::{Call, Http, Lost};
use crate::messages;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// How long a refused password is not offered again.
const LOCKOUT: Duration = Duration::from_secs(10);

/// How a request says who we are. The number tells one login from the next.
#[derive(Clone)]
pub(crate) struct Pass {
    header: (HeaderName, HeaderValue),
    serial: u64,
    pub basic: bool,
    /// Why there is no session, where there could be one at another time.
    doubt: Option<String>,
}

impl Pass {
    pub fn header(&self) -> (HeaderName, HeaderValue) {
        self.header.clone()
    }
}

/// What a login gave.
struct Login {
    header: (HeaderName, HeaderValue),
    /// Where the session is, where there is one.
    session: Option<String>,
    basic: bool,
    doubt: Option<String>,
}

#[derive(Default)]
struct State {
    pass: Option<Pass>,
    /// Where the session is, to delete it.
    session: Option<String>,
    refused: Option<(Instant, BmcError)>,
    logins: u64,
}

/// The account and its current session.
pub(crate) struct Account {
    user: String,
    password: Secret,
    state: Mutex<State>,
}

impl Account {
    pub fn new(user: String, password: Secret) -> Self {
        Self {
            user,
            password,
            state: Mutex::default(),
        }
    }

    /// The current pass, made by a login where there is none. `stale` is one
    /// that was just refused.
    pub async fn pass(
        &self,
        http: &Http,
        sessions: &str,
        stale: Option<&Pass>,
    ) -> Result<Pass, BmcError> {
        let mut state = self.state.lock().await;
        match (&state.pass, stale) {
            (Some(pass), None) => return Ok(pass.clone()),
            // Somebody else has logged in again meanwhile.
            (Some(pass), Some(stale)) if pass.serial != stale.serial => return Ok(pass.clone()),
            _ => {}
        }
        if let Some((at, error)) = &state.refused
            && at.elapsed() < LOCKOUT
        {
            return Err(error.clone());
        }
        state.pass = None;
        state.session = None;
        let made = match stale.filter(|s| s.basic) {
            None => self.login(http, sessions).await,
            Some(Pass { doubt: None, .. }) => {
                Err(self.refused("Basic authentication", "status 401".to_owned()))
            }
            // There was no session because the BMC had other worries, and Basic
            // may be turned off: that says nothing of the password.
            Some(_) => match self.login(http, sessions).await {
                Ok(Login {
                    doubt: Some(why), ..
                }) => Err(BmcError::Unreachable {
                    what: format!("POST {sessions}"),
                    detail: format!("no session ({why}), and Basic authentication is refused"),
                }),
                made => made,
            },
        };
        match made {
            Ok(Login {
                header,
                session,
                basic,
                doubt,
            }) => {
                state.logins += 1;
                let pass = Pass {
                    header,
                    serial: state.logins,
                    basic,
                    doubt,
                };
                state.pass = Some(pass.clone());
                state.session = session;
                state.refused = None;
                Ok(pass)
            }
            Err(error) => {
                if let Some(BmcFailure::Credentials | BmcFailure::PasswordChange) = error.kind() {
                    state.refused = Some((Instant::now(), error.clone()));
                }
                Err(error)
            }
        }
    }

    /// The session that is open, forgotten here so that it can be closed.
    pub fn take(&mut self) -> Option<(Pass, String)> {
        let state = self.state.get_mut();
        Some((state.pass.take()?, state.session.take()?))
    }

    /// The same, while others may use it.
    pub async fn take_shared(&self) -> Option<(Pass, String)> {
        let mut state = self.state.lock().await;
        Some((state.pass.take()?, state.session.take()?))
    }

    async fn login(&self, http: &Http, sessions: &str) -> Result<Login, BmcError> {
        let body = json!({"UserName": self.user, "Password": self.password.expose()});
        let what = format!("POST {sessions}");
        let answer = http
            .exchange_login(Call {
                method: Method::POST,
                path: sessions,
                header: None,
                if_match: None,
                body: Some(&body),
                timeout: http.timeouts.read,
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Lost::NotSent(error)) => return Err(error),
            Err(Lost::MaybeSent(detail)) => {
                tracing::debug!(%what, %detail, "no session; falling back to basic");
                return self.basic(Some(detail));
            }
        };
        let full = messages::says_sessions_full(answer.bytes());
        let change = messages::says_password_change(answer.bytes());
        match answer.status {
            status @ (200..=299 | 401 | 403) if change => {
                // The session that it may have made is good for nothing here.
                let session = answer
                    .location()
                    .and_then(|l| crate::link::resolve(sessions, l));
                if let (200..=299, Some(token), Some(session)) =
                    (status, answer.headers.get(TOKEN).cloned(), session)
                {
                    let given_back = http.exchange(Call {
                        method: Method::DELETE,
                        path: &session,
                        header: Some((TOKEN, token)),
                        if_match: None,
                        body: None,
                        timeout: http.timeouts.read,
                    });
                    let _ = given_back.await;
                }
                Err(self.must_change(what, answer.bytes()))
            }
            200..=299 => {
                // Copied: a header that came shares the whole buffer that it was read into,
                // 8 KiB for each BMC for as long as its session lasts.
                let token = answer.headers.get(TOKEN);
                let copied = token.and_then(|t| HeaderValue::from_bytes(t.as_bytes()).ok());
                let Some(mut token) = copied else {
                    return self.basic(None);
                };
                token.set_sensitive(true);
                let session = answer
                    .location()
                    .and_then(|l| crate::link::resolve(sessions, l))
                    .or_else(|| crate::link::target(sessions, &answer.json()?));
                Ok(Login {
                    header: (TOKEN, token),
                    session,
                    basic: false,
                    doubt: None,
                })
            }
            401 | 403 if !full => Err(self.refused(&what, messages::words(answer.bytes()))),
            status => {
                tracing::debug!(%what, status, full, "no session; falling back to basic");
                let passing = full || matches!(status, 429 | 500..);
                let doubt = || format!("status {status}: {}", messages::words(answer.bytes()));
                self.basic(passing.then(doubt))
            }
        }
    }

    /// What to say where the BMC wants the password changed first.
    pub fn must_change(&self, what: String, body: &[u8]) -> BmcError {
        BmcError::PasswordChange {
            what,
            user: self.user.clone(),
            account: messages::account_to_change(body),
            detail: messages::words(body),
        }
    }

    fn basic(&self, doubt: Option<String>) -> Result<Login, BmcError> {
        let both = Secret::new(format!("{}:{}", self.user, self.password.expose()));
        let encoded = Secret::new(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(both.expose())
        ));
        let mut value = HeaderValue::from_str(encoded.expose())
            .map_err(|_| BmcError::malformed("Basic authentication", "not a header value"))?;
        value.set_sensitive(true);
        Ok(Login {
            header: (AUTHORIZATION, value),
            session: None,
            basic: true,
            doubt,
        })
    }

    fn refused(&self, what: &str, detail: String) -> BmcError {
        BmcError::Credentials {
            what: what.to_owned(),
            detail: format!("user {:?}: {detail}", self.user),
        }
    }
}
