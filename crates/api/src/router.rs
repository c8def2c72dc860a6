//! All routes behind the gate.

use axum::{Router, middleware};

use crate::{agents, app::App, gate, routes};

/// The service. Everything passes the gate, what is not there included.
pub(crate) fn router(app: App) -> Router {
    let (api, _) = routes::router().split_for_parts();
    api.merge(agents::router())
        .fallback(async || gate::nothing())
        .layer(middleware::from_fn_with_state(app.clone(), gate::gate))
        .with_state(app)
}
