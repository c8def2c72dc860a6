//! Images: adding, uploading, describing, deleting.

use std::path::Path;

use billet_model::{
    api::{ImageStarted, NewImage},
    image::Image,
};
use reqwest::{Method, header};

use crate::{
    Result,
    call::{accepted, part, sending},
    client::Client,
    error::ClientError,
    pages::Pages,
    upload,
};

impl Client {
    /// Images that the caller may see.
    pub fn images(&self, filters: &[(&str, &str)]) -> Pages<'_, Image> {
        self.pages("/v1/images", filters)
    }

    /// An image, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn image(&self, name: &str) -> Result<Image> {
        self.get(format!("/v1/images/{}", part(name))).json().await
    }

    /// Makes an image known; its bytes are fetched by the server, or uploaded next.
    ///
    /// # Errors
    /// As every call.
    pub async fn add_image(&self, new: &NewImage) -> Result<ImageStarted> {
        self.post("/v1/images").body(new).json().await
    }

    /// Uploads an image's bytes from a file, streamed. `tell` hears how many were sent so far. A
    /// broken upload is not repeated: call this again.
    ///
    /// # Errors
    /// As every call, and [`ClientError::File`].
    pub async fn upload_image(
        &self,
        name: &str,
        file: &Path,
        tell: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImageStarted> {
        let path = format!("/v1/images/{}/content", part(name));
        self.upload(path, file, tell).await
    }

    /// Uploads a part of an install configuration, as [`Client::upload_image`] does.
    ///
    /// # Errors
    /// As every call, and [`ClientError::File`].
    pub async fn upload_part(
        &self,
        name: &str,
        which: &str,
        file: &Path,
        tell: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImageStarted> {
        let path = format!("/v1/images/{}/parts/{}", part(name), part(which));
        self.upload(path, file, tell).await
    }

    async fn upload(
        &self,
        path: String,
        file: &Path,
        tell: impl FnMut(u64) + Send + 'static,
    ) -> Result<ImageStarted> {
        let (body, length) = upload::body(file, tell).await?;
        let asked = format!("{} {path}", Method::PUT);
        let mut url = self.base.clone();
        url.set_path(&path);
        let mut request = self
            .http
            .put(url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request
            .send()
            .await
            .map_err(|error| sending(self, &asked, &error).error)?;
        let response = accepted(response, &asked)
            .await
            .map_err(|failure| failure.error)?;
        let bytes = response.bytes().await.map_err(|error| ClientError::Lost {
            asked: asked.clone(),
            detail: crate::error::root_cause(&error),
        })?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed {
            asked,
            detail: error.to_string(),
        })
    }

    /// Deletes an image.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_image(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/images/{}", part(name)))
            .done()
            .await
    }
}
