//! Where the host reaches the machines: loopback addresses, of which each lab on a host needs
//! its own.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use crate::options::NetOptions;

/// Where SSH goes when its own port is not to be had.
const OTHER_SSH_PORT: u16 = 2222;
/// How many labs can be on one host, at least.
const NETS: u32 = 64;

/// The addresses of one lab.
#[derive(Debug)]
pub(crate) struct Reach {
    /// The /24 of loopback addresses.
    pub net: Ipv4Addr,
    /// Port of the machines' SSH on them.
    pub ssh_port: u16,
    /// What differs from what was asked for.
    pub notes: Vec<String>,
    // Machines that are off hold no port: this one says that the /24 is taken, as long as the
    // lab lives. No machine has the subnet's first address.
    _claim: TcpListener,
}

/// Takes the /24 that is asked for, or the next free one where another lab has it. A lab that
/// was there before has to have its own again, because a control plane knows it.
///
/// # Errors
/// When none is free, or the system does not let this process listen there.
pub(crate) fn take(
    wanted: &NetOptions,
    machines: u32,
    before: Option<Ipv4Addr>,
) -> Result<Reach, (SocketAddrV4, Error)> {
    let mut notes = Vec::new();
    let mut port = wanted.ssh_port;
    let mut net = before.unwrap_or(wanted.reached_at);
    for tried in 1.. {
        match claim(net, u32::from(wanted.first), machines, port) {
            Ok(claim) => {
                if before.is_none() && net != wanted.reached_at {
                    notes.push(format!(
                        "Something else listens at {}/24, perhaps another lab: the machines are \
                         reached at {net}/24 instead.",
                        wanted.reached_at
                    ));
                }
                return Ok(Reach {
                    net,
                    ssh_port: port,
                    notes,
                    _claim: claim,
                });
            }
            Err((at, e)) if e.kind() == ErrorKind::PermissionDenied && port != OTHER_SSH_PORT => {
                notes.push(format!(
                    "This process may not listen on port {port} of {}: the machines' SSH is on \
                     port {OTHER_SSH_PORT} instead.",
                    at.ip()
                ));
                port = OTHER_SSH_PORT;
            }
            Err((_, e)) if e.kind() == ErrorKind::AddrInUse && before.is_none() && tried < NETS => {
                net = Ipv4Addr::from_bits(net.to_bits().wrapping_add(256));
            }
            Err(wrong) => return Err(wrong),
        }
    }
    unreachable!("the loop ends with a result")
}

/// Listens on the first address, and tries those of the machines.
fn claim(
    net: Ipv4Addr,
    first: u32,
    machines: u32,
    port: u16,
) -> Result<TcpListener, (SocketAddrV4, Error)> {
    let listen = |last: u32| {
        let at = SocketAddrV4::new(Ipv4Addr::from_bits(net.to_bits() + last), port);
        TcpListener::bind(at).map_err(|e| (at, e))
    };
    let claim = listen(1)?;
    for n in 0..machines {
        listen(first + n)?;
    }
    Ok(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> NetOptions {
        NetOptions {
            reached_at: Ipv4Addr::new(127, 91, 7, 0),
            // Free of rights, and of a server of this machine's own.
            ssh_port: 22_022,
            ..NetOptions::default()
        }
    }

    #[test]
    fn a_second_lab_takes_the_next_addresses_and_gets_its_own_again() {
        let first = take(&wanted(), 2, None).expect("free");
        assert_eq!(first.net, wanted().reached_at);
        assert!(first.notes.is_empty());
        let second = take(&wanted(), 2, None).expect("another");
        assert_eq!(second.net, Ipv4Addr::new(127, 91, 8, 0));
        assert!(second.notes[0].contains("127.91.8.0"), "{:?}", second.notes);

        let own = Some(second.net);
        let (at, error) = take(&wanted(), 2, own).expect_err("it is taken");
        assert_eq!(*at.ip(), Ipv4Addr::new(127, 91, 8, 1));
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop((first, second));
        let again = take(&wanted(), 2, own).expect("free again");
        assert_eq!(Some(again.net), own);
        assert!(again.notes.is_empty());
    }

    #[test]
    fn whoever_listens_at_a_machines_address_has_it() {
        let wanted = NetOptions {
            reached_at: Ipv4Addr::new(127, 92, 7, 0),
            ..wanted()
        };
        let _other = TcpListener::bind((Ipv4Addr::new(127, 92, 7, 12), wanted.ssh_port));
        let lab = take(&wanted, 2, None).expect("others are free");
        assert_eq!(lab.net, Ipv4Addr::new(127, 92, 8, 0));
        assert_eq!(take(&wanted, 1, None).expect("fits").net, wanted.reached_at);
    }
}
