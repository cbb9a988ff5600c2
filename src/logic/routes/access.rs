//! Who may use a route: `allow=ip:10.0.0.0/8,ip:192.0.2.1` or `deny=ip:...`.

use std::net::IpAddr;

/// The addresses that a route is open to, or those that it isn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether the blocks are the only ones let in; otherwise they are kept out.
    allows: bool,
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    base: IpAddr,
    bits: u32,
}

impl Access {
    /// An error is a sentence about what is wrong with the value.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        let blocks = value
            .split(',')
            .map(|item| Block::parse(item).map_err(|why| format!("{name}={value}: {why}")));
        Ok(Self {
            allows: name == "allow",
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }

    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = self.blocks.iter().any(|block| block.contains(address));
        listed == self.allows
    }
}

impl Block {
    fn parse(item: &str) -> Result<Self, String> {
        let wrong = || format!("\"{item}\" is none of ip:ADDRESS and ip:ADDRESS/BITS");
        let (kind, text) = item.trim().split_once(':').ok_or_else(wrong)?;
        if !kind.trim().eq_ignore_ascii_case("ip") {
            return Err(wrong());
        }
        let (base, bits) = match text.trim().split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text.trim(), None),
        };
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if bits > width {
            return Err(wrong());
        }
        // As addresses are looked at: IPv4 within IPv6 is IPv4.
        match (base, base.to_canonical(), bits) {
            (IpAddr::V6(_), base @ IpAddr::V4(_), 96..) => Ok(Self {
                base,
                bits: bits - 96,
            }),
            _ => Ok(Self { base, bits }),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = u32::from(base) ^ u32::from(address);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = u128::from(base) ^ u128::from(address);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_who_is_let_in_or_kept_out() {
        for (name, value, address, admitted) in [
            ("allow", "ip:10.0.0.0/8", "10.1.2.3", true),
            ("allow", "ip:10.0.0.0/8", "11.1.2.3", false),
            ("allow", "ip:10.0.0.0/8", "::1", false),
            ("allow", "ip:10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("allow", "ip:1.1.1.1,IP:fe80::/10", "fe80::2", true),
            ("allow", "ip:1.1.1.1, ip:2.2.2.2", "2.2.2.2", true),
            ("allow", "ip:0.0.0.0/0", "203.0.113.9", true),
            ("deny", "ip:10.0.0.0/8", "10.1.2.3", false),
            ("deny", "ip:10.0.0.0/8", "11.1.2.3", true),
            ("deny", "ip:fe80:1234::/100", "fe80:1234::beef", false),
            ("deny", "ip:::/0", "2001:db8::1", false),
            ("deny", "ip:::ffff:10.0.0.1", "10.0.0.1", false),
            ("allow", "ip:::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("allow", "ip:::ffff:10.0.0.0/104", "11.9.9.9", false),
        ] {
            let access = Access::parse(name, value).expect(value);
            let address = address.parse().expect("an address");
            assert_eq!(access.admits(address), admitted, "{name}={value} {address}");
        }
    }

    #[test]
    fn what_is_no_block_is_named() {
        for item in [
            "",
            "10.0.0.0/8",
            "ip:",
            "ip:10.0.0.0/33",
            "ip:x",
            "id:1.1.1.1",
        ] {
            let why = format!("allow={item}: \"{item}\" is none of ip:ADDRESS and ip:ADDRESS/BITS");
            assert_eq!(Access::parse("allow", item), Err(why));
        }
    }
}
