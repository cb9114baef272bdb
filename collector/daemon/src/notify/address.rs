//! What an IP address is: reachable by anybody, only from inside, or never meant to be called. Asked by the egress guard.
//! Whatever is not known to be public counts as private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who can be reached at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A host on the Internet.
    Public,
    /// A host inside, with what kind of inside.
    Private(&'static str),
    /// Nothing that takes webhooks, whatever a rule says.
    Never(&'static str),
}

const METADATA: Reach = Reach::Never("a cloud's metadata service");

/// Returns who can be reached at an address.
pub(super) fn reach(address: IpAddr) -> Reach {
    match canonical(address) {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// Returns the IPv4 address inside an IPv6 one, where a kernel or gateway would connect to that: mapped (RFC 4291),
/// the deprecated compatible form, NAT64 (RFC 6052) and 6to4 (RFC 3056).
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let parts = v6.segments();
    let inside = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inside(high, low),
        // Not `::` and `::1`, which mean something else.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => inside(high, low),
        [0x2002, high, low, ..] => inside(high, low),
        _ => address,
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => METADATA,
        [169, 254, ..] => Reach::Never("a link-local address"),
        [0, ..] => Reach::Never("an unspecified address"),
        [224..=239, ..] => Reach::Never("a multicast address"),
        [240..=255, ..] => Reach::Never("a reserved address"),
        [127, ..] => Reach::Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("a private address"),
        [100, 64..=127, ..] => Reach::Private("a shared address"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Reach::Private("an address for special use")
        }
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => METADATA,
        [0xfe80..=0xfebf, ..] => Reach::Never("a link-local address"),
        [0xff00..=0xffff, ..] => Reach::Never("a multicast address"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Never("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private("a loopback address"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Private("a private address"),
        // Protocol assignments (with Teredo) and documentation, which lie inside the public range.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Reach::Private("an address for special use")
        }
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Private("an address for special use"),
    }
}
