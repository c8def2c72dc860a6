//! Another password for our own account.
//!
//! The hazard is to be locked out. So a password is only ever sent after the
//! caller has kept it, it counts only once it signs in, and a lost answer leads
//! to trying both, never to guessing.

use billet_model::Secret;
use billet_model::bmc::{BmcFact, BmcFailure, BmcReply, PasswordThatWorks};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::client::BmcClient;
use crate::error::BmcError;
use crate::http::{Call, Http, Lost};
use crate::messages;

/// How often a new password is tried before it counts as not taken (yet):
/// accounts lock.
const TRIES: u32 = 3;
/// Where the first account is, where nothing says where ours is.
const FIRST_ACCOUNT: &str = "/redfish/v1/AccountService/Accounts/1";
const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

impl BmcClient {
    /// Gives our account the password `next`, and signs in with it.
    ///
    /// Done is [`BmcFact::Password`] with the next one. Refused is known to have
    /// changed nothing; everything else is uncertain, and [`Self::try_passwords`]
    /// tells what became of it.
    pub async fn set_password(&self, next: &Secret) -> BmcReply {
        match self.change_password(next).await {
            Ok(works) => BmcReply::Done {
                fact: BmcFact::Password { works },
            },
            Err(error) => BmcReply::from(error),
        }
    }

    /// Which of `next` and the password of this client signs in.
    pub async fn try_passwords(&self, next: &Secret) -> BmcReply {
        let works = async {
            if self.signs_in(next).await? {
                return Ok(PasswordThatWorks::Next);
            }
            Ok::<_, BmcError>(match self.signs_in(&self.password).await? {
                true => PasswordThatWorks::Current,
                false => PasswordThatWorks::Neither,
            })
        };
        match works.await {
            Ok(works) => BmcReply::Done {
                fact: BmcFact::Password { works },
            },
            Err(error) => BmcReply::from(error),
        }
    }

    async fn change_password(&self, next: &Secret) -> Result<PasswordThatWorks, BmcError> {
        let body = json!({"Password": next.expose()});
        match self.own_account().await {
            Ok(account) => {
                let sent = self.service().patch(&account, &body).await;
                sent.map_err(|refusal| refusal.error)?;
            }
            // It may do that and nothing else.
            Err(BmcError::PasswordChange { account, .. }) => {
                let path = account.unwrap_or_else(|| FIRST_ACCOUNT.to_owned());
                self.change_first(&path, &body).await?;
            }
            Err(error) => return Err(error),
        }
        for _ in 0..TRIES {
            if self.signs_in(next).await.map_err(BmcError::after_change)? {
                return Ok(PasswordThatWorks::Next);
            }
            tokio::time::sleep(self.timeouts.poll).await;
        }
        Err(BmcError::Uncertain {
            what: "change the password".into(),
            detail: "it was accepted, and does not sign in (yet)".into(),
        })
    }

    /// Our own account's resource.
    async fn own_account(&self) -> Result<crate::value::Resource, BmcError> {
        let own = &self.endpoint.user;
        let accounts = self.service().accounts().await?;
        let found = accounts
            .into_iter()
            .find(|(account, _)| account.user == *own);
        found.map(|(_, resource)| resource).ok_or_else(|| {
            BmcError::refused(
                "change the password",
                format!("the BMC lists no account {own:?}: it may be kept elsewhere (LDAP)"),
            )
        })
    }

    /// Changes the password where nothing else is allowed before: with a session
    /// made for that alone, for one that is good for nothing else is not kept.
    async fn change_first(&self, path: &str, body: &Value) -> Result<(), BmcError> {
        let what = format!("PATCH {path}");
        let http = self.http()?;
        let sessions = "/redfish/v1/SessionService/Sessions";
        let who = json!({
            "UserName": self.endpoint.user, "Password": self.password.expose(),
        });
        let login = http.exchange(Call {
            method: Method::POST,
            path: sessions,
            header: None,
            if_match: None,
            body: Some(&who),
            timeout: self.timeouts.read,
        });
        let (token, session) = match login.await {
            Ok(answer) if (200..300).contains(&answer.status) => (
                answer.headers.get(TOKEN).cloned(),
                answer
                    .location()
                    .and_then(|l| crate::link::resolve(sessions, l)),
            ),
            _ => (None, None),
        };
        let header = match token {
            Some(mut token) => {
                token.set_sensitive(true);
                (TOKEN, token)
            }
            None => self.basic()?,
        };
        let sent = http
            .exchange(Call {
                method: Method::PATCH,
                path,
                header: Some(header.clone()),
                if_match: None,
                body: Some(body),
                timeout: self.timeouts.change,
            })
            .await;
        if let Some(session) = &session {
            let ended = http.exchange(Call {
                method: Method::DELETE,
                path: session,
                header: Some(header),
                if_match: None,
                body: None,
                timeout: self.timeouts.read,
            });
            let _ = ended.await;
        }
        match sent {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) if (400..500).contains(&answer.status) && answer.status != 408 => {
                Err(BmcError::Refused {
                    what,
                    status: Some(answer.status),
                    detail: messages::words(answer.bytes()),
                })
            }
            Ok(answer) => Err(BmcError::Uncertain {
                what,
                detail: format!(
                    "status {}: {}",
                    answer.status,
                    messages::words(answer.bytes())
                ),
            }),
            Err(Lost::NotSent(error)) => Err(error),
            Err(Lost::MaybeSent(detail)) => Err(BmcError::Uncertain { what, detail }),
        }
    }

    fn basic(&self) -> Result<(HeaderName, HeaderValue), BmcError> {
        use base64::Engine as _;
        let both = Secret::new(format!("{}:{}", self.endpoint.user, self.password.expose()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(both.expose());
        let text = Secret::new(format!("Basic {encoded}"));
        let mut value = HeaderValue::from_str(text.expose())
            .map_err(|_| BmcError::malformed("Basic authentication", "not a header value"))?;
        value.set_sensitive(true);
        Ok((reqwest::header::AUTHORIZATION, value))
    }

    fn http(&self) -> Result<Http, BmcError> {
        Http::new(&self.pinned(), self.timeouts)
    }

    /// The endpoint, held to the certificate that was shown.
    fn pinned(&self) -> billet_model::bmc::BmcEndpoint {
        let mut endpoint = self.endpoint.clone();
        endpoint.fingerprint = endpoint.fingerprint.or_else(|| self.fingerprint());
        endpoint
    }

    /// Whether this password is the account's.
    async fn signs_in(&self, password: &Secret) -> Result<bool, BmcError> {
        let other = Self::new(&self.pinned(), password.clone(), self.timeouts)?;
        let read = other.service().system().await;
        other.close().await;
        match read {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                // It is the right one, and is to be changed.
                Some(BmcFailure::PasswordChange) => Ok(true),
                Some(BmcFailure::Credentials) => Ok(false),
                _ => Err(error),
            },
        }
    }
}
