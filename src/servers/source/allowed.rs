//! Which addresses from outside of the configuration may be dialled (I11).
//!
//! Who can write a lease, an endpoint slice or a DNS record could otherwise make us connect to anything that we can
//! reach. The certificate that a server must show there is checked beside this, not instead of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The ranges of `--peer-allowed-cidrs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<IpNet>);

/// Addresses that mean this machine, this link, or nobody in particular. A range that is wider than one of these does
/// not mean it: who allows `0.0.0.0/0` allows neither this machine nor a cloud's metadata service on the link.
const SPECIAL_V4: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// A range of IPv4 addresses mapped into IPv6 is one of IPv4 addresses.
const MAPPED_PREFIX: u8 = 96;

// === impl Allowed ===

impl Allowed {
    /// Exactly these ranges.
    #[must_use]
    pub fn new(ranges: &[IpNet]) -> Self {
        Self(ranges.iter().map(|range| canonical(*range)).collect())
    }

    /// Whether an address may be dialled. One of IPv4 that is mapped into IPv6 is judged as IPv4. Loopback, link-local,
    /// unspecified, multicast and broadcast addresses are allowed only by a range that has nothing but such.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let special = special(ip);
        self.0.iter().any(|range| range.contains(&ip) && special.is_none_or(|block| block.contains(range)))
    }
}

fn canonical(range: IpNet) -> IpNet {
    let mapped = |range: Ipv6Net| {
        let ip = range.network().to_ipv4_mapped()?;
        Ipv4Net::new(ip, range.prefix_len().checked_sub(MAPPED_PREFIX)?).ok()
    };
    match range {
        IpNet::V4(_) => range,
        IpNet::V6(v6) => mapped(v6).map_or(range, IpNet::V4),
    }
}

/// The block of special addresses that an address is in.
fn special(ip: IpAddr) -> Option<IpNet> {
    let v4 = SPECIAL_V4.into_iter().map(|(ip, prefix)| (IpAddr::V4(ip), prefix));
    let v6 = SPECIAL_V6.into_iter().map(|(ip, prefix)| (IpAddr::V6(ip), prefix));
    v4.chain(v6).filter_map(|(ip, prefix)| IpNet::new(ip, prefix).ok()).find(|block| block.contains(&ip))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(ranges: &[&str]) -> Allowed {
        Allowed::new(&ranges.iter().map(|range| range.parse().unwrap()).collect::<Vec<_>>())
    }

    fn permits(ranges: &[&str], ip: &str) -> bool {
        allowed(ranges).permits(ip.parse().unwrap())
    }

    #[test]
    fn i11_without_a_range_nothing_is_allowed() {
        assert!(!permits(&[], "10.0.0.1"));
        assert!(!permits(&[], "fd00::1"));
    }

    #[test]
    fn i11_an_address_is_allowed_inside_of_a_range_only() {
        let ranges = ["10.0.0.0/29", "192.0.2.7/32", "fd00::/64"];
        for inside in ["10.0.0.0", "10.0.0.7", "192.0.2.7", "fd00::1", "fd00::ffff:ffff:ffff:ffff"] {
            assert!(permits(&ranges, inside), "{inside}");
        }
        for outside in ["10.0.0.8", "9.255.255.255", "192.0.2.8", "fd00:0:0:1::", "fe00::1", "::10.0.0.1"] {
            assert!(!permits(&ranges, outside), "{outside}");
        }
    }

    #[test]
    fn i11_an_ipv4_address_mapped_into_ipv6_is_judged_as_ipv4() {
        assert!(permits(&["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(permits(&["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(!permits(&["::/0"], "::ffff:10.1.2.3"));
        assert!(!permits(&["0.0.0.0/0", "::/0"], "::ffff:127.0.0.1"));
    }

    #[test]
    fn i11_special_addresses_are_allowed_only_by_a_range_that_means_them() {
        let everything = ["0.0.0.0/0", "::/0"];
        for (ip, meant) in [
            ("127.0.0.1", "127.0.0.0/8"),
            ("127.9.9.9", "127.9.0.0/16"),
            ("::1", "::1/128"),
            ("169.254.169.254", "169.254.169.254/32"),
            ("fe80::1", "fe80::/10"),
            ("0.0.0.0", "0.0.0.0/32"),
            ("::", "::/128"),
            ("224.0.0.1", "224.0.0.0/4"),
            ("ff02::1", "ff02::/16"),
            ("255.255.255.255", "255.255.255.255/32"),
        ] {
            assert!(!permits(&everything, ip), "{ip}");
            assert!(permits(&[meant], ip), "{ip} in {meant}");
        }
        assert!(!permits(&["126.0.0.0/7"], "127.0.0.1"), "half of it is something else");
        assert!(permits(&["126.0.0.0/7", "127.0.0.0/8"], "127.0.0.1"));
    }

    proptest! {
        #[test]
        fn i11_whatever_is_allowed_is_in_a_range(bits: u32, range: u32, prefix in 0u8..=32) {
            let range = IpNet::new(Ipv4Addr::from_bits(range).into(), prefix).unwrap();
            let (ip, mapped) = (Ipv4Addr::from_bits(bits), Ipv4Addr::from_bits(bits).to_ipv6_mapped());
            let allowed = Allowed::new(&[range]);
            prop_assert!(!allowed.permits(ip.into()) || range.contains(&IpAddr::V4(ip)));
            prop_assert_eq!(allowed.permits(ip.into()), allowed.permits(mapped.into()));
        }
    }
}
