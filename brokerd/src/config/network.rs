//! Networks as operators write them. Owns their notation; never resolves a name.

use std::net::IpAddr;

/// Addresses by their first bits, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// `ADDRESS/BITS`, or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit()); // `+8` parses, too
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|length| is_number(bits) && *length <= width)?,
            None => width,
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0) >> (128 - width);
        let (number, is_v4) = number(address);
        // Bits beyond the network are a slip: 10.1.2.3/8 may be meant as /32.
        (number & mask == number).then_some(Self { address: number, mask, is_v4 })
    }

    /// Whether an address belongs to it. An IPv4 address in IPv6 clothes is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (number, is_v4) = number(address.to_canonical());
        is_v4 == self.is_v4 && number & self.mask == self.address
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network = Network::parse("10.0.0.0/8").unwrap();
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        assert!(!network.contains("::a00:1".parse().unwrap()));
        let network = Network::parse("fd00::/8").unwrap();
        assert!(network.contains("fdff::1".parse().unwrap()) && !network.contains("fe80::1".parse().unwrap()));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(Network::parse("::/0").unwrap().contains("::1".parse().unwrap()));
        assert!(Network::parse("192.0.2.7").unwrap().contains("192.0.2.7".parse().unwrap()));
        for wrong in
            ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "localhost", "10/8"]
        {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
