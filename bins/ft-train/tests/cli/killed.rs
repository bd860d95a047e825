//! `kill -9` at random moments: nothing is lost but the steps since the last checkpoint.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Scratch, names, rows, stderr, with_base};

const KILLS: usize = 50;
/// The ranks make a checkpoint of a megabyte, so that much of the time goes into writing it.
const LINE: &str = "--lora-dropout 0.1 --lora-r 32 --max-steps 60 --save-total-limit 2 --eval held.parquet --eval-steps 2 \
                    --load-best-model-at-end --save-best-k 2";

/// Marsaglia's xorshift64; no two runs of the test need the same moments.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// What the kills hit.
#[derive(Default)]
struct Hits {
    kills: usize,
    /// While a checkpoint was being written or removed.
    writing: usize,
    /// Before there was a checkpoint.
    early: usize,
}

fn is_whole(path: &Path, name: &str) -> bool {
    name.starts_with("checkpoint-") && path.join(name).join("complete").exists()
}

/// Runs until the end, killed again and again while `hits` are too few.
fn run_to_the_end(scratch: &Scratch, out: &str, line: &str, random: &mut Random, hits: &mut Hits) {
    let folder = scratch.path(out);
    loop {
        let there = names(&folder);
        let resume = there.iter().any(|name| is_whole(&folder, name));
        let how = if resume { "--resume-from-checkpoint" } else { "--overwrite-output-dir" };
        let line = with_base(&format!("--output-dir {out} {line} {how}"));
        let mut command = scratch.command(&line);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        if hits.kills == KILLS {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            return;
        }
        let (mut child, began) = (command.stderr(Stdio::null()).spawn().unwrap(), Instant::now());
        let wait = Duration::from_micros(random.below(250_000));
        while began.elapsed() < wait {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{line}");
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            return;
        }
        hits.kills += 1;
        let left = names(&folder);
        hits.writing += usize::from(left.iter().any(|name| name.contains(".tmp-")));
        hits.early += usize::from(!left.iter().any(|name| is_whole(&folder, name)));
    }
}

#[test]
#[cfg(unix)]
fn fifty_kills_lose_nothing() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let (mut random, mut hits, mut runs) = (Random(seed), Hits::default(), 0);
    while hits.kills < KILLS {
        // Every other run writes after each step.
        let line = format!("{LINE} --save-steps {}", if runs % 2 == 0 { 1 } else { 2 });
        let (whole, out) = (format!("whole{}", runs % 2), format!("out{runs}"));
        if runs < 2 {
            scratch.train(&whole, &line);
        }
        run_to_the_end(&scratch, &out, &line, &mut random, &mut hits);
        assert_eq!(scratch.adapter(&out), scratch.adapter(&whole), "run {runs} of seed {seed}");
        let best = |out: &str| scratch.json(&format!("{out}/best_checkpoints.json"));
        assert_eq!(best(&out), best(&whole), "run {runs} of seed {seed}");
        assert!(!names(&scratch.path(&out)).iter().any(|name| name.contains(".tmp-")), "nothing is left lying");
        runs += 1;
    }
    let Hits { kills, writing, early } = hits;
    // Past the test harness, which shows no output of a test that passes.
    let told = format!(
        "{kills} kills in {runs} runs, {writing} of them while a checkpoint was written, {early} before the first one: \
         every final adapter is that of the run that was left alone\n"
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(writing > 0, "no kill hit a checkpoint on its way");
}
