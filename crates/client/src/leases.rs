//! Leases and offers.

use billet_model::{
    api::{LeaseChange, LeaseStarted, LeaseView, NewLease, Offer, PowerChange, Reinstall},
    bmc::PowerAction,
};
use reqwest::Method;

use crate::{Result, call::part, client::Client, pages::Pages};

impl Client {
    /// What is on offer.
    pub fn offers(&self, filters: &[(&str, &str)]) -> Pages<'_, Offer> {
        self.pages("/v1/offers", filters)
    }

    /// Leases that the caller may see.
    pub fn leases(&self, filters: &[(&str, &str)]) -> Pages<'_, LeaseView> {
        self.pages("/v1/leases", filters)
    }

    /// A lease, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn lease(&self, name: &str) -> Result<LeaseView> {
        self.get(format!("/v1/leases/{}", part(name))).json().await
    }

    /// Asks for a lease.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_lease(&self, new: &NewLease) -> Result<LeaseStarted> {
        self.post("/v1/leases").body(new).json().await
    }

    /// Changes a lease, where it still has `version`.
    ///
    /// # Errors
    /// As every call; status 412 when it has another version by now.
    pub async fn change_lease(
        &self,
        name: &str,
        change: &LeaseChange,
        version: Option<i64>,
    ) -> Result<LeaseView> {
        self.call(Method::PATCH, format!("/v1/leases/{}", part(name)))
            .body(change)
            .if_match(version)
            .json()
            .await
    }

    /// Gives a lease back: its machine is erased.
    ///
    /// # Errors
    /// As every call.
    pub async fn release_lease(&self, name: &str, version: Option<i64>) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/release", part(name)))
            .if_match(version)
            .json()
            .await
    }

    /// Writes a lease's drive anew.
    ///
    /// # Errors
    /// As every call.
    pub async fn reinstall_lease(&self, name: &str, with: &Reinstall) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/reinstall", part(name)))
            .body(with)
            .json()
            .await
    }

    /// Boots the ramdisk for a lease's tenant.
    ///
    /// # Errors
    /// As every call.
    pub async fn rescue_lease(&self, name: &str) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/rescue", part(name)))
            .json()
            .await
    }

    /// Compares a lease's drive with its image.
    ///
    /// # Errors
    /// As every call.
    pub async fn measure_lease(&self, name: &str) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/measure", part(name)))
            .json()
            .await
    }

    /// Says that a lease's machine is installed.
    ///
    /// # Errors
    /// As every call.
    pub async fn installed_lease(&self, name: &str) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/installed", part(name)))
            .json()
            .await
    }

    /// Ends a rescue: the drive is booted again.
    ///
    /// # Errors
    /// As every call.
    pub async fn end_rescue(&self, name: &str) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/rescue/end", part(name)))
            .json()
            .await
    }

    /// Changes the power of a lease's machine.
    ///
    /// # Errors
    /// As every call.
    pub async fn power_lease(&self, name: &str, action: PowerAction) -> Result<LeaseStarted> {
        self.post(format!("/v1/leases/{}/power", part(name)))
            .body(&PowerChange { action })
            .json()
            .await
    }
}
