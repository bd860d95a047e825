//! Ranks that are processes: the adapter of one, and what happens when one of them is gone.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::random::{Random, kills};
use crate::support::{Child, Scratch, lines, names, stderr, with_base};

const LINE: &str = "--lora-dropout 0.2 --max-steps 5 --logging-steps 1";

/// One rank of `world`, as torchrun or Kubeflow would start it.
fn rank(scratch: &Scratch, line: &str, rank: usize, world: usize, port: u16) -> Command {
    let mut command = scratch.command(&with_base(line));
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", world.to_string()).env("LOCAL_RANK", rank.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.env_remove("LOCAL_WORLD_SIZE").env_remove("OMP_NUM_THREADS");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A rank as a process, and what it has said so far.
struct Rank {
    process: Child,
    told: Arc<Mutex<String>>,
    listener: JoinHandle<()>,
}

impl Rank {
    fn start(command: &mut Command) -> Self {
        let mut process = Child::of(command);
        let (told, words) = (Arc::<Mutex<String>>::default(), process.stderr.take().unwrap());
        let all = Arc::clone(&told);
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(words).lines() {
                *all.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        Self { process, told, listener }
    }

    fn has_said(&self, words: &str) -> bool {
        self.told.lock().unwrap().contains(words)
    }

    /// How it ended, and all that it said.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        self.listener.join().unwrap();
        (status, std::mem::take(&mut self.told.lock().unwrap()))
    }
}

fn start(scratch: &Scratch, line: &str, world: usize) -> Vec<Rank> {
    let port = free_port();
    (0..world).map(|r| Rank::start(&mut rank(scratch, line, r, world, port))).collect()
}

fn batch(world: usize) -> String {
    format!("--per-device-train-batch-size {}", 12 / world)
}

#[test]
fn processes_give_the_adapter_of_one() {
    let scratch = Scratch::with_rows();
    let one = scratch.trained("one", &format!("{LINE} {}", batch(1)));
    for (world, sharding) in [(2, "none"), (3, "zero3"), (4, "zero2")] {
        let out = format!("{sharding}-{world}");
        let line = format!("--output-dir {out} {LINE} {} --sharding {sharding}", batch(world));
        for (r, ended) in start(&scratch, &line, world).into_iter().map(Rank::end).enumerate() {
            let (status, told) = ended;
            assert!(status.success(), "rank {r}: {told}");
            assert!(r == 0 || told.is_empty(), "rank {r} says nothing: {told}");
        }
        assert!(scratch.adapter(&out) == one, "{out}");
        let record = scratch.json(&format!("{out}/run.json"));
        assert_eq!((record["world_size"].as_u64(), record["backend"].as_str()), (Some(world as u64), Some("tcp")));
    }
}

#[test]
fn ranks_that_disagree_are_refused_at_the_start() {
    let scratch = Scratch::with_rows();
    scratch.tokens("other.parquet", &crate::support::rows(17));
    for (own, words) in
        [("--seed 7", "seed"), ("--learning-rate 0.5", "learning_rate"), ("--train other.parquet", "training rows")]
    {
        let port = free_port();
        let line = format!("--output-dir out {LINE} {}", batch(2));
        let mut other = rank(&scratch, &line, 1, 2, port);
        other.args(own.split(' '));
        let ranks = [Rank::start(&mut rank(&scratch, &line, 0, 2, port)), Rank::start(&mut other)];
        for (status, told) in ranks.map(Rank::end) {
            assert_eq!(status.code(), Some(1), "{told}");
            assert!(
                told.contains("the ranks disagree on") && told.contains(words) && told.contains("rank 1 has"),
                "{told}"
            );
        }
        assert!(!scratch.path("out/adapter_model.safetensors").exists());
        let _ = std::fs::remove_dir_all(scratch.path("out"));
    }
}

#[test]
fn what_the_environment_lacks_is_named() {
    let scratch = Scratch::with_rows();
    let told = |set: &[(&str, &str)], line: &str| {
        let mut command = scratch.command(&with_base(&format!("--output-dir out {line}")));
        let began = Instant::now();
        let output = command.envs(set.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(began.elapsed() < Duration::from_secs(20), "{set:?}");
        stderr(&output)
    };
    assert!(told(&[("RANK", "0")], "").contains("has no WORLD_SIZE"));
    assert!(told(&[("RANK", "0"), ("WORLD_SIZE", "2")], "").contains("MASTER_ADDR is not set"));
    let port = free_port().to_string();
    let two = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port.as_str())];
    for timeout in ["--rdzv-timeout 1", "--ddp-timeout 1"] {
        let told = told(&two, timeout);
        assert!(told.contains("rank 0 waited 1s for ranks that did not come: 1"), "{told}");
    }
}

