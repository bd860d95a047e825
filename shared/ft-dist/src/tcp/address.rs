//! Where ranks listen, and how they reach each other there.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::wire::{left, readable};

/// An address that the reader replaces by the one that it reached rank 0 at.
pub const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Connects to the first of the host's addresses that answers.
pub fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?.min(Duration::from_secs(5))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The next connection; `TimedOut` where none comes before the deadline.
pub fn accept(listener: &TcpListener, deadline: Instant) -> io::Result<TcpStream> {
    loop {
        if !readable(listener, deadline)? {
            return Err(ErrorKind::TimedOut.into());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            // Gone again before it was taken.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(e) => return Err(e),
        }
    }
}

/// A listener whose `accept` does not wait.
pub fn listen(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((ip, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Where to listen so that whoever knows this machine as `host` can connect: only a plain loopback name is kept
/// to this machine, for a machine's own name is often a loopback address at home.
pub fn bind_ip(host: &str) -> IpAddr {
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => ip,
        Ok(ip) => any_ip(ip),
        Err(_) => match (host, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) {
            Some(address) if host == "localhost" => address.ip(),
            Some(address) => any_ip(address.ip()),
            None => any_ip(UNKNOWN),
        },
    }
}

/// All of this machine's addresses of that kind.
pub fn any_ip(like: IpAddr) -> IpAddr {
    if like.to_canonical().is_ipv4() { UNKNOWN } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}
