//! Images: added by address or upload, listed, shown, deleted.

use axum::{
    Json,
    body::Body as HttpBody,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use billet_media::image::{Checksum, ImportError};
use billet_model::{
    ImageId, Name,
    api::{ImageStarted, NewImage, Page, Problem},
    image::{Image, ImageState},
};
use billet_store::{Batch, ImageFilter, StoreError, Write};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{install, see};
use crate::{
    app::{About as _, App, of_store},
    auth::Bearer,
    extract::{Body, Of, Query},
    fetch,
    images::{self, Mark, PartError},
    lookup,
    page::Asked,
    problem::{Failure, Kind},
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_images, create_image))
        .routes(routes!(show_image, delete_image))
        .routes(routes!(upload_image))
        .routes(routes!(upload_part))
}

/// Which images.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ImageQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// Of this project only, by name or id.
    project: Option<String>,
    /// With this name.
    name: Option<Name>,
    /// In this state.
    state: Option<ImageState>,
}

/// List images
///
/// A project's callers see its own, and the operator's that are for everyone.
#[utoipa::path(get, path = "/v1/images", tag = "images", params(ImageQuery),
    responses((status = 200, body = Page<Image>)))]
async fn list_images(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<ImageQuery>,
) -> Result<Json<Page<Image>>, Failure> {
    let asked = Asked::<ImageId>::new(query.limit, query.after.as_deref())?;
    let filter = ImageFilter {
        visible_to: bearer.bound_to(),
        project: match query.project.as_deref() {
            Some(named) => Some(lookup::project(&app, &bearer, named).await?.id),
            None => None,
        },
        name: query.name,
        state: query.state,
    };
    let read = app.store().images(&filter, asked.after, asked.read()).await;
    Ok(asked.page(see("images", read)?, |i| i.id.to_string()))
}

/// Add an image
///
/// With a `url` it is fetched; without, its bytes are to be uploaded to
/// `/v1/images/{image}/content`. Raw and qcow2, each plain or compressed with
/// gzip, xz or zstd.
///
/// An install configuration (`kind` `kernel` or `ipxe`) has parts: each with a
/// `url`, or each to be uploaded to `/v1/images/{image}/parts/{part}`.
#[utoipa::path(post, path = "/v1/images", tag = "images", request_body = NewImage,
    responses((status = 202, body = ImageStarted, description = "Being fetched"),
        (status = 201, body = ImageStarted, description = "Its bytes are to be uploaded")))]
async fn create_image(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewImage>,
) -> Result<Response, Failure> {
    let project = match (&new.project, bearer.bound_to()) {
        (None, None) => None,
        (named, _) => {
            let named = named.as_ref().map(Name::as_str);
            Some(lookup::project_for(&app, &bearer, named).await?.id)
        }
    };
    let (install, parts) = match new.kind.installs() {
        true => install::config(&app, &new).map(|(config, urls)| (Some(config), urls))?,
        false if new.install.is_some() => {
            let detail = "a disk image has no parts: say which kind it is";
            return Err(Failure::invalid("install", detail));
        }
        false => (None, Vec::new()),
    };
    let url = new
        .url
        .as_deref()
        .map(|url| address(&app, url))
        .transpose()?;
    let checksum = match new.checksum.as_deref().map(str::parse::<Checksum>) {
        None => None,
        Some(Ok(checksum)) => Some(checksum.to_string()),
        Some(Err(error)) => return Err(Failure::invalid("checksum", error.to_string())),
    };
    let image = Image {
        id: app.control().new_id(),
        name: new.name,
        project,
        description: new.description,
        kind: new.kind,
        origin: url.as_ref().map_or("upload".into(), fetch::plain),
        checksum,
        state: ImageState::AwaitingUpload,
        reason: None,
        content: None,
        cloud_init: new.cloud_init && install.is_none(),
        install,
        root_mirror: new.root_mirror,
        created_at: app.now(),
    };
    let mark = mark(&app, image.id)?;
    let row = app
        .row(&bearer.actor(), "image.create")
        .project(project)
        .image(image.id)
        .detail(json!({ "name": image.name, "origin": image.origin, "checksum": image.checksum }));
    let write = Write::PutImage(Box::new(image.clone()));
    let batch = Batch::new().with(write).audited(row);
    app.commit("adding an image", batch).await?;
    let location = Some(format!("/v1/images/{}", image.id));
    if !parts.is_empty() {
        let job = app.images().begin(&bearer.actor(), image, mark).await;
        let job = job.map_err(not_begun)?;
        let started = ImageStarted {
            image: job.image.clone(),
            operation: Some(job.operation.clone()),
        };
        job.install(parts);
        return respond::changed(StatusCode::ACCEPTED, &started, None, location);
    }
    let Some(url) = url else {
        let started = ImageStarted {
            image,
            operation: None,
        };
        return respond::changed(StatusCode::CREATED, &started, None, location);
    };
    let job = app.images().begin(&bearer.actor(), image, mark).await;
    let job = job.map_err(not_begun)?;
    let started = ImageStarted {
        image: job.image.clone(),
        operation: Some(job.operation.clone()),
    };
    job.fetch(url);
    respond::changed(StatusCode::ACCEPTED, &started, None, location)
}

