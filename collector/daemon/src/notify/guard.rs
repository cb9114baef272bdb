//! The egress guard: which addresses a webhook may be sent to. Called when a target is added and before each attempt.
//! A name is resolved once, every address it has is checked, and the attempt connects to those very addresses; a second
//! look-up could answer differently (DNS rebinding). Must never let a link-local or metadata address through.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::Url;

use super::address::{Reach, canonical, reach};

/// Addresses of one name that are looked at; a name with more is refused.
const ADDRESSES_MAX: usize = 64;

/// Finds the addresses of a host name.
pub trait Lookup: Send + Sync {
    /// Returns every address of the name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Asks the operating system.
struct SystemLookup;

/// An entry of `webhooks.egress.allow`: private addresses that may be called all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    place: Place,
    /// Any port when there is none.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Network {
        address: IpAddr,
        prefix: u8,
    },
    /// Lower case, without a dot at the end.
    Host(String),
}

/// Text that is not a network, a host or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network (10.0.0.0/8), a host, or host:port")]
pub struct AllowRuleError(String);

/// Why an address may not be called.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Neither http nor https, or no host.
    #[error("only http and https addresses with a host may be called")]
    Address,
    /// No rule can allow it: link-local, metadata, multicast, unspecified.
    #[error("{place} is {why}, and never called")]
    Never {
        /// Host and address that was refused.
        place: String,
        /// What it is.
        why: &'static str,
    },
    /// Private, and not allowed by a rule.
    #[error("{place} is {why}; to allow it, add {rule:?} to webhooks.egress.allow")]
    Private {
        /// Host and address that was refused.
        place: String,
        /// What it is.
        why: &'static str,
        /// Rule that would allow it.
        rule: String,
    },
    /// The name has no address now.
    #[error("looking up {host}")]
    Unresolved {
        /// Host as written.
        host: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Decides which addresses may be called.
#[derive(Clone)]
pub struct EgressGuard {
    allow: Arc<[AllowRule]>,
    names: Arc<dyn Lookup>,
}

impl EgressGuard {
    /// Returns a guard that asks the operating system for addresses.
    pub fn new(allow: Vec<AllowRule>) -> Self {
        Self::with_lookup(allow, Arc::new(SystemLookup))
    }

    /// Returns a guard that asks `names` for addresses.
    pub fn with_lookup(allow: Vec<AllowRule>, names: Arc<dyn Lookup>) -> Self {
        Self { allow: allow.into(), names }
    }

    /// Resolves a URL's host once and returns the addresses to connect to, all of them checked.
    ///
    /// # Errors
    /// When one of the addresses may not be called, or there is none.
    pub async fn check(&self, url: &Url) -> Result<Vec<SocketAddr>, GuardError> {
        let (host, port) = host_and_port(url)?;
        let addresses = match self.check_literal(url)? {
            Some(address) => vec![address],
            None => {
                let found = self.names.lookup(host.clone()).await;
                found.map_err(|cause| GuardError::Unresolved { host: host.clone(), cause })?
            }
        };
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            let cause = io::Error::other(format!("it has {} addresses", addresses.len()));
            return Err(GuardError::Unresolved { host, cause });
        }
        for address in &addresses {
            self.check_address(&host, *address, port)?;
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Checks what can be known without looking a name up, and returns the address if the host is one.
    ///
    /// # Errors
    /// When the URL or its address may not be called.
    pub fn check_literal(&self, url: &Url) -> Result<Option<IpAddr>, GuardError> {
        let (host, port) = host_and_port(url)?;
        let Some(address) = address_in(&host) else { return Ok(None) };
        self.check_address(&host, address, port)?;
        Ok(Some(address))
    }

    fn check_address(&self, host: &str, address: IpAddr, port: u16) -> Result<(), GuardError> {
        let is_literal = address_in(host).is_some();
        let place = || if is_literal { host.to_owned() } else { format!("{host} ({address})") };
        match reach(address) {
            Reach::Public => Ok(()),
            Reach::Never(why) => Err(GuardError::Never { place: place(), why }),
            Reach::Private(_) if self.allow.iter().any(|rule| rule.covers(host, address, port)) => Ok(()),
            Reach::Private(why) => {
                let rule = format!("{host}:{port}");
                Err(GuardError::Private { place: place(), why, rule })
            }
        }
    }
}

impl AllowRule {
    fn covers(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let is_place = match &self.place {
            Place::Host(name) => *name == plain_host(host),
            Place::Network { address: network, prefix } => contains(*network, *prefix, canonical(address)),
        };
        is_place && self.port.is_none_or(|allowed| allowed == port)
    }
}

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, AllowRuleError> {
        let wrong = || AllowRuleError(text.to_owned());
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
            return if prefix <= bits(address) {
                Ok(Self { place: Place::Network { address, prefix }, port: None })
            } else {
                Err(wrong())
            };
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self { place: single(address), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { place: single(address.ip()), port: Some(address.port()) });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Self { place: Place::Host(plain_host(host)), port })
    }
}

impl fmt::Debug for EgressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressGuard").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

fn host_and_port(url: &Url) -> Result<(String, u16), GuardError> {
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("http" | "https", Some(host), Some(port)) => Ok((host.to_owned(), port)),
        _ => Err(GuardError::Address),
    }
}

/// Returns the address that a URL's host is; the URL parser has already made plain addresses of decimal, octal and
/// hexadecimal ones.
fn address_in(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn plain_host(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn single(address: IpAddr) -> Place {
    let address = canonical(address);
    Place::Network { address, prefix: bits(address) }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let cut = u32::from(bits(network) - prefix);
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(cut).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).checked_shr(cut).unwrap_or(0) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
