//! The three things to be said to the kernel's routing table: an interface is
//! up, it has an address, the rest is beyond a gateway (rtnetlink(7)).

use std::{io, net::Ipv4Addr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv,
    sendto, socket_with,
};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;

/// Request, acknowledge.
const ASK: u16 = 0x1 | 0x4;
/// Create, or replace what is there.
const PUT: u16 = ASK | 0x400 | 0x100;

const AF_INET: u8 = 2;

/// Turns an interface on.
///
/// # Errors
/// What the kernel says.
pub fn set_up(index: u32) -> io::Result<()> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    // Flags, and the mask of those that change: IFF_UP.
    body.extend(1u32.to_ne_bytes());
    body.extend(1u32.to_ne_bytes());
    ask(RTM_NEWLINK, ASK, &body)
}

/// Gives an interface an address.
///
/// # Errors
/// What the kernel says.
pub fn add_address(index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
    ask(RTM_NEWADDR, PUT, &address(index, ip, prefix))
}

/// Takes an address away.
///
/// # Errors
/// What the kernel says.
pub fn remove_address(index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
    ask(RTM_DELADDR, ASK, &address(index, ip, prefix))
}

/// Sends what is beyond the subnet to a gateway.
///
/// # Errors
/// What the kernel says.
pub fn set_gateway(index: u32, gateway: Ipv4Addr) -> io::Result<()> {
    // Table main (254), protocol boot (3), universe (0), unicast (1).
    let mut body = vec![AF_INET, 0, 0, 0, 254, 3, 0, 1];
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, 5, &gateway.octets());
    attribute(&mut body, 4, &index.to_ne_bytes());
    ask(RTM_NEWROUTE, PUT, &body)
}

fn address(index: u32, ip: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, 2, &ip.octets());
    attribute(&mut body, 1, &ip.octets());
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    if prefix < 31 {
        let broadcast = Ipv4Addr::from_bits(ip.to_bits() | host);
        attribute(&mut body, 4, &broadcast.octets());
    }
    body
}

/// Appends an attribute; every one here is of four bytes, so none needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, data: &[u8; 4]) {
    body.extend(8u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(data);
}

fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut answer = [0u8; 4096];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    match (answer.get(4..6), answer.get(16..20)) {
        (Some(kind), Some(code)) if *kind == NLMSG_ERROR.to_ne_bytes() => {
            let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
            if code == 0 {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(-code))
            }
        }
        _ => Err(io::Error::other("the kernel's answer is not one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_its_broadcast() {
        let body = address(3, Ipv4Addr::new(10, 88, 0, 17), 24);
        assert!(body.windows(4).any(|w| w == [10, 88, 0, 255]));
        assert_eq!(body.len(), 8 + 3 * 8);
    }

    #[test]
    fn the_kernels_refusal_is_an_error() {
        // No interface has this number, whatever the rights of the caller.
        assert!(set_up(u32::MAX >> 1).is_err());
    }
}
