//! As much of DHCP as a ramdisk needs: one address, for the time of one boot
//! (RFC 2131). Written out because the crates for it bring a DNS library along.
//!
//! Answers are asked for as broadcasts, so an ordinary socket bound to the
//! interface hears them before the interface has an address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const TRIES: u32 = 4;

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
}

/// A server's message, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    kind: u8,
    server: Option<Ipv4Addr>,
    lease: Lease,
}

/// Gets an address for an interface that has none. Waits at most half a minute.
///
/// # Errors
/// When the socket cannot be had, or no server answers.
pub fn acquire(interface: &str, mac: &str) -> io::Result<Lease> {
    let mac = parse_mac(mac).ok_or_else(|| io::Error::other("the interface has no MAC"))?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    let socket = UdpSocket::from(socket);
    for attempt in 0..TRIES {
        // Distinct enough among machines that boot at once: the MAC is in it.
        let xid = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]])
            .wrapping_add(attempt.wrapping_mul(0x9e37_79b9));
        let wait = Duration::from_secs(2 << attempt.min(2));
        let offer = exchange(&socket, &message(xid, mac, DISCOVER, None), xid, wait)?;
        let Some(offer) = offer.filter(|o| o.kind == OFFER) else {
            continue;
        };
        let wanted = Some((offer.lease.ip, offer.server));
        match exchange(&socket, &message(xid, mac, REQUEST, wanted), xid, wait)? {
            Some(reply) if reply.kind == ACK => return Ok(reply.lease),
            _ => {}
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "no DHCP server answered",
    ))
}

/// Sends, and waits for the answer to it.
fn exchange(
    socket: &UdpSocket,
    message: &[u8],
    xid: u32,
    wait: Duration,
) -> io::Result<Option<Reply>> {
    socket.send_to(message, (Ipv4Addr::BROADCAST, 67))?;
    let end = Instant::now() + wait;
    let mut buffer = [0; 1500];
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                break;
            }
            Err(e) => return Err(e),
        };
        if let Some(reply) = parse(&buffer[..length], xid)
            && matches!(reply.kind, OFFER | ACK | NAK)
        {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .ok()?;
    bytes.try_into().ok()
}

fn message(
    xid: u32,
    mac: [u8; 6],
    kind: u8,
    wanted: Option<(Ipv4Addr, Option<Ipv4Addr>)>,
) -> Vec<u8> {
    // A request, on Ethernet, of six bytes of address, over no relay.
    let mut m = vec![1, 1, 6, 0];
    m.extend(xid.to_be_bytes());
    m.extend([0, 0]);
    // Answers are to be broadcasts.
    m.extend([0x80, 0]);
    m.extend([0; 16]);
    m.extend(mac);
    m.extend([0; 10 + 64 + 128]);
    m.extend(COOKIE);
    m.extend([53, 1, kind]);
    // Client identifier: its MAC. Wanted: mask, router.
    m.extend([61, 7, 1]);
    m.extend(mac);
    m.extend([55, 2, 1, 3]);
    if let Some((ip, server)) = wanted {
        m.extend([50, 4]);
        m.extend(ip.octets());
        if let Some(server) = server {
            m.extend([54, 4]);
            m.extend(server.octets());
        }
    }
    m.push(255);
    m
}

fn parse(bytes: &[u8], xid: u32) -> Option<Reply> {
    let four = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok();
    if *bytes.first()? != 2 || four(4)? != xid.to_be_bytes() || four(236)? != COOKIE {
        return None;
    }
    let mut reply = Reply {
        kind: 0,
        server: None,
        lease: Lease {
            ip: Ipv4Addr::from(four(16)?),
            prefix: 24,
            gateway: None,
        },
    };
    let mut rest = bytes.get(240..)?;
    while let Some((&code, after)) = rest.split_first() {
        match code {
            0 => rest = after,
            255 => break,
            _ => {
                let length = usize::from(*after.first()?);
                let data = after.get(1..1 + length)?;
                let address = data.get(..4).and_then(|d| <[u8; 4]>::try_from(d).ok());
                match code {
                    53 => reply.kind = *data.first()?,
                    1 => {
                        let mask = u32::from_be_bytes(address?);
                        reply.lease.prefix = u8::try_from(mask.leading_ones()).ok()?;
                    }
                    3 => reply.lease.gateway = address.map(Ipv4Addr::from),
                    54 => reply.server = address.map(Ipv4Addr::from),
                    _ => {}
                }
                rest = &after[1 + length..];
            }
        }
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(xid: u32, kind: u8) -> Vec<u8> {
        let mut m = message(xid, [2, 0, 0, 0, 0, 1], kind, None);
        m[0] = 2;
        m[16..20].copy_from_slice(&[10, 0, 2, 15]);
        m.pop();
        m.extend([
            1, 4, 255, 255, 240, 0, 3, 4, 10, 0, 2, 2, 54, 4, 10, 0, 2, 2, 255,
        ]);
        m
    }

    #[test]
    fn an_offer_is_read() {
        let reply = parse(&answer(7, OFFER), 7).expect("an offer");
        assert_eq!(reply.kind, OFFER);
        assert_eq!(reply.server, Some(Ipv4Addr::new(10, 0, 2, 2)));
        let lease = Lease {
            ip: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 20,
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
        };
        assert_eq!(reply.lease, lease);
    }

    #[test]
    fn what_is_cut_short_or_meant_for_another_is_no_answer() {
        let whole = answer(7, ACK);
        assert_eq!(parse(&whole, 8), None);
        for cut in 0..240 {
            assert_eq!(parse(&whole[..cut], 7), None);
        }
        for cut in 240..whole.len() {
            // Must not panic; options may be missing.
            assert!(parse(&whole[..cut], 7).is_none_or(|r| r.lease.ip.octets()[0] == 10));
        }
    }

    #[test]
    fn macs_are_six_bytes() {
        assert_eq!(
            parse_mac("52:54:00:12:34:ff"),
            Some([0x52, 0x54, 0, 0x12, 0x34, 0xff])
        );
        assert_eq!(parse_mac("52:54:00"), None);
        assert_eq!(parse_mac(""), None);
    }
}
