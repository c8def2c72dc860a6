//! Sites, machine types and networks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, warm::WarmPolicy};

/// Change a site; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteChange {
    /// Its name.
    #[serde(default)]
    pub name: Option<Name>,
    /// Country or region code whose law holds there: while no lease holds a
    /// machine there.
    #[serde(default)]
    pub jurisdiction: Option<String>,
}

/// Make a site.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSite {
    /// Name.
    pub name: Name,
    /// Country or region code whose law holds there.
    pub jurisdiction: String,
}

/// Make a machine type.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachineType {
    /// Name.
    pub name: Name,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// What a machine of it must have.
    #[serde(default)]
    pub expected: crate::site::ExpectedParts,
    /// How many of its available machines wait warm, and with what; none where
    /// absent.
    #[serde(default)]
    pub warm: Option<WarmPolicy>,
}

/// Change a machine type. What is absent stays as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MachineTypeChange {
    /// What it is, in a line.
    pub description: Option<String>,
    /// What a machine of it must have, all of it anew: machines are compared with
    /// it when they are next inspected.
    pub expected: Option<crate::site::ExpectedParts>,
    /// How many of its available machines wait warm.
    pub warm: Option<u32>,
    /// The operator's images that they hold, all anew; an empty list for those
    /// that leases ask for most.
    pub warm_images: Option<Vec<Name>>,
    /// Whether leases of it go through firmware always.
    pub cold: Option<bool>,
}

/// Make a network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNetwork {
    /// Name.
    pub name: Name,
    /// `10.88.0.0/24`.
    pub subnet: String,
    /// Gateway.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<std::net::Ipv4Addr>,
    /// Name servers.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<std::net::Ipv4Addr>,
    /// First and last address to give out; all but the gateway where absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub pool: Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>,
    /// First address of a range of the same size where the subnet is reached
    /// from outside by one-to-one translation.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub reached_at: Option<std::net::Ipv4Addr>,
}

/// Change a network; what is absent stays. A machine is told of it when it is next
/// booted into the ramdisk or leased: what stands on the drive of a running lease is
/// its tenant's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// `10.88.0.0/24`: every address that a machine has must lie in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Gateway; null for none.
    #[serde(
        deserialize_with = "super::said",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Option<std::net::Ipv4Addr>>,
    /// Name servers, all anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub dns: Option<Vec<std::net::Ipv4Addr>>,
    /// First and last address to give out; null for all but the gateway. Addresses
    /// that machines have stay theirs.
    #[serde(
        deserialize_with = "super::said",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Vec<String>>)]
    pub pool: Option<Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>>,
    /// First address of the range where the subnet is reached from outside; null
    /// where it is reached at its own addresses. Counts at once.
    #[serde(
        deserialize_with = "super::said",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub reached_at: Option<Option<std::net::Ipv4Addr>>,
}
