//! Sending events to webhooks: who may be sent to, and one attempt.
//!
//! Requests are signed in the way of Standard Webhooks ([`sign`]), are never
//! redirected, and for projects go only where the [`Guard`] lets them: to the
//! very address that was looked at.

mod deliver;
mod sign;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use billet_model::{
    Secret, Time,
    event::SealedRow,
    webhook::{Attempt, Webhook},
};
use jiff::SignedDuration;
use reqwest::{
    Certificate, Client, ClientBuilder,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use url::{Host, Url};

pub(crate) use deliver::{deliver, filter, secrets};
pub(crate) use sign::fresh_secret;

use crate::{
    fetch::{self, Guard, GuardedNames},
    serve::ServeOptions,
};

/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest address.
const URL_BYTES: usize = 2000;
/// Under this kind a webhook's secrets are encrypted.
pub(crate) const SECRET: &str = "webhook";

/// What sends events.
pub(crate) struct Sender {
    /// For projects' webhooks: goes where the guard lets it.
    guarded: Client,
    /// For the operator's: goes anywhere.
    free: Client,
    guard: Guard,
    /// Whether http is fine beyond the loopback.
    http: bool,
    give_up: SignedDuration,
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Sender {
    /// A sender that keeps to `options`.
    pub(crate) fn new(options: &ServeOptions) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(options.webhook_allow.clone(), fetch::WEBHOOKS);
        Ok(Self {
            guarded: builder(Some(&guard)).build()?,
            free: builder(None).build()?,
            guard,
            http: options.webhook_http,
            give_up: options.webhook_give_up,
            taken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Events that were taken and attempts that failed, since the start.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.taken), read(&self.failed))
    }

    /// Whether events may be sent to an address; else why not, and the way out.
    pub(crate) fn check(&self, url: &str, of_project: bool) -> Result<Url, String> {
        if url.len() > URL_BYTES {
            return Err(format!("an address has {URL_BYTES} characters at most"));
        }
        let url: Url = url
            .parse()
            .map_err(|e| format!("it is no address: {e}; write it as https://host/path"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "an address has no user or password in it, because it is shown to whoever sees \
                 the webhook: events are signed, check the signature in place of a password"
                    .into(),
            );
        }
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(v4)) => v4.is_loopback(),
            Some(Host::Ipv6(v6)) => v6.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if self.http || local => {}
            "http" => {
                return Err(
                    "events are sent by https only; the operator can allow http for networks that \
                     nobody listens on with `serve --webhook-http`"
                        .into(),
                );
            }
            other => {
                return Err(format!(
                    "{other} is not spoken: write it as https://host/path"
                ));
            }
        }
        if of_project {
            self.guard.check(&url).map_err(|error| error.to_string())?;
        }
        Ok(url)
    }

    /// A client for a receiver that is known by an authority of its own.
    ///
    /// # Errors
    /// When `pem` is not certificates.
    pub(crate) fn knowing(&self, pem: &str, of_project: bool) -> Result<Client, String> {
        let wrong =
            |e: reqwest::Error| format!("these are no certificates in PEM: {}", fetch::chain(&e));
        let known = Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?;
        if known.is_empty() {
            return Err(
                "there is no certificate in it: it begins with -----BEGIN CERTIFICATE-----".into(),
            );
        }
        builder(of_project.then_some(&self.guard))
            .tls_certs_only(known)
            .build()
            .map_err(wrong)
    }

    /// The client that goes to a webhook's receiver.
    fn client(&self, webhook: &Webhook) -> Result<Client, String> {
        let of_project = webhook.project.is_some();
        match &webhook.ca {
            Some(pem) => self.knowing(pem, of_project),
            None if of_project => Ok(self.guarded.clone()),
            None => Ok(self.free.clone()),
        }
    }

    /// Sends one event, once.
    pub(crate) async fn send(
        &self,
        webhook: &Webhook,
        secrets: &[Secret],
        row: &SealedRow,
        now: Time,
    ) -> Attempt {
        let attempt = match self.request(webhook, secrets, row, now).await {
            Ok(attempt) => attempt,
            Err(why) => Attempt::Failed {
                status: None,
                why,
                wait_seconds: None,
            },
        };
        let count = match attempt {
            Attempt::Taken { .. } => &self.taken,
            Attempt::Failed { .. } => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        attempt
    }

    async fn request(
        &self,
        webhook: &Webhook,
        secrets: &[Secret],
        row: &SealedRow,
        now: Time,
    ) -> Result<Attempt, String> {
        // The rules may have changed since it was made.
        let url = self.check(&webhook.url, webhook.project.is_some())?;
        let body = serde_json::to_string(row).map_err(|e| e.to_string())?;
        let id = row.row.id.to_string();
        let at = now.as_second();
        let response = self
            .client(webhook)?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at)
            .header(
                "webhook-signature",
                sign::signatures(secrets, &id, at, &body)?,
            )
            .body(body)
            .send()
            .await
            .map_err(|error| {
                if error.is_timeout() {
                    format!("no answer within {} seconds", PATIENCE.as_secs())
                } else {
                    fetch::chain(&error.without_url())
                }
            })?;
        let status = response.status();
        if status.is_success() {
            let status = status.as_u16();
            return Ok(Attempt::Taken { status });
        }
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
        let why = if status.is_redirection() {
            format!(
                "the receiver answered {status}: redirects are not followed, set the address that it leads to"
            )
        } else {
            format!("the receiver answered {status}")
        };
        Ok(Attempt::Failed {
            status: Some(status.as_u16()),
            why,
            wait_seconds: wait,
        })
    }
}

