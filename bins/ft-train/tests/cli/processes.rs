//! Ranks that are processes: the adapter of one, and what happens when one of them is gone.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{Scratch, stderr, with_base};

const LINE: &str = "--lora-dropout 0.2 --max-steps 5 --logging-steps 1";

/// One rank of `world`, as torchrun or Kubeflow would start it.
fn rank(scratch: &Scratch, line: &str, rank: usize, world: usize, port: u16) -> Command {
    let mut command = scratch.command(&with_base(line));
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", world.to_string()).env("LOCAL_RANK", rank.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn start(scratch: &Scratch, line: &str, world: usize) -> Vec<Child> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (0..world).map(|r| rank(scratch, line, r, world, port).spawn().unwrap()).collect()
}

fn wait(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
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
        for (r, output) in wait(start(&scratch, &line, world)).iter().enumerate() {
            let told = stderr(output);
            assert!(output.status.success(), "rank {r}: {told}");
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
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let line = format!("--output-dir out {LINE} {}", batch(2));
        let mut other = rank(&scratch, &line, 1, 2, port);
        other.args(own.split(' '));
        let children = vec![rank(&scratch, &line, 0, 2, port).spawn().unwrap(), other.spawn().unwrap()];
        for output in wait(children) {
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{told}");
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
    let told = |set: &[(&str, &str)]| {
        let mut command = scratch.command(&with_base("--output-dir out"));
        let output = command.envs(set.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    assert!(told(&[("RANK", "0")]).contains("has no WORLD_SIZE"));
    assert!(told(&[("RANK", "0"), ("WORLD_SIZE", "2")]).contains("MASTER_ADDR is not set"));
    let mut command = scratch.command(&with_base("--output-dir out --ddp-timeout 1"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    command.envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &free)]);
    let began = Instant::now();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("for ranks that did not come: 1"), "{}", stderr(&output));
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

const FAULTS: usize = 20;
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

#[test]
fn a_rank_that_is_killed_ends_all_within_seconds_and_loses_nothing() {
    let scratch = Scratch::with_rows();
    let expected = scratch.trained("one", &format!("{FAULTY} {}", batch(1)));
    let mut random = Random::new();
    let (mut killed, mut slowest) = (0, Duration::ZERO);
    for i in 0..FAULTS {
        let (world, victim) = if i % 2 == 0 { (2, random.below(2)) } else { (3, random.below(3)) };
        let sharding = ["none", "zero1", "zero2", "zero3"][i % 4];
        let out = format!("out-{i}");
        let line = format!("--output-dir {out} {FAULTY} {} --sharding {sharding}", batch(world));
        let mut children = start(&scratch, &line, world);
        std::thread::sleep(Duration::from_millis(20 + random.below(600)));
        children[victim as usize].kill().unwrap();
        let began = Instant::now();
        let outputs = wait(children);
        if outputs.iter().all(|output| output.status.success()) {
            continue;
        }
        killed += 1;
        slowest = slowest.max(began.elapsed());
        for (r, output) in outputs.iter().enumerate().filter(|(r, _)| *r != victim as usize) {
            let told = stderr(output);
            // A rank that had done all may have left before; none may wait.
            assert!(
                !output.status.success() || scratch.path(&format!("{out}/train_results.json")).exists(),
                "rank {r}: {told}"
            );
            assert!(
                output.status.success() || told.contains(&format!("rank {victim}")),
                "the first cause and its rank: {told}"
            );
        }
        goes_on(&scratch, &out, world, &expected);
        std::fs::remove_dir_all(scratch.path(&out)).unwrap();
    }
    println!("{killed} of {FAULTS} runs lost a rank by kill -9; the others had left after {slowest:?} at the latest");
    assert!(slowest < Duration::from_secs(10) && killed > FAULTS / 2, "{killed}, {slowest:?}");
}

#[test]
fn a_rank_that_fails_as_a_thread_ends_all_and_loses_nothing() {
    let scratch = Scratch::with_rows();
    let expected = scratch.trained("one", &format!("{FAULTY} {}", batch(1)));
    let mut random = Random::new();
    for i in 0..FAULTS {
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
    println!("{FAULTS} runs lost a rank by a failure");
}
