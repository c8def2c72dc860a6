//! The one client that fetches from addresses which tenants give.
//!
//! It must not be a way into the operator's networks. So every address that a
//! name resolves to is looked at before a connection is made, with the very
//! addresses that were looked at; redirects are followed by hand, each one
//! looked at like the first; and only what the operator listed may be private.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    header::LOCATION,
};
use url::{Host, Url};

/// How long a server may say nothing.
const STALL: Duration = Duration::from_secs(30);
/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// A range of addresses that may be fetched from though it is private:
/// `10.1.0.0/16`, `192.168.3.4`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    base: IpAddr,
    prefix: u8,
}

/// What is wrong with a text that was meant as an address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses: write it as 10.1.0.0/16 or as one address")]
pub struct InvalidRange(String);

impl std::str::FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| invalid())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| invalid())?,
            None => most,
        };
        (prefix <= most)
            .then_some(Self { base, prefix })
            .ok_or_else(invalid)
    }
}

impl AddressRange {
    /// Whether `address` is within.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Not an address that is fetched from.
    #[error("{url} cannot be fetched: {why}")]
    Refused {
        /// Which, without credentials.
        url: String,
        /// Why not, and the way out.
        why: String,
    },
    /// The server did not give it.
    #[error("fetching {url}: {why}")]
    Failed {
        /// Which, without credentials.
        url: String,
        /// What happened.
        why: String,
    },
}

/// Which addresses may be fetched from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    allowed: Arc<Vec<AddressRange>>,
    /// The way out for who is refused.
    way: &'static str,
}

impl Guard {
    /// Public addresses, and these; `way` is the way out for who is refused.
    pub(crate) fn new(allowed: Vec<AddressRange>, way: &'static str) -> Self {
        Self {
            allowed: Arc::new(allowed),
            way,
        }
    }

    fn private(&self) -> String {
        format!(
            "its address is private, of this machine or reserved: {}",
            self.way
        )
    }

    /// Whether `address` may be fetched from.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|range| range.contains(address))
    }

    /// Looks at an address before anything is sent there: its scheme, and its
    /// host where that is a number. Names are looked at when they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), FetchError> {
        let refuse = |why: &str| {
            Err(FetchError::Refused {
                url: plain(url),
                why: why.to_owned(),
            })
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("only http and https are fetched");
        }
        let host = match url.host() {
            None => return refuse("it names no host"),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        };
        if self.allows(host) {
            Ok(())
        } else {
            refuse(&self.private())
        }
    }
}

/// The way out where an image's address is private.
pub(crate) const IMAGES: &str =
    "upload the image, or have the operator list the address with `--fetch-allow`";
/// The way out where a webhook's address is private.
pub(crate) const WEBHOOKS: &str = "have the operator list the address with `--webhook-allow`";

/// An address without user, password and query, to be shown and kept: a signature in the
/// query opens what the address alone does not.
pub(crate) fn plain(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b)) // shared by carriers
        || (a == 192 && b == 0 && c == 0) // protocols' own
        || (a == 198 && (b == 18 || b == 19)) // benchmarks
        || a >= 240; // reserved
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only what is given out as global unicast; not what wraps an IPv4 address
    // (6to4, Teredo, NAT64), not documentation.
    let global = (segments[0] & 0xe000) == 0x2000;
    let wrapped = segments[0] == 0x2002 || (segments[0] == 0x2001 && segments[1] < 0x0200);
    let documentation = (segments[0] == 0x2001 && segments[1] == 0x0db8)
        || (segments[0] == 0x3fff && segments[1] < 0x1000);
    global && !wrapped && !documentation
}

/// Resolves names, and hands on only addresses that may be fetched from.
pub(crate) struct GuardedNames(pub(crate) Guard);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            // One private address among public ones is a trick, not a mistake.
            if found.iter().all(|address| guard.allows(address.ip())) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(Box::new(io::Error::other(guard.private()))
                    as Box<dyn std::error::Error + Send + Sync>)
            }
        })
    }
}

/// The client.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: Client,
    guard: Guard,
}

/// A body that is being fetched.
pub(crate) struct Fetched {
    /// Bytes announced, if any were.
    pub(crate) size: Option<u64>,
    /// The bytes.
    pub(crate) body: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>,
}

impl Fetcher {
    /// A client that fetches from public addresses and from these.
    pub(crate) fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(GuardedNames(guard.clone())))
            .connect_timeout(STALL)
            .read_timeout(STALL)
            .user_agent(concat!("billet/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard })
    }

    /// Looks at an address before it is kept.
    pub(crate) fn check(&self, url: &Url) -> Result<(), FetchError> {
        self.guard.check(url)
    }

    /// Begins to fetch `url`, following redirects.
    pub(crate) async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            self.guard.check(&url)?;
            let failed = |why: String| FetchError::Failed {
                url: plain(&url),
                why,
            };
            let response = self.client.get(url.clone()).send().await;
            let response = response.map_err(|e| failed(chain(&e.without_url())))?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION);
                let location = location.and_then(|value| value.to_str().ok());
                let next = location.and_then(|location| url.join(location).ok());
                url = next.ok_or_else(|| failed("it redirects to nowhere".into()))?;
                continue;
            }
            if !response.status().is_success() {
                return Err(failed(format!("the server said {}", response.status())));
            }
            let size = response.content_length();
            let shown = plain(&url);
            let body = response.bytes_stream().map(move |piece| {
                piece.map_err(|e| FetchError::Failed {
                    url: shown.clone(),
                    why: chain(&e.without_url()),
                })
            });
            return Ok(Fetched {
                size,
                body: Box::pin(body),
            });
        }
        Err(FetchError::Failed {
            url: plain(&url),
            why: format!("more than {REDIRECTS} redirects"),
        })
    }
}

/// An error with what lies beneath it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_address_opens_nothing() {
        let url = "https://me:secret@example.org/a.raw?X-Amz-Signature=s#f";
        let kept = plain(&url.parse().expect("an address"));
        assert_eq!(kept, "https://example.org/a.raw");
    }

    #[test]
    fn only_public_addresses_are_fetched_from() {
        for public in [
            "1.1.1.1",
            "151.101.2.132",
            "2a04:4e42::644",
            "198.20.0.1",
            "100.128.0.1",
        ] {
            assert!(is_public(public.parse().expect(public)), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!is_public(other.parse().expect(other)), "{other}");
        }
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(!Guard::default().allows(mapped));
    }

    #[test]
    fn numbers_in_disguise_are_numbers() {
        let guard = Guard::default();
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "ftp://example.org/",
            "file:///etc/passwd",
        ] {
            let parsed = Url::parse(url).expect(url);
            assert!(guard.check(&parsed).is_err(), "{url}");
        }
    }

    #[test]
    fn the_operator_can_list_addresses() {
        let guard = Guard::new(vec!["10.1.0.0/16".parse().expect("a range")], IMAGES);
        assert!(guard.allows("10.1.2.3".parse().expect("an address")));
        assert!(guard.allows("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!guard.allows("10.2.2.3".parse().expect("an address")));
        for wrong in ["10.1.0.0/33", "ten", "10.0.0.0/", "::/129"] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<AddressRange>()
                .expect("a range")
                .contains("8.8.8.8".parse().expect("an address"))
        );
    }
}
