//! Sites, networks and machine types.

use crate::{Result, call::part, client::Client, pages::Pages};
use billet_model::{
    api::{MachineTypeChange, NetworkChange, NewMachineType, NewNetwork, NewSite, SiteChange},
    site::{MachineType, Network, Site},
};
use reqwest::Method;

macro_rules! places {
    ($($path:literal: $list:ident, $one:ident, $create:ident($new:ty) -> $thing:ty, $delete:ident, $word:literal;)*) => {
        impl Client {$(
            #[doc = concat!("All ", $word, "s.")]
            pub fn $list(&self) -> Pages<'_, $thing> {
                self.pages(concat!("/v1/", $path), &[])
            }

            #[doc = concat!("A ", $word, ", by name or id.")]
            ///
            /// # Errors
            /// As every call.
            pub async fn $one(&self, name: &str) -> Result<$thing> {
                self.get(format!(concat!("/v1/", $path, "/{}"), part(name))).json().await
            }

            #[doc = concat!("Makes a ", $word, ".")]
            ///
            /// # Errors
            /// As every call.
            pub async fn $create(&self, new: &$new) -> Result<$thing> {
                self.post(concat!("/v1/", $path)).body(new).json().await
            }

            #[doc = concat!("Deletes a ", $word, " that nothing needs.")]
            ///
            /// # Errors
            /// As every call.
            pub async fn $delete(&self, name: &str) -> Result<()> {
                let path = format!(concat!("/v1/", $path, "/{}"), part(name));
                self.call(Method::DELETE, path).done().await
            }
        )*}
    };
}

impl Client {
    /// Changes a machine type, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_machine_type(
        &self,
        name: &str,
        change: &MachineTypeChange,
    ) -> Result<MachineType> {
        let path = format!("/v1/machine-types/{}", part(name));
        let call = self.call(Method::PATCH, path);
        call.body(change).json().await
    }
}

places! {
    "sites": sites, site, create_site(NewSite) -> Site, delete_site, "site";
    "networks": networks, network, create_network(NewNetwork) -> Network, delete_network, "network";
    "machine-types": machine_types, machine_type, create_machine_type(NewMachineType) -> MachineType, delete_machine_type, "machine type";
}

impl Client {
    /// Changes a site's name or jurisdiction.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_site(&self, name: &str, change: &SiteChange) -> Result<Site> {
        self.call(Method::PATCH, format!("/v1/sites/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Changes a network, by name or id; where a version is given, only if it still has that.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_network(
        &self,
        name: &str,
        change: &NetworkChange,
        version: Option<i64>,
    ) -> Result<Network> {
        let path = format!("/v1/networks/{}", part(name));
        let call = self.call(Method::PATCH, path).body(change);
        call.if_match(version).json().await
    }
}
