//! Sites, networks and machine types.

use crate::{Result, call::part, client::Client, pages::Pages};
use billet_model::{
    api::{NewMachineType, NewNetwork, NewSite},
    site::{MachineType, Network, Site},
};

macro_rules! places {
    ($($path:literal: $list:ident, $one:ident, $create:ident($new:ty) -> $thing:ty, $word:literal;)*) => {
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
        )*}
    };
}

places! {
    "sites": sites, site, create_site(NewSite) -> Site, "site";
    "networks": networks, network, create_network(NewNetwork) -> Network, "network";
    "machine-types": machine_types, machine_type, create_machine_type(NewMachineType) -> MachineType, "machine type";
}
