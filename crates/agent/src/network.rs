//! From a boot record to an interface with an address.
//!
//! A boot record may not know which interface carries its address (a machine
//! that was never inspected): then each interface is a place to try.

use std::{io, net::Ipv4Addr, sync::Mutex, thread, time::Duration};

use billet_hardware::Tree;
use billet_model::site::Address;
use billet_protocol::boot::BootRecord;

use crate::{dhcp, netlink};

/// How long an interface is given to see a link.
const LINK_WAIT: Duration = Duration::from_secs(6);

/// An interface and how it may get an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface's name.
    pub interface: String,
    /// The address to take; `None` asks by DHCP.
    pub address: Option<Address>,
}

/// An interface as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interface {
    name: String,
    mac: String,
    link: bool,
}

/// What was taken last, to be given back before the next is taken.
static HELD: Mutex<Option<(u32, Ipv4Addr, u8)>> = Mutex::new(None);

/// Turns all interfaces on and lists the places to try, the likeliest first.
pub fn places(record: &BootRecord) -> Vec<Place> {
    let tree = Tree::new("/");
    let mut waited = Duration::ZERO;
    loop {
        let interfaces = interfaces(&tree);
        let linked = interfaces.iter().any(|i| i.link);
        if linked || waited >= LINK_WAIT {
            return order(&interfaces, &record.addresses);
        }
        thread::sleep(Duration::from_millis(250));
        waited += Duration::from_millis(250);
    }
}

/// The interfaces there are, each turned on.
fn interfaces(tree: &Tree) -> Vec<Interface> {
    tree.list("sys/class/net")
        .into_iter()
        .filter(|name| tree.exists(&format!("sys/class/net/{name}/device")))
        .map(|name| {
            // An interface that refuses to be on has no link, which shows below.
            let on = index(tree, &name).map(netlink::set_up);
            drop(on);
            Interface {
                mac: tree
                    .text(&format!("sys/class/net/{name}/address"))
                    .unwrap_or_default(),
                link: tree
                    .text(&format!("sys/class/net/{name}/carrier"))
                    .as_deref()
                    == Some("1"),
                name,
            }
        })
        .collect()
}

/// Which places to try, in which order: the interface whose MAC is named, then
/// those with a link, then the others.
fn order(interfaces: &[Interface], addresses: &[Address]) -> Vec<Place> {
    let named = |i: &Interface| {
        addresses.iter().find(|a| {
            a.mac
                .as_ref()
                .is_some_and(|m| m.eq_ignore_ascii_case(&i.mac))
        })
    };
    let mut places: Vec<(u8, Place)> = interfaces
        .iter()
        .map(|i| {
            let rank = match (named(i), i.link) {
                (Some(_), _) => 0,
                (None, true) => 1,
                (None, false) => 2,
            };
            let address = named(i).or_else(|| addresses.first()).cloned();
            let interface = i.name.clone();
            (rank, Place { interface, address })
        })
        .collect();
    places.sort_by_key(|(rank, _)| *rank);
    places.into_iter().map(|(_, place)| place).collect()
}

fn index(tree: &Tree, name: &str) -> Option<u32> {
    tree.value(&format!("sys/class/net/{name}/ifindex"))
}

/// Gives the place its address, and takes back what was given before. Says
/// what was done.
///
/// # Errors
/// When the kernel refuses, or no DHCP server answers.
pub fn occupy(place: &Place) -> io::Result<String> {
    let tree = Tree::new("/");
    let index =
        index(&tree, &place.interface).ok_or_else(|| io::Error::other("the interface is gone"))?;
    let mut held = HELD.lock().unwrap_or_else(|e| e.into_inner());
    if let Some((index, ip, prefix)) = held.take() {
        // It may be gone with its interface.
        drop(netlink::remove_address(index, ip, prefix));
    }
    let (ip, prefix, gateway, how) = match &place.address {
        Some(a) => (a.ip, a.prefix, a.gateway, "from the boot record"),
        None => {
            let mac = tree.text(&format!("sys/class/net/{}/address", place.interface));
            let lease = dhcp::acquire(&place.interface, &mac.unwrap_or_default())?;
            (lease.ip, lease.prefix, lease.gateway, "by DHCP")
        }
    };
    netlink::add_address(index, ip, prefix)?;
    *held = Some((index, ip, prefix));
    if let Some(gateway) = gateway {
        netlink::set_gateway(index, gateway)?;
    }
    Ok(format!("{}: {ip}/{prefix} {how}", place.interface))
}

#[cfg(test)]
mod tests {
    use billet_model::NetworkId;

    use super::*;

    fn interface(name: &str, mac: &str, link: bool) -> Interface {
        Interface {
            name: name.into(),
            mac: mac.into(),
            link,
        }
    }

    fn address(last: u8, mac: Option<&str>) -> Address {
        let ip = Ipv4Addr::new(10, 88, 0, last);
        Address {
            network: NetworkId::from_parts(0, [0; 10]),
            ip,
            prefix: 24,
            gateway: None,
            dns: vec![],
            reached_at: ip,
            mac: mac.map(str::to_owned),
        }
    }

    #[test]
    fn the_named_interface_comes_first_and_one_with_a_link_before_one_without() {
        let interfaces = [
            interface("eth0", "52:54:00:00:00:01", false),
            interface("eth1", "52:54:00:00:00:02", true),
            interface("eth2", "52:54:00:00:00:ff", false),
        ];
        let addresses = [address(7, None), address(9, Some("52:54:00:00:00:FF"))];
        let places = order(&interfaces, &addresses);
        let names: Vec<_> = places.iter().map(|p| p.interface.as_str()).collect();
        assert_eq!(names, ["eth2", "eth1", "eth0"]);
        let last = |at: usize| places[at].address.as_ref().map(|a| a.ip.octets()[3]);
        assert_eq!((last(0), last(1)), (Some(9), Some(7)));
    }

    #[test]
    fn without_addresses_each_place_asks_by_dhcp() {
        let places = order(&[interface("eth0", "", true)], &[]);
        assert_eq!(places[0].address, None);
    }
}
