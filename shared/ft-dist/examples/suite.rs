//! One rank of the test suite, started by somebody else's launcher: `scripts/mpi_test.sh` and
//! `scripts/torchrun_test.sh` run it.
//!
//!     suite KIND CASE     KIND: mpi, tcp, torchrun    CASE: collectives, abort, late, busy, speed

#[path = "../tests/common/mod.rs"]
mod common;

use std::env;
use std::fs;
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ft_dist::{Communicator, Rendezvous, Tcp};

fn main() {
    let mut arguments = env::args().skip(1);
    let (kind, case) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let timeout = Duration::from_secs(if case == "late" { 1 } else { 30 });
    let ranks = join(&kind, timeout);
    match case.as_str() {
        "collectives" => {
            common::collectives(&*ranks);
            println!("rank {} of {} over {}: all collectives are right", ranks.rank(), ranks.world(), ranks.kind());
        }
        "abort" => {
            common::aborts(vec![ranks.clone()]);
            heard(&*ranks, 1);
        }
        "late" => {
            common::times_out(vec![ranks.clone()]);
            // The late rank comes two seconds after the others have given up.
            heard(&*ranks, 3);
        }
        "busy" => busy(&*ranks),
        "speed" => speed(&*ranks),
        other => panic!("no case '{other}'"),
    }
}

fn join(kind: &str, timeout: Duration) -> Arc<dyn Communicator> {
    let word = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let number = |name: &str| word(name).parse::<usize>().unwrap();
    let place = || (word("MASTER_ADDR"), number("MASTER_PORT") as u16);
    let rendezvous = match kind {
        #[cfg(feature = "mpi")]
        "mpi" => return ft_dist::Mpi::from_environment(timeout).unwrap(),
        "tcp" => {
            let (host, port) = place();
            Rendezvous::Master { host, port }
        }
        "torchrun" => {
            let (host, port) = place();
            Rendezvous::TcpStore { host, port }
        }
        other => panic!("no kind '{other}' in this build"),
    };
    let label = env::var("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
    Tcp::join(&rendezvous, number("RANK"), number("WORLD_SIZE"), &label, timeout).unwrap()
}

/// The launcher may end the others as soon as one has ended, so every rank speaks, waits a little and fails.
fn heard(ranks: &dyn Communicator, seconds: u64) {
    println!("rank {} of {} heard it", ranks.rank(), ranks.world());
    thread::sleep(Duration::from_secs(seconds));
    exit(3);
}

/// In the middle of transfers until something happens. The folder `BUSY` gets a file that says which process this is.
fn busy(ranks: &dyn Communicator) {
    ranks.barrier().unwrap();
    let folder = env::var("BUSY").expect("BUSY names no folder");
    let (made, named) = (format!("{folder}/.rank-{}", ranks.rank()), format!("{folder}/rank-{}", ranks.rank()));
    fs::write(&made, std::process::id().to_string()).unwrap();
    fs::rename(&made, named).unwrap();
    let counts = vec![2_000_000; ranks.world()];
    let (mine, mut all) = (vec![1; 2_000_000], vec![0; 2_000_000 * ranks.world()]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Err(error) = ranks.all_gather(&mine, &counts, &mut all) {
            eprintln!("error: {error}");
            exit(1);
        }
    }
}

fn speed(ranks: &dyn Communicator) {
    const LEN: usize = 64 << 20;
    let world = ranks.world();
    let counts = vec![LEN; world];
    let (mine, mut all) = (vec![1; LEN], vec![0; world * LEN]);
    ranks.all_gather(&mine, &counts, &mut all).unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        ranks.all_gather(&mine, &counts, &mut all).unwrap();
    }
    let gather = (10 * (world - 1) * LEN) as f64 / start.elapsed().as_secs_f64() / 1e9;
    let start = Instant::now();
    for _ in 0..1000 {
        ranks.barrier().unwrap();
    }
    let barrier = start.elapsed().as_micros() / 1000;
    if ranks.rank() == 0 {
        println!("{world} ranks: all_gather {gather:.2} GB/s received a rank, barrier {barrier} us");
    }
}
