//! Where machines are, what types they are of, and the networks they are on.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MachineTypeId, Name, NetworkId, SiteId, warm::WarmPolicy};

/// A place with a jurisdiction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// Id.
    pub id: SiteId,
    /// Name.
    pub name: Name,
    /// Country or region code whose law holds there (`DE`, `EU`).
    pub jurisdiction: String,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// Machines alike enough to swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineType {
    /// Id.
    pub id: MachineTypeId,
    /// Name, e.g. `h100-sxm5-80g.8x`.
    pub name: Name,
    /// What it is, in a line.
    pub description: String,
    /// What a machine of it must have.
    pub expected: ExpectedParts,
    /// How many of its available machines wait warm, and with what.
    #[serde(default)]
    pub warm: WarmPolicy,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// What a machine of a type must have; `None` is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExpectedParts {
    /// How many GPUs.
    pub gpus: Option<u32>,
    /// Text that each GPU's model contains.
    pub gpu_model: Option<String>,
    /// How many drives of its own.
    pub drives: Option<u32>,
    /// At least so many hardware threads.
    pub min_threads: Option<u32>,
    /// At least so much memory, in bytes.
    pub min_memory_bytes: Option<u64>,
    /// How many network interfaces at least.
    pub min_nics: Option<u32>,
}

/// Addresses that machines have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Id.
    pub id: NetworkId,
    /// Name.
    pub name: Name,
    /// First address of the subnet.
    #[schema(value_type = String)]
    pub subnet: Ipv4Addr,
    /// Prefix length, 8 to 30.
    pub prefix: u8,
    /// The gateway, if there is one.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<Ipv4Addr>,
    /// First address that Billet gives out.
    #[schema(value_type = String)]
    pub pool_first: Ipv4Addr,
    /// Last address that Billet gives out.
    #[schema(value_type = String)]
    pub pool_last: Ipv4Addr,
    /// Where the subnet is reached from outside by one-to-one translation, if
    /// not at its own addresses: the first address of a range of the same size.
    #[schema(value_type = Option<String>)]
    pub reached_at: Option<Ipv4Addr>,
    /// Since when it is known.
    pub created_at: Timestamp,
    /// For optimistic concurrency: send it back as `If-Match`.
    #[serde(default = "first")]
    pub version: i64,
}

/// The version of what was kept before it had one.
fn first() -> i64 {
    1
}

impl Network {
    /// An address of it, with what a machine must know of the network beside it.
    pub fn address(&self, ip: Ipv4Addr, mac: Option<String>) -> Address {
        Address {
            network: self.id,
            ip,
            prefix: self.prefix,
            gateway: self.gateway,
            dns: self.dns.clone(),
            reached_at: self.reach(ip),
            mac,
        }
    }

    /// Where `address` is reached from outside.
    pub fn reach(&self, address: Ipv4Addr) -> Ipv4Addr {
        match self.reached_at {
            Some(base) => {
                let offset = address.to_bits().wrapping_sub(self.subnet.to_bits());
                Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset))
            }
            None => address,
        }
    }

    /// Whether `address` lies in the subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        address.to_bits() & mask == self.subnet.to_bits() & mask
    }
}

/// An address that a machine has on a network, and what it knows of the network:
/// as it was when the machine last booted the ramdisk or was leased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Which network.
    pub network: NetworkId,
    /// The address.
    #[schema(value_type = String)]
    pub ip: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// The gateway.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<Ipv4Addr>,
    /// Where it is reached from outside, if elsewhere.
    #[schema(value_type = String)]
    pub reached_at: Ipv4Addr,
    /// The MAC of the interface that carries it, once known.
    pub mac: Option<String>,
}
