//! One rank of the test suite, started by somebody else's launcher: `scripts/mpi_test.sh` and
//! `scripts/torchrun_test.sh` run it.
//!
//!     suite KIND CASE FOLDER     KIND: mpi, torchrun    CASE: collectives, abort, late, busy, speed
//!
//! A rank that has come as far as its case asks for says so by a file of its own, FOLDER/CASE-RANK, which holds its
//! process's number: lines of several ranks may run into each other on their way through the launcher.

#[path = "../tests/common/mod.rs"]
mod common;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ft_dist::{Communicator, JoinOptions, Rendezvous, Tcp};

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (kind, case, folder) = (next(), next(), PathBuf::from(next()));
    let timeout = Duration::from_secs(if case == "late" { 1 } else { 30 });
    let ranks = join(&kind, timeout);
    let notes = Notes { folder, case, rank: ranks.rank() };
    match notes.case.as_str() {
        "collectives" => {
            common::collectives(&*ranks);
            notes.write();
        }
        "abort" => {
            common::aborts(vec![ranks.clone()]);
            notes.heard(ranks.world());
        }
        "late" => {
            common::times_out(vec![ranks.clone()]);
            notes.heard(ranks.world());
        }
        "busy" => {
            let error = common::busy(&*ranks, || notes.write());
            eprintln!("error: {error}");
            exit(1);
        }
        "speed" => common::speed(&*ranks),
        other => panic!("no case '{other}'"),
    }
}

fn join(kind: &str, timeout: Duration) -> Arc<dyn Communicator> {
    match kind {
        #[cfg(feature = "mpi")]
        "mpi" => ft_dist::Mpi::from_environment(timeout).unwrap(),
        "torchrun" => {
            let word = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
            let number = |name: &str| word(name).parse::<usize>().unwrap();
            let store = Rendezvous::TcpStore { host: word("MASTER_ADDR"), port: number("MASTER_PORT") as u16 };
            let label = word("TORCHELASTIC_RESTART_COUNT");
            Tcp::join(&store, number("RANK"), number("WORLD_SIZE"), &JoinOptions::new(&label, timeout)).unwrap()
        }
        other => panic!("no kind '{other}' in this build"),
    }
}

/// Where this rank says how far it has come.
struct Notes {
    folder: PathBuf,
    case: String,
    rank: usize,
}

impl Notes {
    fn path(&self, rank: usize) -> PathBuf {
        self.folder.join(format!("{}-{rank}", self.case))
    }

    /// The file is whole as soon as it is there.
    fn write(&self) {
        let made = self.folder.join(format!(".{}", self.rank));
        fs::write(&made, std::process::id().to_string()).unwrap();
        fs::rename(&made, self.path(self.rank)).unwrap();
    }

    /// The launcher may end the others as soon as one has ended, so a rank fails when all have said that they heard
    /// it; or after half a minute.
    fn heard(&self, world: usize) -> ! {
        self.write();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) && !(0..world).all(|rank| self.path(rank).exists()) {
            thread::sleep(Duration::from_millis(20));
        }
        exit(3);
    }
}
