//! The address of an HTTP endpoint, checked once.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain text; only to this machine.
    Http,
    /// TLS.
    Https,
}

/// An HTTP address without user, query and fragment: nothing in it is secret. Plain `http://` leads
/// to this machine only (`127.0.0.0/8`, `::1`, `localhost`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no endpoint. The text itself is left out: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// No scheme, or another one.
    #[error("an address starts with `https://`")]
    Scheme,
    /// `http://` to another machine.
    #[error("`http://` is allowed to this machine only (127.0.0.0/8, ::1, localhost)")]
    PlainHttp,
    /// `user:password@`.
    #[error("an address must not hold a user or a password")]
    UserInfo,
    /// `?` or `#`.
    #[error("an address must not hold a query or a fragment")]
    Query,
    /// The host's name or number.
    #[error("not a host name or IP address")]
    Host,
    /// The port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// The path.
    #[error("a character that a path must not hold")]
    Path,
}

impl EndpointError {
    /// What to do about it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Scheme => "write `https://host/path`",
            Self::PlainHttp => "use `https://`: what travels would be readable on the way",
            Self::UserInfo => "remove everything before the `@`: peers are known by their keys",
            Self::Query => "remove everything from the `?` or `#` on",
            Self::Host => {
                "write a name (`sync.example.com`), an IPv4 address, or an IPv6 address in brackets"
            }
            Self::Port => "write `https://host:port/path`, or leave `:port` out for 443",
            Self::Path => "letters, digits and `-._~!$&'()*+,;=:/` stand as they are, others as `%XX`",
        }
    }
}

impl Endpoint {
    /// How it is spoken to.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, whether it was written or follows from the scheme.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path, at least `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(EndpointError::Scheme),
        };
        // A password may hold `/`, `?` and `#`: an `@` anywhere is taken as the end of one.
        if rest.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if rest.contains(['?', '#']) {
            return Err(EndpointError::Query);
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = split_port(authority)?;
        if !is_path(path) {
            return Err(EndpointError::Path);
        }
        if scheme == Scheme::Http && !is_loopback(&host) {
            return Err(EndpointError::PlainHttp);
        }
        Ok(Self { scheme, host, port: port.unwrap_or(scheme.default_port()), path: path.to_owned() })
    }
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Endpoint {
    /// The address in one canonical form, from which it can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]", self.host)?;
        } else {
            write!(f, "{scheme}://{}", self.host)?;
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

/// A host's name or address in its canonical form; IPv6 without brackets.
pub(super) fn host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_string());
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.to_string());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // `127.1` and `0x7f.1` are addresses to some resolvers: what ends in a number is one or nothing.
    let last = text.rsplit('.').next().unwrap_or("");
    let numeric = last.starts_with(|c: char| c.is_ascii_digit())
        && (last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X"));
    (text.len() <= 253 && !numeric && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

/// Whether a canonical host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

fn split_port(authority: &str) -> Result<(String, Option<u16>), EndpointError> {
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or(EndpointError::Host)?;
        name.parse::<Ipv6Addr>().map_err(|_| EndpointError::Host)?;
        let port = match after.strip_prefix(':') {
            None if !after.is_empty() => return Err(EndpointError::Port),
            port => port,
        };
        (name, port)
    } else {
        match authority.split_once(':') {
            // An IPv6 address stands in brackets, so a second colon is not one of a name.
            Some((_, port)) if port.contains(':') => return Err(EndpointError::Host),
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        }
    };
    let host = host(name).ok_or(EndpointError::Host)?;
    let port = port.map(|digits| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|port| plain && *port != 0).ok_or(EndpointError::Port)
    });
    Ok((host, port.transpose()?))
}

fn is_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.iter().enumerate().all(|(index, byte)| match byte {
        b'%' => bytes.get(index + 1..index + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/".contains(byte),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_canonical_form() {
        let check = |text: &str, expected: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), expected);
            assert_eq!(expected.parse(), Ok(endpoint));
        };
        check("https://sync-proxy.example.com/p2p-sync", "https://sync-proxy.example.com/p2p-sync");
        check("HTTPS://Sync.Example.com", "https://sync.example.com/");
        check("https://a:443/x%20y", "https://a/x%20y");
        check("https://a:8443/x/", "https://a:8443/x/");
        check("http://127.9.8.7:8080/p", "http://127.9.8.7:8080/p");
        check("http://localhost/p", "http://localhost/p");
        check("http://[::1]:9/p", "http://[::1]:9/p");
        check("https://[2001:DB8::1]", "https://[2001:db8::1]/");
    }

    #[test]
    fn an_address_is_refused_for_a_stated_reason() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text}");
        check("", EndpointError::Scheme);
        check("sync.example.com/p2p", EndpointError::Scheme);
        check("ftp://a/", EndpointError::Scheme);
        check("http://sync.example.com/p2p", EndpointError::PlainHttp);
        check("http://127.0.0.1.example.com/", EndpointError::PlainHttp);
        check("http://localhost.example.com/", EndpointError::PlainHttp);
        check("http://128.0.0.1/", EndpointError::PlainHttp);
        check("http://[::2]/", EndpointError::PlainHttp);
        check("http://[::ffff:127.0.0.1]/", EndpointError::PlainHttp);
        check("https://user:pass@a/", EndpointError::UserInfo);
        check("https://user:pa/ss@a/", EndpointError::UserInfo);
        check("http://localhost@evil.example.com/", EndpointError::UserInfo);
        check("https://a/p?x=1", EndpointError::Query);
        check("https://a/p#x", EndpointError::Query);
        check("https://", EndpointError::Host);
        check("https:///p", EndpointError::Host);
        check("https://a..b/", EndpointError::Host);
        check("https://-a/", EndpointError::Host);
        check("https://127.1/", EndpointError::Host);
        check("https://0x7f000001/", EndpointError::Host);
        check("https://999.0.0.1/", EndpointError::Host);
        check("https://::1/", EndpointError::Host);
        check("https://[1.2.3.4]/", EndpointError::Host);
        check("https://[::1/", EndpointError::Host);
        check("https://a:/", EndpointError::Port);
        check("https://a:0/", EndpointError::Port);
        check("https://a:+1/", EndpointError::Port);
        check("https://a:65536/", EndpointError::Port);
        check("https://[::1]8/", EndpointError::Port);
        check("https://a/ b", EndpointError::Path);
        check("https://a/\\b", EndpointError::Path);
        check("https://a/%2", EndpointError::Path);
    }
}