/// An address to fetch from, if it may be.
fn address(app: &App, text: &str) -> Result<Url, Failure> {
    address_of(app, text, "url")
}

pub(super) fn address_of(app: &App, text: &str, field: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| {
        let detail = format!("this is not an address ({e}): write it as https://host/path");
        Failure::invalid(field, detail)
    })?;
    app.images()
        .fetcher()
        .check(&url)
        .map_err(|e| Failure::invalid(field, e.to_string()))?;
    Ok(url)
}

/// Show an image
#[utoipa::path(get, path = "/v1/images/{image}", tag = "images",
    responses((status = 200, body = Image)))]
async fn show_image(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::image(&app, &bearer, &text).await?, None)
}

/// Upload an image's bytes
///
/// The answer comes when they are taken in. An upload that broke off can be
/// begun anew.
#[utoipa::path(put, path = "/v1/images/{image}/content", tag = "images",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ImageStarted), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
async fn upload_image(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Response, Failure> {
    let (image, mark) = marked(&app, &bearer, &text).await?;
    if image.kind.installs() {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "image {} is an install configuration: upload its parts, each by its name",
                image.name
            ),
        ));
    }
    let awaits = image.origin == "upload"
        && matches!(image.state, ImageState::AwaitingUpload | ImageState::Failed);
    if !awaits {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "image {} does not wait for an upload: add another",
                image.name
            ),
        ));
    }
    let size = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let most = app.images().most_bytes();
    if size.is_some_and(|size| size > most) {
        let detail = format!("an image may have {most} bytes: compress it, or ask the operator");
        return Err(Failure::new(Kind::TooLarge, detail));
    }
    let job = app.images().begin(&bearer.actor(), image, mark).await;
    let job = job.map_err(not_begun)?;
    let arriving = body
        .into_data_stream()
        .map(|piece| piece.map_err(std::io::Error::other));
    let taken = job.take_in(Box::pin(arriving), size).await;
    if let Some(error) = taken.error {
        return Err(not_taken(&error));
    }
    let started = ImageStarted {
        image: taken.image,
        operation: Some(taken.operation),
    };
    respond::changed(StatusCode::OK, &started, None, None)
}

