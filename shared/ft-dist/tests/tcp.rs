//! Ranks that speak over TCP: as threads with sockets of their own, and as processes.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Ranks, aborts, busy, collectives, disagrees, leaves, leaves_in_peace, misuse, on_all, speed as speed_of, times_out,
};
use ft_dist::{JoinOptions, Rendezvous, Tcp};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn at(port: u16) -> Rendezvous {
    Rendezvous::Master { host: "127.0.0.1".into(), port }
}

fn joined(world: usize, rendezvous: &Rendezvous, timeout: Duration) -> Ranks {
    thread::scope(|scope| {
        let join =
            |rank| scope.spawn(move || Tcp::join(rendezvous, rank, world, &JoinOptions::new("test", timeout)).unwrap());
        // The last rank is the first to come.
        let mut threads: Vec<_> = (0..world).rev().map(join).collect();
        threads.reverse();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn ranks(world: usize) -> Ranks {
    joined(world, &at(free_port()), HALF_A_MINUTE)
}

#[test]
fn sockets_do_all_collectives() {
    for world in [1, 2, 3, 4, 8] {
        on_all(ranks(world), |ranks| collectives(&*ranks));
    }
}

#[test]
fn a_name_is_as_good_as_an_address() {
    let rendezvous = Rendezvous::Master { host: "localhost".into(), port: free_port() };
    on_all(joined(3, &rendezvous, HALF_A_MINUTE), |ranks| ranks.barrier().unwrap());
}

#[test]
fn an_abort_is_heard_by_all() {
    aborts(ranks(2));
    aborts(ranks(4));
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    times_out(joined(3, &at(free_port()), Duration::from_secs(1)));
}

#[test]
fn a_rank_that_left_is_named() {
    leaves(ranks(3));
    leaves_in_peace(ranks(4));
}

#[test]
fn calls_that_do_not_fit_are_named() {
    disagrees(&|| ranks(2));
    disagrees(&|| ranks(4));
    misuse(ranks(3));
}

/// What rank 1 hears that comes with these settings to a rank 0 of two, in run `test`.
fn refused(rank: usize, world: usize, label: &str) -> String {
    let port = free_port();
    thread::scope(|scope| {
        let host = scope
            .spawn(move || Tcp::join(&at(port), 0, 2, &JoinOptions::new("test", Duration::from_secs(2))).unwrap_err());
        let error = Tcp::join(&at(port), rank, world, &JoinOptions::new(label, HALF_A_MINUTE)).unwrap_err().to_string();
        // Rank 0 says whom it refused.
        let waited = host.join().unwrap().to_string();
        assert!(waited.starts_with("rank 0 waited 2s for ranks that did not come: 1; rank "), "{waited}");
        let prefix = format!("rank 0 at 127.0.0.1:{port} refused rank {rank}: ");
        error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_string()
    })
}

#[test]
fn strangers_are_refused_with_words() {
    assert_eq!(refused(1, 4, "test"), "rank 0 was started as one of 2 ranks, rank 1 as one of 4");
    assert_eq!(refused(2, 3, "other"), "rank 0 belongs to run 'test', rank 2 to 'other'");
    let error = Tcp::join(&at(1), 2, 2, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap_err().to_string();
    assert_eq!(error, "rank 2 of 2 ranks: a rank is below their number");
}

#[test]
fn two_processes_of_one_rank_are_found_out() {
    let port = free_port();
    thread::scope(|scope| {
        let join = |rank| scope.spawn(move || Tcp::join(&at(port), rank, 3, &JoinOptions::new("test", HALF_A_MINUTE)));
        let host = join(0);
        let twins = [join(1), join(1)];
        // The last rank comes when one of them has been refused, so both come before it.
        let start = Instant::now();
        while !twins.iter().any(thread::ScopedJoinHandle::is_finished) && start.elapsed() < HALF_A_MINUTE {
            thread::sleep(Duration::from_millis(10));
        }
        let last = join(2);
        let results = twins.map(|twin| twin.join().unwrap());
        let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].to_string().ends_with("rank 1 is here already: two processes were started with this rank"));
        host.join().unwrap().unwrap();
        last.join().unwrap().unwrap();
    });
}

#[test]
fn who_is_no_rank_does_no_harm() {
    let port = free_port();
    thread::scope(|scope| {
        let host = scope.spawn(move || Tcp::join(&at(port), 0, 2, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap());
        let mut stranger = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        stranger.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mute = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let guest = Tcp::join(&at(port), 1, 2, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap();
        let other = scope.spawn(move || host.join().unwrap().barrier().unwrap());
        guest.barrier().unwrap();
        other.join().unwrap();
        drop(mute);
    });
}

#[test]
fn nobody_at_the_address_is_said() {
    let port = free_port();
    let error =
        Tcp::join(&at(port), 1, 2, &JoinOptions::new("test", Duration::from_millis(300))).unwrap_err().to_string();
    assert!(error.starts_with(&format!("rank 1 did not reach rank 0 at 127.0.0.1:{port} within 300ms: ")), "{error}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Tcp::join(&at(port), 0, 2, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("rank 0 cannot listen on 127.0.0.1:{port}: ")), "{error}");
    // Something else listens there.
    thread::spawn(move || {
        let (mut stream, _) = taken.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP ready\r\n").unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    let error = Tcp::join(&at(port), 1, 2, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap_err().to_string();
    assert!(error.ends_with("is no rank 0 of this program: choose another master port"), "{error}");
}

/// A store that speaks torch's protocol as far as ranks need it.
fn store() -> u16 {
    use std::collections::HashMap;
    use std::sync::{Condvar, Mutex};
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = Arc::new((Mutex::new(HashMap::<Vec<u8>, Vec<u8>>::new()), Condvar::new()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (keys, mut stream) = (keys.clone(), stream.unwrap());
            thread::spawn(move || {
                let mut command = [0];
                let mut number = [0; 4];
                stream.read_exact(&mut command).unwrap();
                stream.read_exact(&mut number).unwrap();
                assert_eq!((command[0], u32::from_le_bytes(number)), (0, 0x3C85_F7CE));
                while stream.read_exact(&mut command).is_ok() {
                    match command[0] {
                        1 => {
                            let (key, value) = (bytes(&mut stream), bytes(&mut stream));
                            keys.0.lock().unwrap().insert(key, value);
                            keys.1.notify_all();
                        }
                        3 => {
                            let key = bytes(&mut stream);
                            let value = keys.0.lock().unwrap()[&key].clone();
                            stream.write_all(&(value.len() as u64).to_le_bytes()).unwrap();
                            stream.write_all(&value).unwrap();
                        }
                        6 => {
                            assert_eq!(length(&mut stream), 1);
                            let key = bytes(&mut stream);
                            drop(keys.1.wait_while(keys.0.lock().unwrap(), |keys| !keys.contains_key(&key)).unwrap());
                            stream.write_all(&[0]).unwrap();
                        }
                        other => panic!("command {other}"),
                    }
                }
            });
        }
    });
    port
}

fn length(stream: &mut TcpStream) -> u64 {
    let mut len = [0; 8];
    stream.read_exact(&mut len).unwrap();
    u64::from_le_bytes(len)
}

fn bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; length(stream) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn ranks_meet_by_way_of_a_store() {
    let rendezvous = Rendezvous::TcpStore { host: "127.0.0.1".into(), port: store() };
    on_all(joined(3, &rendezvous, HALF_A_MINUTE), |ranks| collectives(&*ranks));
    // Nobody writes the key of a run that does not exist.
    let error = Tcp::join(&rendezvous, 1, 2, &JoinOptions::new("another run", Duration::from_millis(300)))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("rank 0 did not write /ft-dist/another run/rank-0 to torchrun's store at "), "{error}");
}

#[test]
fn a_store_that_is_none_is_said() {
    let port = free_port();
    let join = |port| {
        let rendezvous = Rendezvous::TcpStore { host: "127.0.0.1".into(), port };
        Tcp::join(&rendezvous, 1, 2, &JoinOptions::new("test", Duration::from_millis(300))).unwrap_err().to_string()
    };
    let error = join(port);
    assert!(error.starts_with(&format!("torchrun's store at 127.0.0.1:{port} cannot be reached: ")), "{error}");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut stream = other.accept().unwrap().0;
        stream.write_all(b"hello").unwrap();
        stream
    });
    let error = join(port);
    let expected = format!("what listens at 127.0.0.1:{port} is no TCPStore of torchrun: it answered 104 to a wait");
    assert_eq!(error, expected);
    drop(server.join().unwrap());
}

/// Not a test by itself: a rank as a process, started by the tests below.
#[test]
fn a_rank_of_its_own() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<usize>().ok());
    let (Some(rank), Some(world), Some(port)) =
        (number("FT_TEST_RANK"), number("FT_TEST_WORLD"), number("FT_TEST_PORT"))
    else {
        return;
    };
    let arrived = |rank, here| eprintln!("rank {rank} has come, {here} are here");
    let options = JoinOptions { arrived: &arrived, ..JoinOptions::new("test", HALF_A_MINUTE) };
    let ranks = match Tcp::join(&at(port as u16), rank, world, &options) {
        Ok(ranks) => ranks,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    };
    collectives(&*ranks);
    if number("FT_TEST_LOOP").is_none() {
        return;
    }
    let error = busy(&*ranks, || eprintln!("rank {rank} is ready"));
    eprintln!("error: {error}");
    std::process::exit(1);
}

fn processes(world: usize, forever: bool) -> Vec<Process> {
    some_of(world, world, forever)
}

/// The first `started` of `world` ranks.
fn some_of(started: usize, world: usize, forever: bool) -> Vec<Process> {
    let port = free_port();
    let start = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_rank_of_its_own", "--nocapture"]).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("FT_TEST_RANK", rank.to_string()).env("FT_TEST_WORLD", world.to_string());
        command.env("FT_TEST_PORT", port.to_string());
        if forever {
            command.env("FT_TEST_LOOP", "1");
        }
        Process(command.spawn().unwrap())
    };
    (0..started).map(start).collect()
}

