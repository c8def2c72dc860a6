//! What is found out about a BMC once: its vendor, where sessions are made,
//! which system is the machine, and who manages it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use crate::error::BmcError;
use crate::expand::Expand;
use crate::http::{Answer, Call, Http, Lost};
use crate::read::Who;
use crate::session::{Account, Pass};
use crate::value::Resource;
use crate::vendors::Vendor;

/// Where sessions are made, where the service root does not say it.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Everything shared by the clones of one client.
pub(crate) struct Service {
    pub http: Arc<Http>,
    account: Account,
    root: OnceCell<Root>,
    /// Where the system is that is the machine, once that is known.
    pub system: Mutex<Option<String>>,
    /// It accepted a boot override and did not show it, the last time.
    pub hides_boot: AtomicBool,
}

/// What the service root says. It is kept for as long as the client is, as text: there may
/// be a thousand of them, and it is looked at again in a discovery only.
#[derive(Debug)]
pub(crate) struct Root {
    path: String,
    text: Box<[u8]>,
    pub vendor: Vendor,
    pub expand: Expand,
    sessions: String,
}

impl Root {
    /// All that it says.
    pub fn resource(&self) -> Resource {
        Resource {
            path: self.path.clone(),
            etag: None,
            body: Arc::new(serde_json::from_slice(&self.text).unwrap_or_default()),
        }
    }
}

impl Service {
    pub fn new(http: Http, account: Account) -> Self {
        Self {
            http: Arc::new(http),
            account,
            root: OnceCell::new(),
            system: Mutex::default(),
            hides_boot: AtomicBool::new(false),
        }
    }

    /// The service root, read once. It needs no login.
    pub async fn root(&self) -> Result<&Root, BmcError> {
        self.root
            .get_or_try_init(|| async {
                let reader = self.reader();
                // Boxed, because a read that logs in asks for the root.
                let read = Box::pin(reader.read_as("/redfish/v1/", Who::Nobody));
                let resource = match read.await {
                    // Some ask for a login even here.
                    Err(BmcError::Credentials { .. }) => self.root_as_account().await?,
                    read => read?,
                };
                let sessions = resource
                    .link("/Links/Sessions")
                    .or_else(|| {
                        let service = resource.link("/SessionService")?;
                        Some(format!("{}/Sessions", service.trim_end_matches('/')))
                    })
                    .unwrap_or_else(|| SESSIONS.to_owned());
                let expand = Expand::announced(&resource.body);
                if expand.is_announced() {
                    self.http.expect_large();
                }
                Ok(Root {
                    vendor: Vendor::of(&resource.body, None),
                    expand,
                    text: resource.body.to_string().into_bytes().into(),
                    path: resource.path,
                    sessions,
                })
            })
            .await
    }

    /// The service root of a BMC that shows it to nobody without a login.
    async fn root_as_account(&self) -> Result<Resource, BmcError> {
        let what = "GET /redfish/v1/";
        let pass = self.account.pass(&self.http, SESSIONS, None).await?;
        let call = Call {
            method: Method::GET,
            path: "/redfish/v1/",
            header: Some(pass.header()),
            if_match: None,
            body: None,
            timeout: self.http.timeouts.read,
        };
        let answer = match self.http.exchange(call).await {
            Ok(answer) => answer,
            Err(Lost::NotSent(error)) => return Err(error),
            Err(Lost::MaybeSent(detail)) => {
                return Err(BmcError::Unreachable {
                    what: what.to_owned(),
                    detail,
                });
            }
        };
        // One that shows it to nobody at all may have everything where it always is.
        let body = answer
            .json()
            .filter(|b| answer.status == 200 && b.is_object());
        Ok(Resource {
            path: "/redfish/v1".into(),
            etag: None,
            body: Arc::new(body.unwrap_or_else(|| Value::Object(Default::default()))),
        })
    }

    /// What to say where the BMC wants the password changed first.
    pub fn must_change(&self, what: String, body: &[u8]) -> BmcError {
        self.account.must_change(what, body)
    }

    /// Sends a request as the account, logging in where needed, and again once
    /// where the session is refused: a 401 is known to have done nothing.
    pub async fn send(&self, mut call: Call<'_>) -> Result<Answer, Lost> {
        let sessions = &self.root().await.map_err(Lost::NotSent)?.sessions;
        let mut stale: Option<Pass> = None;
        loop {
            let pass = self
                .account
                .pass(&self.http, sessions, stale.as_ref())
                .await
                .map_err(Lost::NotSent)?;
            call.header = Some(pass.header());
            let answer = self
                .http
                .exchange(Call {
                    method: call.method.clone(),
                    header: call.header.clone(),
                    ..call
                })
                .await?;
            if answer.status != 401 || stale.is_some() {
                return Ok(answer);
            }
            stale = Some(pass);
        }
    }

    /// The vendor, as root and system tell together.
    pub async fn vendor(&self, system: &Resource) -> Vendor {
        match self.root().await {
            Ok(root) if root.vendor != Vendor::Other => root.vendor,
            Ok(root) => Vendor::of(
                &root.resource().body,
                system.text("/Manufacturer").as_deref(),
            ),
            Err(_) => Vendor::Other,
        }
    }

    /// Closes the session, best effort.
    pub async fn close(&self) {
        if let Some((pass, session)) = self.account.take_shared().await {
            close(&self.http, &pass, &session).await;
        }
    }
}

async fn close(http: &Http, pass: &Pass, session: &str) {
    let call = Call {
        method: Method::DELETE,
        path: session,
        header: Some(pass.header()),
        if_match: None,
        body: None,
        timeout: http.timeouts.read,
    };
    if http.exchange(call).await.is_err() {
        tracing::debug!(session, "the session was not deleted; it will expire");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some((pass, session)) = self.account.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let http = self.http.clone();
        runtime.spawn(async move { close(&http, &pass, &session).await });
    }
}
