//! The way to rank 0, and rank 0's own.

use std::time::{Duration, Instant};

use super::address::{bind_ip, listen};
use super::guest::Guest;
use super::meet::{Host, Meeting};
use super::rendezvous::{JoinOptions, Rendezvous};
use super::store::Store;
use crate::error::{Error, Result};

/// How long rank 0 may be refused at an address that it has given itself: a queue of connections may be full.
const GIVEN: Duration = Duration::from_secs(3);

/// Meets the other ranks by way of rank 0.
pub fn meet(rendezvous: &Rendezvous, rank: usize, world: usize, options: &JoinOptions<'_>) -> Result<Meeting> {
    let deadline = Instant::now() + options.rendezvous_timeout;
    let host_of = Host { world, options, deadline };
    let guest = Guest { rank, world, options, deadline, patience: deadline };
    match rendezvous {
        Rendezvous::Master { host, port } if rank > 0 => guest.meet(host, *port),
        Rendezvous::Master { host, port } => {
            let listener = listen(bind_ip(host), *port).map_err(|e| {
                Error::Setup(format!("rank 0 cannot listen on {host}:{port}: {e}; choose another master port"))
            })?;
            host_of.meet(&listener, host)
        }
        Rendezvous::TcpStore { host, port } => {
            let key = format!("/ft-dist/{}/rank-0", options.label);
            let store = Store::connect(host, *port, deadline, options.called_off)?;
            if rank == 0 {
                let ip = store.local_ip()?;
                let listener = listen(bind_ip(host), 0).map_err(Error::io("rank 0 cannot listen"))?;
                let port = listener.local_addr().map_err(Error::io("rank 0 cannot listen"))?.port();
                // Another machine cannot use a loopback address: it knows this one by the store's.
                let ip = if ip.is_loopback() { String::new() } else { ip.to_string() };
                store.set(&key, &format!("{ip} {port}"), deadline)?;
                return host_of.meet(&listener, host);
            }
            let told = store.get(&key, deadline)?;
            let place = told.split_once(' ').and_then(|(ip, port)| Some((ip, port.parse::<u16>().ok()?)));
            let Some((ip, port)) = place else {
                return Err(Error::Setup(format!("the store's key {key} should hold an address, but is '{told}'")));
            };
            let guest = Guest { patience: Instant::now() + GIVEN, ..guest };
            guest.meet(if ip.is_empty() { host } else { ip }, port)
        }
    }
}
