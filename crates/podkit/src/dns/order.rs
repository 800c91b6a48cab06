//! Which address to try first: the part of RFC 6724 that matters in a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses with a route first, then IPv6 before IPv4, each family in the order of the answer, the families taking
/// turns (RFC 8305, section 4), so that one dead family costs one step.
pub(super) fn sorted(addrs: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut unique: Vec<IpAddr> = Vec::with_capacity(addrs.len());
    for ip in addrs {
        if !unique.contains(&ip) {
            unique.push(ip);
        }
    }
    if unique.len() < 2 {
        return unique;
    }
    let (reachable, unreachable): (Vec<IpAddr>, Vec<IpAddr>) =
        unique.into_iter().partition(|ip| has_route(*ip));
    let mut list = interleaved(reachable);
    list.extend(interleaved(unreachable));
    list
}

fn interleaved(addrs: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addrs.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut list = Vec::new();
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return list,
            (six, four) => list.extend(six.into_iter().chain(four)),
        }
    }
}

/// Connecting a UDP socket sends nothing; it only asks the kernel for a route.
fn has_route(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| socket.connect(SocketAddr::new(ip, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_nothing_is_lost() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let list = interleaved(vec![ip("10.0.0.1"), ip("10.0.0.2"), ip("fd00::1"), ip("10.0.0.3")]);
        assert_eq!(list, [ip("fd00::1"), ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")]);
        let list = sorted(vec![ip("127.0.0.1"), ip("127.0.0.2"), ip("127.0.0.1")]);
        assert_eq!(list, [ip("127.0.0.1"), ip("127.0.0.2")]);
    }
}
