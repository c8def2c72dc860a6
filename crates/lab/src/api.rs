//! The lab's own API, plain HTTP on the loopback.
//!
//! | call | does |
//! |---|---|
//! | `GET /` | the lab's summary |
//! | `GET /manifest` | the enrolment manifest, TOML |
//! | `GET /faults` | the faults that are armed |
//! | `GET /faults/catalogue` | the kinds there are, and where they act |
//! | `POST /faults` [`crate::faults::NewFault`] | arm one |
//! | `DELETE /faults/{id}`, `DELETE /faults` | take one away, or all |
//! | `GET /machines/{name}` | one machine |
//! | `GET /machines/{name}/console` | the end of its serial output, text |
//! | `POST /machines/{name}/power-cut` | its power fails, now |

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::faults::{CATALOGUE, NewFault};
use crate::lab::Room;
use crate::manifest::manifest;

type Lab = State<Arc<Room>>;

pub(crate) async fn serve(room: Arc<Room>, listener: TcpListener, stop: CancellationToken) {
    let router = Router::new()
        .route("/", get(async |State(room): Lab| Json(room.summary())))
        .route(
            "/manifest",
            get(async |State(room): Lab| manifest(&room.summary(), &room.options)),
        )
        .route(
            "/faults",
            get(async |State(room): Lab| Json(room.faults.list()))
                .post(arm)
                .delete(clear),
        )
        .route("/faults/catalogue", get(async || Json(CATALOGUE)))
        .route("/faults/{id}", delete(disarm))
        .route("/machines/{name}", get(machine))
        .route("/machines/{name}/console", get(console))
        .route("/machines/{name}/power-cut", post(power_cut))
        .with_state(room);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(e) = served.await {
        tracing::error!(error = %e, "the lab's API ended");
    }
}

fn problem(status: StatusCode, detail: impl std::fmt::Display) -> Response {
    let body = json!({ "status": status.as_u16(), "detail": detail.to_string() });
    (status, Json(body)).into_response()
}

fn no_machine(name: &str) -> Response {
    problem(
        StatusCode::NOT_FOUND,
        format!("there is no machine {name} in this lab"),
    )
}

async fn arm(State(room): Lab, Json(body): Json<Value>) -> Response {
    let asked: NewFault = match serde_json::from_value(body) {
        Ok(asked) => asked,
        Err(e) => return problem(StatusCode::BAD_REQUEST, e),
    };
    if let Some(name) = asked.machine.as_deref()
        && room.member(name).is_none()
    {
        return no_machine(name);
    }
    match room.faults.add(asked) {
        Ok(fault) => (StatusCode::CREATED, Json(fault)).into_response(),
        Err(e) => problem(StatusCode::BAD_REQUEST, e),
    }
}

async fn disarm(State(room): Lab, Path(id): Path<u64>) -> Response {
    if room.faults.remove(id) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        problem(StatusCode::NOT_FOUND, format!("no fault {id} is armed"))
    }
}

async fn clear(State(room): Lab) -> StatusCode {
    room.faults.clear();
    StatusCode::NO_CONTENT
}

async fn machine(State(room): Lab, Path(name): Path<String>) -> Response {
    match room.member(&name) {
        Some(member) => Json(member.describe()).into_response(),
        None => no_machine(&name),
    }
}

async fn console(State(room): Lab, Path(name): Path<String>) -> Response {
    match room.member(&name) {
        Some(member) => member.metal.console().recent().into_response(),
        None => no_machine(&name),
    }
}

async fn power_cut(State(room): Lab, Path(name): Path<String>) -> Response {
    let Some(member) = room.member(&name) else {
        return no_machine(&name);
    };
    match member.bmc.power_cut().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}
