//! Webhooks: who is told what happens.

use billet_model::api::{
    NewWebhook, TokenRotation, WebhookChange, WebhookMade, WebhookTested, WebhookView,
};
use reqwest::Method;

use crate::{Result, call::part, client::Client, pages::Pages};

impl Client {
    /// Webhooks that the caller may see.
    pub fn webhooks(&self, filters: &[(&str, &str)]) -> Pages<'_, WebhookView> {
        self.pages("/v1/webhooks", filters)
    }

    /// A webhook, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook(&self, name: &str) -> Result<WebhookView> {
        self.get(format!("/v1/webhooks/{}", part(name)))
            .json()
            .await
    }

    /// Makes a webhook; its secret comes this once.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_webhook(&self, new: &NewWebhook) -> Result<WebhookMade> {
        self.post("/v1/webhooks").body(new).json().await
    }

    /// Changes, disables or enables a webhook.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_webhook(&self, name: &str, change: &WebhookChange) -> Result<WebhookView> {
        self.call(Method::PATCH, format!("/v1/webhooks/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Gives a webhook another secret, which comes this once.
    ///
    /// # Errors
    /// As every call.
    pub async fn rotate_webhook(
        &self,
        name: &str,
        rotation: &TokenRotation,
    ) -> Result<WebhookMade> {
        self.post(format!("/v1/webhooks/{}/rotate", part(name)))
            .body(rotation)
            .json()
            .await
    }

    /// Sends a webhook an event that says nothing, once.
    ///
    /// # Errors
    /// As every call; that it was not taken is none.
    pub async fn test_webhook(&self, name: &str) -> Result<WebhookTested> {
        self.post(format!("/v1/webhooks/{}/test", part(name)))
            .json()
            .await
    }

    /// Deletes a webhook.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_webhook(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/webhooks/{}", part(name)))
            .done()
            .await
    }
}