#[test]
fn an_interrupt_ends_a_rank_that_waits_for_others() {
    let scratch = Scratch::with_rows();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    // Rank 0 waits for its guest, rank 1 looks for rank 0, or speaks to somebody who never answers.
    for (who, port) in [(0, free_port()), (1, free_port()), (1, silent)] {
        let waiting = Rank::start(&mut rank(&scratch, "--output-dir out", who, 2, port));
        std::thread::sleep(Duration::from_millis(1500));
        let began = Instant::now();
        let pid = waiting.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let (status, told) = waiting.end();
        assert_eq!(status.code(), Some(130), "rank {who}: {told}");
        assert!(told.contains("interrupted"), "rank {who}: {told}");
        assert!(began.elapsed() < Duration::from_secs(5), "rank {who}: {told}");
        assert!(!scratch.path("out/adapter_model.safetensors").exists());
    }
}

#[test]
fn absurd_numbers_of_the_environment_are_named_before_a_connection() {
    let scratch = Scratch::with_rows();
    for (name, value, words) in [
        ("WORLD_SIZE", "4294967296", "WORLD_SIZE is '4294967296', expected a number from 1 to 10000"),
        ("WORLD_SIZE", "18446744073709551616", "WORLD_SIZE is '18446744073709551616', expected a number from 1"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0', expected a number from 1"),
        ("WORLD_SIZE", "-2", "WORLD_SIZE is '-2', expected a number from 1"),
        ("RANK", "2", "RANK is 2, but WORLD_SIZE is 2"),
        ("RANK", "99999999999999999999", "RANK is '99999999999999999999', expected a number from 0"),
        ("LOCAL_RANK", "7", "LOCAL_RANK is 7, but WORLD_SIZE is 2"),
        ("LOCAL_RANK", "first", "LOCAL_RANK is 'first', expected a number from 0"),
        ("LOCAL_WORLD_SIZE", "3", "LOCAL_WORLD_SIZE is 3, but WORLD_SIZE is 2"),
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE is '0', expected a number from 1"),
        ("MASTER_PORT", "99999", "MASTER_PORT is '99999', expected a number from 1 to 65535"),
        ("MASTER_PORT", "0", "MASTER_PORT is '0', expected a number from 1 to 65535"),
        ("TORCHELASTIC_RESTART_COUNT", "-1", "TORCHELASTIC_RESTART_COUNT is '-1', expected a number from 0"),
        ("OMP_NUM_THREADS", "0", "OMP_NUM_THREADS is '0', expected a number from 1"),
        ("OMP_NUM_THREADS", "many", "OMP_NUM_THREADS is 'many', expected a number from 1"),
    ] {
        let mut command = rank(&scratch, "--output-dir out --rdzv-timeout 20", 0, 2, free_port());
        let began = Instant::now();
        let (status, told) = Rank::start(command.env(name, value)).end();
        assert_eq!(status.code(), Some(1), "{name}={value}: {told}");
        assert!(told.contains(words), "{name}={value}: {told}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name}={value}");
    }
    for number in ["0", "-1", "1025", "4294967296", "99999999999999999999", "many"] {
        let told = scratch.failure(&with_base(&format!("--output-dir out --nproc-per-node={number}")), 2);
        assert!(told.contains("--nproc-per-node") && told.contains("a number of ranks from 1 to 1024"), "{told}");
    }
}

#[test]
fn ranks_of_one_machine_share_its_processors_and_memory() {
    let scratch = Scratch::with_rows();
    let cores = std::thread::available_parallelism().unwrap().get();
    // The threads of rank 0, and its megabytes for activations.
    let found = |out: &str, line: &str, set: &[(&str, &str)]| {
        let port = free_port();
        let line = format!("--output-dir {out} --max-steps 1 --logging-steps 1 {} {line}", batch(2));
        let of = |r| Rank::start(rank(&scratch, &line, r, 2, port).envs(set.iter().copied()));
        let [told, _] = [of(0), of(1)].map(|rank| {
            let (status, told) = rank.end();
            assert!(status.success(), "{told}");
            told
        });
        let megabytes = told.lines().find_map(|line| {
            let line = line.strip_suffix(" computed twice")?;
            line.split_once(" MB for activations")?.0.rsplit(' ').next()?.parse::<u64>().ok()
        });
        (scratch.json(&format!("{out}/run.json"))["threads"].as_u64().unwrap() as usize, megabytes.expect(&told))
    };
    let alone = found("alone", "", &[]);
    let shared = found("shared", "", &[("LOCAL_WORLD_SIZE", "2")]);
    assert_eq!((alone.0, shared.0), (cores, (cores / 2).max(1)));
    // Half of what is free, which other programs change meanwhile.
    assert!(shared.1 < alone.1 * 3 / 4, "{shared:?} of {alone:?}");
    let told = found("told", "--activation-memory 100MB", &[("LOCAL_WORLD_SIZE", "2"), ("OMP_NUM_THREADS", "3,1")]);
    assert_eq!(told, (3, 100), "OMP_NUM_THREADS, and a process's own budget");
    assert_eq!(found("flag", "--threads 2", &[("OMP_NUM_THREADS", "3")]).0, 2, "--threads wins");
}

const FAULTY: &str = "--lora-dropout 0.1 --max-steps 40 --save-steps 3 --save-total-limit 2 --logging-steps 1";

/// Whole checkpoints only, and a resume from the newest, if there is one, ends at the same bits.
fn goes_on(scratch: &Scratch, out: &str, world: usize, expected: &[u8]) {
    let there = std::fs::read_dir(scratch.path(out)).into_iter().flatten().filter_map(Result::ok);
    // What is being built beside its name is none yet, whole as it may be.
    let named = there.filter(|e| e.file_name().to_string_lossy().starts_with("checkpoint-"));
    let checkpoints = named.filter(|e| e.path().join("complete").exists()).count();
    let resume = if checkpoints > 0 { "--resume-from-checkpoint" } else { "--overwrite-output-dir" };
    let line = format!("{FAULTY} {} --nproc-per-node {world} --sharding zero1 {resume}", batch(world));
    assert!(scratch.trained(out, &line) == expected, "{out} after {checkpoints} checkpoints");
}

/// Where a rank is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Before it has connected to anybody.
    Started,
    /// Rank 0 knows of it, and waits for one more.
    Connected,
    /// The ranks have met.
    Met,
    /// So many steps are done.
    Step(u64),
    /// A checkpoint is on its way to its name.
    Checkpoint,
}