fn builder(guard: Option<&Guard>) -> ClientBuilder {
    let builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("billet/", env!("CARGO_PKG_VERSION")));
    match guard {
        Some(guard) => builder.dns_resolver(Arc::new(GuardedNames(guard.clone()))),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(options: ServeOptions) -> Sender {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Sender::new(&options).expect("a sender")
    }

    #[test]
    fn addresses_are_public_encrypted_and_without_passwords() {
        let sender = sender(ServeOptions::default());
        for (url, of_project, why) in [
            ("https://hooks.example.org/x?y=z", true, None),
            ("https://1.1.1.1:8443/", true, None),
            ("https://10.0.0.1/", false, None),
            ("http://127.0.0.1:9/", false, None),
            ("http://localhost/", false, None),
            ("http://[::1]/", false, None),
            ("http://hooks.example.org/", false, Some("--webhook-http")),
            ("http://10.0.0.1/", false, Some("--webhook-http")),
            ("http://127.0.0.1/", true, Some("--webhook-allow")),
            ("https://127.1/", true, Some("--webhook-allow")),
            (
                "https://169.254.169.254/latest",
                true,
                Some("--webhook-allow"),
            ),
            ("https://[fe80::1]/", true, Some("--webhook-allow")),
            (
                "https://[::ffff:192.168.0.1]/",
                true,
                Some("--webhook-allow"),
            ),
            ("https://me:secret@hooks.example.org/", true, Some("signed")),
            ("ftp://hooks.example.org/", true, Some("https://host/path")),
            ("hooks.example.org", true, Some("no address")),
            ("", true, Some("no address")),
        ] {
            let checked = sender.check(url, of_project).map(|_| ());
            match why {
                None => assert_eq!(checked, Ok(()), "{url}"),
                Some(why) => assert!(
                    checked.as_ref().is_err_and(|e| e.contains(why)),
                    "{url}: {checked:?}"
                ),
            }
        }
        let allowed = sender_allowing();
        assert!(allowed.check("http://10.1.2.3/", true).is_ok());
        assert!(allowed.check("http://10.2.2.3/", true).is_err());
    }

    fn sender_allowing() -> Sender {
        sender(ServeOptions {
            webhook_allow: vec!["10.1.0.0/16".parse().expect("a range")],
            webhook_http: true,
            ..ServeOptions::default()
        })
    }
}
