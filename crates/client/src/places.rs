//! Sites, networks and machine types.

use billet_model::{
    api::{NewMachineType, NewNetwork, NewSite},
    site::{MachineType, Network, Site},
};
use reqwest::Method;

use crate::{Result, call::part, client::Client, pages::Pages};

macro_rules! places {
    ($($path:literal: $list:ident, $one:ident, $create:ident($new:ty), $delete:ident -> $thing:ty, $word:literal;)*) => {
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

            #[doc = concat!("Deletes a ", $word, " that nothing uses.")]
            ///
            /// # Errors
            /// As every call.
            pub async fn $delete(&self, name: &str) -> Result<()> {
                self.call(Method::DELETE, format!(concat!("/v1/", $path, "/{}"), part(name)))
                    .done()
                    .await
            }
        )*}
    };
}

places! {
    "sites": sites, site, create_site(NewSite), delete_site -> Site, "site";
    "networks": networks, network, create_network(NewNetwork), delete_network -> Network, "network";
    "machine-types": machine_types, machine_type, create_machine_type(NewMachineType),
        delete_machine_type -> MachineType, "machine type";
}
