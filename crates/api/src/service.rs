//! The service without a listener: requests are handed to it in this process.

use axum::{Router, body::Body, extract::Request, response::Response};
use billet_control::Control;
use tokio::sync::watch;
use tower_service::Service as _;

use crate::{
    app::App,
    router,
    serve::{ServeError, ServeOptions},
};

/// All that [`serve()`](crate::serve()) answers with, and nothing around it: no
/// TLS, no webhooks sent, no house kept. For tests and fuzzing of what is made
/// of requests.
pub struct Service {
    router: Router,
    /// Dropped at the end: what waits for ever ends then.
    _end: watch::Sender<bool>,
}

impl Service {
    /// The service of `control`.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub fn new(control: Control, options: &ServeOptions) -> Result<Self, ServeError> {
        // As serving does: one provider for all of the program.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (end, ending) = watch::channel(false);
        let fingerprint = crate::sha256_hex(control.settings().authority.as_bytes());
        let app = App::new(control, options, &fingerprint, ending)?;
        Ok(Self {
            router: router::router(app),
            _end: end,
        })
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let answered = self.router.clone().call(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}