impl Point {
    fn of(i: usize, random: &mut Random) -> Self {
        match i % 5 {
            0 => Self::Started,
            1 => Self::Connected,
            2 => Self::Met,
            3 => Self::Step(1 + random.below(20)),
            _ => Self::Checkpoint,
        }
    }

    /// Waits until the ranks have come so far.
    fn await_in(self, scratch: &Scratch, out: &str, ranks: &[Rank]) {
        let metrics = scratch.path(&format!("{out}/metrics.jsonl"));
        let began = Instant::now();
        while !match self {
            Self::Started => true,
            Self::Connected => ranks[0].has_said("rank 1 has come"),
            Self::Met => ranks[0].has_said("ranks, started by"),
            Self::Step(steps) => lines(&metrics) >= steps,
            Self::Checkpoint => {
                names(&scratch.path(out)).iter().any(|name| name.contains("checkpoint-") && name.contains(".tmp-"))
            }
        } {
            let told: Vec<String> = ranks.iter().map(|rank| rank.told.lock().unwrap().clone()).collect();
            assert!(began.elapsed() < Duration::from_secs(120), "{self:?} does not come: {told:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// How long ranks wait for one that has never been heard of.
const UNHEARD: Duration = Duration::from_secs(3);

#[test]
fn a_rank_that_is_killed_ends_all_within_seconds_and_loses_nothing() {
    let scratch = Scratch::with_rows();
    let expected = scratch.trained("one", &format!("{FAULTY} {}", batch(1)));
    let (mut random, times) = (Random::seeded(), kills());
    let (mut killed, mut slowest, mut points) = (0, Duration::ZERO, HashSet::new());
    for i in 0..times {
        let (out, point) = (format!("out-{i}"), Point::of(i, &mut random));
        let sharding = ["none", "zero1", "zero2", "zero3"][i % 4];
        let world = if i % 2 == 0 && point != Point::Connected { 2 } else { 3 };
        // The last rank is kept back where the others must not meet.
        let started = if point == Point::Connected { 2 } else { world };
        let victim = random.below(started as u64) as usize;
        let wait = if point == Point::Started { UNHEARD.as_secs() } else { 120 };
        let line =
            format!("--output-dir {out} {FAULTY} {} --sharding {sharding} --rdzv-timeout {wait} -v", batch(world));
        let port = free_port();
        let start = |r| Rank::start(&mut rank(&scratch, &line, r, world, port));
        let mut ranks: Vec<Rank> = if point == Point::Started { vec![start(victim)] } else { Vec::new() };
        ranks.iter_mut().for_each(|rank| rank.process.kill().unwrap());
        let victim_at = if point == Point::Started { 0 } else { victim };
        ranks.extend((0..started).filter(|&r| point != Point::Started || r != victim).map(start));
        point.await_in(&scratch, &out, &ranks);
        ranks[victim_at].process.kill().unwrap();
        let began = Instant::now();
        ranks.remove(victim_at).end();
        let ended: Vec<_> = ranks.into_iter().map(Rank::end).collect();
        let took = began.elapsed();
        if ended.iter().all(|(status, _)| status.success()) {
            continue;
        }
        killed += 1;
        points.insert(std::mem::discriminant(&point));
        slowest = slowest.max(took);
        for (status, told) in &ended {
            // A rank that had done all may have left before; none may wait.
            assert!(
                !status.success() || scratch.path(&format!("{out}/train_results.json")).exists(),
                "{point:?}: {told}"
            );
            let cause = [format!("rank {victim}"), format!("did not come: {victim}")];
            let named = cause.iter().any(|cause| told.contains(cause));
            assert!(status.success() || named, "{point:?}: the first cause and its rank, {victim}: {told}");
        }
        assert!(took < Duration::from_secs(10), "{point:?}: the others took {took:?}");
        goes_on(&scratch, &out, world, &expected);
        std::fs::remove_dir_all(scratch.path(&out)).unwrap();
    }
    println!("{killed} of {times} runs lost a rank by kill -9; the others had left after {slowest:?} at the latest");
    assert!(killed > times / 2 && points.len() >= times.min(4), "{killed}, {}", points.len());
}

#[test]
fn a_rank_that_fails_as_a_thread_ends_all_and_loses_nothing() {
    let scratch = Scratch::with_rows();
    let expected = scratch.trained("one", &format!("{FAULTY} {}", batch(1)));
    let (mut random, times) = (Random::seeded(), kills());
    for i in 0..times {
        let world = [2, 3, 4][i % 3];
        let (victim, step) = (random.below(world as u64), 1 + random.below(40));
        let sharding = ["zero3", "zero2", "zero1", "none"][i % 4];
        let out = format!("out-{i}");
        let line = format!(
            "--output-dir {out} {FAULTY} {} --nproc-per-node {world} --sharding {sharding} --inject-failure {victim}:{step}",
            batch(world)
        );
        let began = Instant::now();
        let told = scratch.failure(&with_base(&line), 1);
        assert!(told.starts_with(&format!("rank {victim}: step {step}")), "{told}");
        assert!(began.elapsed() < Duration::from_secs(20));
        goes_on(&scratch, &out, world, &expected);
        std::fs::remove_dir_all(scratch.path(&out)).unwrap();
    }
    println!("{times} runs lost a rank by a failure");
}
