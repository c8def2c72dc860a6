//! The server itself: health, what it is, who asks, its document, a backup.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use billet_model::api::{BackupMade, RightView, ServerInfo, WhoAmI};
use billet_store::Batch;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::{About as _, App},
    auth::Bearer,
    problem::{Failure, Kind},
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(info))
        .routes(routes!(whoami))
        .routes(routes!(openapi))
        .routes(routes!(backup))
}

/// Whether the server can do its work.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// Tell whether the server works
///
/// 200 where the database answers, else 503.
#[utoipa::path(get, path = "/v1/health", tag = "server", responses((status = 200, body = Health)))]
async fn health(State(app): State<App>) -> Result<Json<Health>, Failure> {
    match app.store().schema_version().await {
        Ok(_) => Ok(Json(Health { status: "ok" })),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            Err(Failure::new(
                Kind::Unavailable,
                "the database does not answer: the server's log says more",
            ))
        }
    }
}

/// Tell what the server is
#[utoipa::path(get, path = "/v1/info", tag = "server", responses((status = 200, body = ServerInfo)))]
async fn info(State(app): State<App>) -> Result<Json<ServerInfo>, Failure> {
    Ok(Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: see("the schema's version", app.store().schema_version().await)?,
    }))
}

/// Tell who the bearer of the token is
#[utoipa::path(get, path = "/v1/whoami", tag = "server", responses((status = 200, body = WhoAmI)))]
async fn whoami(State(app): State<App>, bearer: Bearer) -> Result<Json<WhoAmI>, Failure> {
    let mut rights = Vec::with_capacity(bearer.rights.len());
    for right in &bearer.rights {
        let project = match right.project {
            Some(id) => see("the project", app.store().project(id).await)?,
            None => None,
        };
        rights.push(RightView {
            role: right.caller.role(),
            project: right.project,
            project_name: project.map(|p| p.name),
        });
    }
    let own = |right: &&RightView| right.project == bearer.token.project;
    Ok(Json(WhoAmI {
        project_name: rights.iter().find(own).and_then(|r| r.project_name.clone()),
        token: bearer.token,
        user: bearer.user,
        rights,
    }))
}

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", tag = "server",
    responses((status = 200, body = Object)))]
async fn openapi() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, crate::openapi::document_json()).into_response()
}

/// Make a backup of the database
///
/// It lies in the data directory's `backups`, on the server. Keys are not in it.
#[utoipa::path(post, path = "/v1/backup", tag = "server",
    responses((status = 201, body = BackupMade)))]
async fn backup(State(app): State<App>, bearer: Bearer) -> Result<Response, Failure> {
    let directory = app.control().settings().data.join("backups");
    let doing = "making the backups' directory";
    tokio::fs::create_dir_all(&directory)
        .await
        .map_err(|e| Failure::internal(doing, &e))?;
    let at = app.now().strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
    let path = directory.join(format!("billet-{at}.db"));
    app.store()
        .backup(&path)
        .await
        .map_err(|error| match error {
            billet_store::StoreError::NotHere(why) => Failure::new(Kind::Conflict, why),
            other => crate::app::of_store("making the backup", other),
        })?;
    let size = tokio::fs::metadata(&path).await;
    let bytes = size
        .map_err(|e| Failure::internal("looking at the backup", &e))?
        .len();
    let path = path.display().to_string();
    let row = app
        .row(&bearer.actor(), "backup.create")
        .detail(json!({ "path": path, "bytes": bytes }));
    app.commit("recording the backup", Batch::new().audited(row))
        .await?;
    respond::changed(StatusCode::CREATED, &BackupMade { path, bytes }, None, None)
}
