//! Typed ids: a machine's id can never be passed where a lease's is meant.
//!
//! Ids are UUIDs of version 7 (they sort by creation), made by whoever creates
//! the thing, and never change or return.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id from 16 bytes: the caller brings time and randomness, so
            /// that a simulation makes the same ids again.
            pub fn from_parts(millis: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> { s.parse().map(Self) }
        }
    )*};
}

ids! {
    /// A physical server.
    MachineId;
    /// A lease.
    LeaseId;
    /// An OS image.
    ImageId;
    /// Long work that can be followed.
    OperationId;
    /// A task given to an agent.
    TaskId;
    /// An organisation: above projects.
    OrganisationId;
    /// A project: who pays and who may see.
    ProjectId;
    /// An access token (the id is not the secret).
    TokenId;
    /// A user: a person, or a service account.
    UserId;
    /// A group of users.
    GroupId;
    /// A site.
    SiteId;
    /// A network.
    NetworkId;
    /// A machine type.
    MachineTypeId;
    /// A signed statement.
    EvidenceId;
    /// Something that happened.
    EventId;
    /// One boot of the ramdisk on one machine.
    BootId;
    /// A webhook.
    WebhookId;
    /// A call of the API: the request's id.
    CallId;
}