/// Upload a part of an install configuration
///
/// The answer comes when it is taken in and its checksum was compared. With the
/// last part the medium is made: the operation in the answer says when it is done.
#[utoipa::path(put, path = "/v1/images/{image}/parts/{part}", tag = "images",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ImageStarted), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
async fn upload_part(
    State(app): State<App>,
    bearer: Bearer,
    Path((text, name)): Path<(String, String)>,
    body: HttpBody,
) -> Result<Response, Failure> {
    let (image, mark) = marked(&app, &bearer, &text).await?;
    if !image.kind.installs() {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "image {} is a disk image and has no parts: upload it whole",
                image.name
            ),
        ));
    }
    let part = image.install.iter().flat_map(|i| &i.parts);
    let Some(part) = part.into_iter().find(|p| p.name == name) else {
        return Err(Failure::not_found("part", &name));
    };
    let awaits = part.origin == "upload"
        && matches!(image.state, ImageState::AwaitingUpload | ImageState::Failed);
    if !awaits {
        return Err(Failure::new(
            Kind::Conflict,
            format!(
                "image {} does not wait for its {name}: add another",
                image.name
            ),
        ));
    }
    let arriving = body
        .into_data_stream()
        .map(|piece| piece.map_err(std::io::Error::other));
    let actor = bearer.actor();
    let kept = app
        .images()
        .upload_part(&actor, image, &name, Box::pin(arriving))
        .await;
    let image = kept.map_err(|error| part_not_taken(&error))?;
    let whole = image.install.iter().flat_map(|i| &i.parts);
    if whole.into_iter().any(|p| p.sha256.is_none()) {
        let started = ImageStarted {
            image,
            operation: None,
        };
        return respond::changed(StatusCode::OK, &started, None, None);
    }
    let job = app.images().begin(&actor, image, mark).await;
    let job = job.map_err(not_begun)?;
    let started = ImageStarted {
        image: job.image.clone(),
        operation: Some(job.operation.clone()),
    };
    job.install(Vec::new());
    respond::changed(StatusCode::OK, &started, None, None)
}

fn part_not_taken(error: &PartError) -> Failure {
    match error {
        PartError::TooLarge(..) => Failure::new(Kind::TooLarge, error.to_string()),
        PartError::Checksum { .. } => Failure::invalid("checksum", error.to_string()),
        PartError::Own => Failure::internal("taking the part in", error),
        _ => Failure::new(Kind::Invalid, error.to_string()),
    }
}

fn not_begun(error: StoreError) -> Failure {
    of_store("taking an image in", error)
}

/// Marks an image as one that something is done to.
fn mark(app: &App, id: ImageId) -> Result<Mark, Failure> {
    app.images().mark(id).ok_or_else(|| {
        Failure::new(
            Kind::Conflict,
            "this image is being taken in already: follow its operation, or try again when this part is there",
        )
    })
}

/// An image that the caller may change, marked, and as it is since: whoever had the
/// mark before has written it.
async fn marked(app: &App, bearer: &Bearer, text: &str) -> Result<(Image, Mark), Failure> {
    let id = own_image(app, bearer, text).await?.id;
    let mark = mark(app, id)?;
    Ok((own_image(app, bearer, &id.to_string()).await?, mark))
}

fn not_taken(error: &ImportError) -> Failure {
    match error {
        ImportError::Io { .. } => Failure::internal("taking the image in", error),
        ImportError::TooLarge { .. } => Failure::new(Kind::TooLarge, images::reason(error)),
        ImportError::ChecksumMismatch { .. } => Failure::invalid("checksum", images::reason(error)),
        _ => Failure::new(Kind::Invalid, images::reason(error)),
    }
}

/// Delete an image
///
/// Refused while a live lease is of it, or while it is being taken in.
#[utoipa::path(delete, path = "/v1/images/{image}", tag = "images",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_image(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let image = own_image(&app, &bearer, &text).await?;
    // Until it is gone: whoever takes it in meanwhile would put it back.
    let _mark = app.images().mark(image.id).ok_or_else(|| {
        Failure::new(
            Kind::InUse,
            format!(
                "image {} is being taken in: wait until that has ended",
                image.name
            ),
        )
    })?;
    let row = app
        .row(&bearer.actor(), "image.delete")
        .project(image.project)
        .image(image.id)
        .detail(json!({ "name": image.name }));
    let batch = Batch::new().with(Write::DeleteImage(image.id)).audited(row);
    app.commit("deleting the image", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An image that the caller may change: a project's callers not the operator's.
async fn own_image(app: &App, bearer: &Bearer, text: &str) -> Result<Image, Failure> {
    let image = lookup::image(app, bearer, text).await?;
    if bearer.sees(image.project) {
        Ok(image)
    } else {
        Err(Failure::new(
            Kind::Forbidden,
            format!(
                "image {} is the operator's, for everyone: add your own",
                image.name
            ),
        ))
    }
}