/// A process that does not outlive the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads until a line ends so.
fn read_until(words: &mut impl BufRead, end: &str) {
    let mut line = String::new();
    while !line.ends_with(end) {
        line.clear();
        assert!(words.read_line(&mut line).unwrap() > 0, "a rank ended early");
    }
}

#[test]
fn a_rank_that_is_gone_before_all_have_met_is_named_at_once() {
    for victim in [0, 1, 2] {
        // The last one does not come.
        let mut ranks = some_of(3, 4, false);
        let mut words: Vec<_> = ranks.iter_mut().map(|rank| BufReader::new(rank.0.stderr.take().unwrap())).collect();
        read_until(&mut words[0], "3 are here\n");
        ranks[victim].0.kill().unwrap();
        let start = Instant::now();
        for (rank, words) in (0..3).zip(&mut words).filter(|(rank, _)| *rank != victim) {
            let mut said = String::new();
            words.read_to_string(&mut said).unwrap();
            let expected = format!("error: rank {victim} failed: its connection closed while the ranks met");
            assert_eq!(said.trim(), expected, "rank {rank}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    }
}

/// Sends a message of the meeting, or reads one, as a rank does.
fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(b"ft-dist1").unwrap();
    stream.write_all(&(text.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
}

fn listen(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    let mut text = vec![0; u32::from_le_bytes(head[8..].try_into().unwrap()) as usize];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_rank_that_is_gone_before_all_are_connected_is_named_at_once() {
    for victim in [1, 2] {
        let port = free_port();
        thread::scope(|scope| {
            let join = |rank| Tcp::join(&at(port), rank, 3, &JoinOptions::new("test", HALF_A_MINUTE)).unwrap_err();
            let others = [0, 3 - victim].map(|rank| scope.spawn(move || join(rank)));
            let mut stream = loop {
                match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    Ok(stream) => break stream,
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            };
            // It listens, so that others can begin to connect to it, and lets nobody in.
            let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let place = door.local_addr().unwrap();
            say(
                &mut stream,
                &format!(r#"{{"version":2,"rank":{victim},"world":3,"label":"test","listens":"{place}"}}"#),
            );
            assert_eq!(listen(&mut stream), r#""Heard""#);
            assert!(listen(&mut stream).starts_with(r#"{"Welcome":"#));
            thread::sleep(Duration::from_millis(100));
            let start = Instant::now();
            drop((stream, door));
            for other in others {
                let said = other.join().unwrap().to_string();
                assert_eq!(said, format!("rank {victim} failed: its connection closed while the ranks met"));
            }
            assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
        });
    }
}

#[test]
fn processes_do_all_collectives() {
    for mut rank in processes(3, false) {
        let mut said = String::new();
        rank.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(rank.0.wait().unwrap().success(), "{said}");
    }
}

#[test]
fn a_killed_rank_is_named_by_all_others_at_once() {
    let mut children = processes(4, true);
    let mut words: Vec<_> = children.iter_mut().map(|child| BufReader::new(child.0.stderr.take().unwrap())).collect();
    words.iter_mut().for_each(|words| read_until(words, "is ready\n"));
    thread::sleep(Duration::from_millis(200));
    // The standard library's kill is SIGKILL: the rank has no time for a word.
    children[2].0.kill().unwrap();
    let start = Instant::now();
    for (rank, (child, words)) in children.iter_mut().zip(&mut words).enumerate() {
        let status = child.0.wait().unwrap();
        assert!(!status.success());
        if rank != 2 {
            let mut said = String::new();
            words.read_to_string(&mut said).unwrap();
            assert_eq!(said.trim(), "error: rank 2 failed: its connection closed", "rank {rank}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}

/// `cargo test --release --workspace --test tcp -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    for world in [2, 4] {
        on_all(ranks(world), |ranks| speed_of(&*ranks));
    }
}
