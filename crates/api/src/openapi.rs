//! The API document, OpenAPI 3.1, from the code alone.
//!
//! What handlers say of themselves is completed from the table of access: who
//! may call, problems, the headers that all changes understand. It is checked in
//! as `openapi/billet.json`; a test holds the two together.

use std::sync::OnceLock;

use bytes::Bytes;
use utoipa::{
    OpenApi as _,
    openapi::{
        ContentBuilder, HttpMethod, OpenApi, Ref, RefOr, Required, ResponseBuilder,
        extensions::ExtensionsBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    access::{self, Found, Who},
    routes,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Billet",
        description = "Leases bare metal GPU machines. Errors are problem details (RFC 9457); \
            lists come in pages; POSTs take an `Idempotency-Key`; things with a version take it \
            back as `If-Match`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "server", description = "The server itself"),
        (name = "people", description = "Organisations, projects, users, groups, tokens, quotas"),
        (name = "places", description = "Sites, machine types, networks"),
        (name = "machines", description = "Machines, for operators"),
        (name = "images", description = "What machines are written with"),
        (name = "leases", description = "Who holds which machine"),
        (name = "operations", description = "Long work to follow"),
        (name = "evidence", description = "Signed statements"),
        (name = "audit", description = "What happened"),
        (name = "webhooks", description = "Who is told what happens"),
    ),
    components(schemas(billet_model::api::Problem))
)]
struct Document;

/// The document.
pub fn document() -> OpenApi {
    let mut document = Document::openapi();
    document.merge(routes::router().into_openapi());
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                complete(path, &method, operation);
            }
        }
    }
    document
}

/// The document as it is served and checked in.
pub fn document_json() -> Bytes {
    static JSON: OnceLock<Bytes> = OnceLock::new();
    JSON.get_or_init(|| {
        let mut json = document().to_pretty_json().unwrap_or_default();
        json.push('\n');
        Bytes::from(json)
    })
    .clone()
}

fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let name = match method {
        HttpMethod::Post => axum::http::Method::POST,
        HttpMethod::Put => axum::http::Method::PUT,
        HttpMethod::Patch => axum::http::Method::PATCH,
        HttpMethod::Delete => axum::http::Method::DELETE,
        _ => axum::http::Method::GET,
    };
    let who = match access::find(&name, path) {
        Found::Rule(rule) => rule.who,
        // Nobody can call it then: the test of the table says so.
        _ => return,
    };
    match who {
        Who::Bearers(roles) => {
            let none: [&str; 0] = [];
            operation.security = Some(vec![SecurityRequirement::new("token", none)]);
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            let extension = ExtensionsBuilder::new()
                .add("x-billet-roles", roles)
                .build();
            operation
                .extensions
                .get_or_insert_default()
                .merge(extension);
        }
        Who::Anyone | Who::Machine => operation.security = Some(Vec::new()),
    }
    let parameters = operation.parameters.get_or_insert_default();
    for part in path.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
            continue;
        };
        let by = match name {
            "token" | "operation" | "evidence" => "Id",
            _ => "Name or id",
        };
        parameters.push(text(name, ParameterIn::Path, Required::True, by));
    }
    if *method == HttpMethod::Post {
        let what = "A key of the caller's: a request sent again with it is answered as before";
        parameters.push(text(
            "Idempotency-Key",
            ParameterIn::Header,
            Required::False,
            what,
        ));
    }
    let versioned = path.starts_with("/v1/machines/{") || path.starts_with("/v1/leases/{");
    if versioned && *method != HttpMethod::Get {
        let what = "The version last seen: 412 where it is another by now";
        parameters.push(text("If-Match", ParameterIn::Header, Required::False, what));
    }
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            let failed = status.starts_with('4') || status.starts_with('5');
            if failed {
                response.content.clear();
                let kind = "application/problem+json".to_owned();
                response.content.insert(kind, RefOr::T(problem.clone()));
            }
        }
    }
    let refused = ResponseBuilder::new()
        .description("Why not")
        .content("application/problem+json", problem)
        .build();
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), RefOr::T(refused));
}

fn text(name: &str, place: ParameterIn, required: Required, what: &str) -> RefOr<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(what))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    RefOr::T(parameter.build())
}
