//! The gate that every request goes through: it names the request, finds its
//! row in the table of access, signs the bearer in, keeps idempotency keys, and
//! lets nothing pass that it does not know.

use std::{net::SocketAddr, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use billet_model::{CallId, call::ApiCall};
use futures::FutureExt as _;
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::{
    access::{self, Caller, Found, Rule, Who},
    app::App,
    auth::{self, Bearer},
    calls::Asker,
    idempotency, linger,
    problem::{Failure, Kind},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request goes through.
pub(crate) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let request = linger::lingering(request);
    let call = uuid::Uuid::now_v7();
    let id = call.to_string();
    // The path as routed: the real one may hold a machine's secret.
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(unknown)", MatchedPath::as_str)
        .to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("request", id, %method, path);
    let (counting, known) = (app.clone(), (method.clone(), path.clone()));
    let asked = request.uri().path().to_owned();
    let began = Instant::now();
    let work = async move {
        let method = request.method().clone();
        let handled = pass(app, request, next);
        // A change goes on when its caller goes away: it would else stop between
        // a commit and what must follow it.
        let outcome = if method == Method::GET || method == Method::HEAD {
            AssertUnwindSafe(handled).catch_unwind().await.ok()
        } else {
            tokio::spawn(handled.in_current_span()).await.ok()
        };
        let mut response =
            outcome.unwrap_or_else(|| Failure::internal("the request", &"a panic").into_response());
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (method, route) = known;
        // A method that is nobody's is as made up as a path can be.
        let method = match method {
            Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                method.as_str()
            }
            Method::HEAD => "HEAD",
            _ => "(other)",
        };
        let status = response.status().as_u16();
        counting
            .requests()
            .answered(method, &route, status, began.elapsed());
        tracing::info!(status, ms, "answered");
        if let Some(asker) = response.extensions_mut().remove::<Asker>() {
            let at = counting.now();
            let call = recorded(CallId(call), at, &asker, method, &asked, status, ms);
            counting.calls().answered(call, asker.from);
        }
        response
    };
    let mut response = work.instrument(span).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A call as it is recorded.
fn recorded(
    id: CallId,
    at: Timestamp,
    asker: &Asker,
    method: &str,
    path: &str,
    status: u16,
    ms: u64,
) -> ApiCall {
    let token = asker.bearer.as_ref().map(|bearer| &bearer.token);
    let mut path = path.to_owned();
    path.truncate(path.floor_char_boundary(ApiCall::PATH_BYTES));
    ApiCall {
        id,
        at,
        token: token.map(|t| t.id),
        name: token.map(|t| t.name.clone()),
        user: token.and_then(|t| t.user),
        from: asker.from.map(|address| address.to_string()),
        method: method.to_owned(),
        path,
        status,
        ms,
    }
}

/// Lets a request pass, or says why not. An answer at an endpoint that takes a
/// token has its [`Asker`] beside it.
async fn pass(app: App, request: Request, next: Next) -> Response {
    let rule = {
        let path = request.extensions().get::<MatchedPath>();
        let found = path.map_or(Found::Nothing, |p| {
            access::find(request.method(), p.as_str())
        });
        match found {
            Found::Rule(rule) => rule,
            Found::OtherMethods(methods) => return other_method(&methods).into_response(),
            Found::Nothing => return nothing().into_response(),
        }
    };
    let roles = match rule.who {
        Who::Anyone | Who::Machine => return next.run(request).await,
        Who::Bearers(roles) => roles,
    };
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let mut asker = Asker {
        bearer: None,
        from: address,
    };
    let mut response = match auth::sign_in(&app, request.headers(), address).await {
        Ok(bearer) => {
            asker.bearer = Some(bearer.clone());
            signed_in(app, rule, roles, bearer, request, next).await
        }
        Err(failure) => failure.into_response(),
    };
    response.extensions_mut().insert(asker);
    response
}

async fn signed_in(
    app: App,
    rule: &Rule,
    roles: &[Caller],
    mut bearer: Bearer,
    mut request: Request,
    next: Next,
) -> Response {
    let has: Vec<&str> = bearer.rights.iter().map(|r| r.caller.as_str()).collect();
    if !bearer.keep(roles) {
        let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let who = if has.is_empty() {
            "a user who is in no group with a role".to_owned()
        } else {
            format!("a token of the role {}", has.join(", "))
        };
        let detail = format!("{who} cannot do this; it takes: {}", names.join(", "));
        return Failure::new(Kind::Forbidden, detail).into_response();
    }
    if !rule.within(&bearer.token.scopes) {
        let scopes: Vec<String> = bearer.token.scopes.iter().map(|s| s.to_string()).collect();
        let verb = if rule.writes() { "write" } else { "read" };
        let detail = format!(
            "this token is cut down to {}; this takes {}:{verb}",
            scopes.join(", "),
            rule.area()
        );
        return Failure::new(Kind::Forbidden, detail).into_response();
    }
    let keyed =
        *request.method() == Method::POST && request.headers().contains_key(idempotency::HEADER);
    request.extensions_mut().insert(bearer.clone());
    if keyed {
        idempotency::once(app, bearer, request, next).await
    } else {
        next.run(request).await
    }
}

pub(crate) fn nothing() -> Failure {
    Failure::new(
        Kind::NotFound,
        "there is nothing at this path: GET /v1/openapi.json lists what there is",
    )
}

fn other_method(methods: &[&'static str]) -> Failure {
    let methods = methods.join(", ");
    let failure = Failure::new(Kind::MethodNotAllowed, format!("this path takes {methods}"));
    match HeaderValue::from_str(&methods) {
        Ok(value) => failure.header(header::ALLOW, value),
        Err(_) => failure,
    }
}
