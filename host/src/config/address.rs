//! Where to listen, as people write it: `host:port`. Its shape is checked when it is read; names are looked up later.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

/// What a text must look like to be an [`Address`]; completes "must be …".
pub(super) const EXPECTED: &str =
    r#"an address "host:port" with a port from 0 to 65535, such as "127.0.0.1:7070", "[::1]:7070" or ":7070" (all interfaces)"#;

/// The longest name that DNS can hold, bytes.
const NAME_BYTES_MAX: usize = 253;

/// A host and a port to listen on. Port 0 lets the system choose a free one.
///
/// ```
/// use osprey::config::Address;
///
/// let address: Address = "localhost:7070".parse()?;
/// assert_eq!(address.port(), 7070);
/// assert_eq!(address.to_string(), "localhost:7070");
/// assert!("localhost".parse::<Address>().is_err());
/// # Ok::<(), osprey::config::NotAnAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// Nothing before the colon, as in Go: every interface, IPv6 and IPv4.
    All,
    Ip(IpAddr),
    /// A link-local address with the number of its interface.
    Scoped(Ipv6Addr, u32),
    Name(String),
}

/// The text is no `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAddress;

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {EXPECTED}")
    }
}

impl std::error::Error for NotAnAddress {}

impl Address {
    /// 127.0.0.1: reachable from this machine only.
    pub(super) const fn loopback(port: u16) -> Self {
        Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
    }

    /// The port; 0 lets the system choose.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket addresses to try, in this order, until one can be bound. Looks up a name, which may block.
    ///
    /// For all interfaces it is `[::]`, which takes IPv4 as well where the system allows it, then `0.0.0.0`.
    ///
    /// # Errors
    /// The name can't be looked up.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let one = |ip: IpAddr| SocketAddr::new(ip, self.port);
        match &self.host {
            Host::All => Ok(vec![one(Ipv6Addr::UNSPECIFIED.into()), one(Ipv4Addr::UNSPECIFIED.into())]),
            Host::Ip(ip) => Ok(vec![one(*ip)]),
            Host::Scoped(ip, scope) => Ok(vec![SocketAddrV6::new(*ip, self.port, 0, *scope).into()]),
            Host::Name(name) => Ok((name.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        Ok(Self { host: host.parse()?, port: digits(port)? })
    }
}

fn digits<T: FromStr>(text: &str) -> Result<T, NotAnAddress> {
    // `parse` alone would take a leading plus.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| NotAnAddress) } else { Err(NotAnAddress) }
}

impl FromStr for Host {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.is_empty() {
            return Ok(Self::All);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(NotAnAddress)?;
            return match inner.split_once('%') {
                Some((ip, scope)) => Ok(Self::Scoped(ip.parse().map_err(|_| NotAnAddress)?, digits(scope)?)),
                None => inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| NotAnAddress),
            };
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        if is_name(text) { Ok(Self::Name(text.into())) } else { Err(NotAnAddress) }
    }
}

/// Whether it can be the name of a host. One that ends in a number is a mistyped IPv4 address: no top-level domain does.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let ends_in_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !ends_in_number
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::All => {}
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Host::Scoped(ip, scope) => write!(f, "[{ip}%{scope}]")?,
            Host::Name(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_is_printed_as_it_was_read() {
        for text in [
            "127.0.0.1:7070",
            "0.0.0.0:7070",
            "localhost:0",
            ":7070",
            "[::1]:7070",
            "[::]:65535",
            "[fe80::1%2]:80",
            "db-1.example.com:1",
            "osprey_server:1",
            "example.com.:1",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "7070",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "localhost:+1",
            "localhost:-1",
            " localhost:1",
            "local host:1",
            "http://localhost:1",
            "user@localhost:1",
            "-:1",
            "a..b:1",
            ".:1",
            "::1:7070",
            "::1",
            "[::1]",
            "[::1:7070",
            "[127.0.0.1]:1",
            "[fe80::1%]:1",
            "[fe80::1%+2]:1",
            "256.0.0.1:1",
            "127.0.1:1",
            "1:1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text:?}");
        }
        assert!(format!("{}:1", "a".repeat(253)).parse::<Address>().is_ok());
        assert_eq!(format!("{}:1", "a".repeat(254)).parse::<Address>(), Err(NotAnAddress));
    }

    #[test]
    fn an_address_resolves_to_what_can_be_bound() {
        let resolved = |text: &str| text.parse::<Address>().unwrap().resolve().unwrap();
        assert_eq!(resolved("127.0.0.1:7070"), ["127.0.0.1:7070".parse().unwrap()]);
        assert_eq!(resolved("[fe80::1%2]:80"), ["[fe80::1%2]:80".parse().unwrap()]);
        assert_eq!(resolved(":7070"), ["[::]:7070".parse().unwrap(), "0.0.0.0:7070".parse().unwrap()]);
        assert!(resolved("localhost:1").iter().all(|address| address.ip().is_loopback() && address.port() == 1));
    }
}
