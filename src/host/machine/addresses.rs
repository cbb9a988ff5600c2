//! Which of the machine's addresses its tasks are reached at.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// The interface of that name, or, if that is empty, the one with the default route; the loopback
/// interface on a machine without a network.
pub(super) fn choose(wanted: &str) -> Option<Interface> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let six = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let routes = parse_routes(&table);
    let ours = local_addresses(&trie);
    let find = |name: &str| {
        let address = ipv4_of(name, &routes, &ours)
            .map(IpAddr::V4)
            .or_else(|| ipv6_of(name, &six).map(IpAddr::V6))?;
        Some(Interface {
            name: name.to_owned(),
            address,
        })
    };
    if !wanted.is_empty() {
        let found = find(wanted);
        if found.is_none() {
            tracing::error!(
                interface = wanted,
                "client.network_interface has no address"
            );
        }
        return found;
    }
    default_route(&routes)
        .and_then(|name| find(name).or_else(|| source_address(name)))
        .or_else(|| only_one(&routes).and_then(find))
        .or_else(|| find("lo"))
}

/// The address the kernel would send from; connecting a datagram socket sends nothing.
fn source_address(name: &str) -> Option<Interface> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(Interface {
        name: name.to_owned(),
        address: socket.local_addr().ok()?.ip(),
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    destination: u32,
    mask: u32,
    metric: u32,
}

/// Addresses there are hexadecimal, in the byte order of the network.
fn parse_routes(table: &str) -> Vec<Route> {
    let address = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some(Route {
                interface: (*fields.first()?).to_owned(),
                destination: address(fields.get(1)?)?,
                mask: address(fields.get(7)?)?,
                metric: fields.get(6)?.parse().ok()?,
            })
        })
        .collect()
}

fn default_route(routes: &[Route]) -> Option<&str> {
    routes
        .iter()
        .filter(|route| route.destination == 0 && route.mask == 0)
        .min_by_key(|route| route.metric)
        .map(|route| route.interface.as_str())
}

/// The interface all routes go through, bridges of container engines aside.
fn only_one(routes: &[Route]) -> Option<&str> {
    let mut names: Vec<&str> = routes
        .iter()
        .map(|route| route.interface.as_str())
        .filter(|name| !name.starts_with("docker") && !name.starts_with("br-"))
        .collect();
    names.dedup();
    if let [name] = names[..] {
        Some(name)
    } else {
        None
    }
}

/// This machine's own IPv4 addresses.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.ends_with("/32 host LOCAL")
            && let Some(address) = last
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn ipv4_of(name: &str, routes: &[Route], ours: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    if name == "lo" {
        return Some(Ipv4Addr::LOCALHOST);
    }
    let subnets = routes
        .iter()
        .filter(|route| route.interface == name && route.mask != 0);
    subnets
        .flat_map(|route| {
            ours.iter()
                .filter(|address| u32::from(**address) & route.mask == route.destination)
        })
        .next()
        .copied()
}

/// A global address in `/proc/net/if_inet6`: address, index, prefix, scope, flags, name.
fn ipv6_of(name: &str, table: &str) -> Option<Ipv6Addr> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let global = fields.get(3) == Some(&"00") && fields.get(5) == Some(&name);
        if !global {
            return None;
        }
        let bits = u128::from_str_radix(fields.first()?, 16).ok()?;
        Some(Ipv6Addr::from_bits(bits))
    })
}

/// What the network card says it manages; virtual ones say -1 or nothing.
pub(super) fn mbits(name: &str) -> Option<i64> {
    let speed = fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    speed.trim().parse().ok().filter(|speed| *speed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	010200C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	010200C0	0003	0	0	100	00000000	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
";

    const TRIE: &str = "\
Main:
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 172.17.0.0/16 2 0 2
           |-- 172.17.0.1
              /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
";

    #[test]
    fn the_default_route_with_the_lowest_metric_names_the_interface() {
        assert_eq!(default_route(&parse_routes(ROUTES)), Some("eth0"));
        assert_eq!(default_route(&[]), None);
    }

    #[test]
    fn an_interface_has_the_local_address_in_its_subnet() {
        let (routes, ours) = (parse_routes(ROUTES), local_addresses(TRIE));
        let table = [
            ("eth0", Some(Ipv4Addr::new(192, 0, 2, 2))),
            ("docker0", Some(Ipv4Addr::new(172, 17, 0, 1))),
            ("lo", Some(Ipv4Addr::LOCALHOST)),
            ("wlan0", None),
        ];
        for (name, address) in table {
            assert_eq!(ipv4_of(name, &routes, &ours), address, "{name}");
        }
    }

    #[test]
    fn a_machine_with_one_interface_uses_it_without_a_default_route() {
        let mut routes = parse_routes(ROUTES);
        routes.retain(|route| route.mask != 0);
        assert_eq!(only_one(&routes), Some("eth0"));
        assert_eq!(only_one(&parse_routes(ROUTES)), None);
    }

    #[test]
    fn global_ipv6_addresses_are_found_by_interface() {
        let table = "fe800000000000000000000000000001 02 40 20 80     eth0\n\
                     20010db8000000000000000000000005 02 40 00 80     eth0\n";
        assert_eq!(
            ipv6_of("eth0", table),
            "2001:db8::5".parse().ok(),
            "not the link-local one"
        );
        assert_eq!(ipv6_of("eth1", table), None);
    }
}
