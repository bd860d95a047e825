//! `kill -9` again and again: nothing is lost but the steps since the last checkpoint.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::random::{Random, kills};
use crate::support::{Child, Scratch, lines, names, rows, stderr, with_base};

/// The ranks make a checkpoint of a megabyte, so that much of the time goes into writing it.
const LINE: &str = "--lora-dropout 0.1 --lora-r 32 --max-steps 60 --save-total-limit 2 --eval held.parquet --eval-steps 2 \
                    --load-best-model-at-end --save-best-k 2";

/// A run is killed when this is seen.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It has begun.
    Begun,
    /// It has logged so many lines more than before.
    Logged(u64),
    /// A checkpoint is on its way to its name; and so many microseconds later.
    Writing(u64),
}

impl Moment {
    fn any(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Begun,
            1 | 2 => Self::Logged(1 + random.below(9)),
            _ => Self::Writing(random.below(2000)),
        }
    }

    fn has_come(self, folder: &Path, before: &Before) -> bool {
        match self {
            Self::Begun => folder.exists(),
            Self::Logged(more) => logged(folder) >= before.logged + more,
            Self::Writing(later) => {
                let writes = before.is_writing(folder);
                if writes {
                    std::thread::sleep(Duration::from_micros(later));
                }
                writes
            }
        }
    }
}

fn logged(folder: &Path) -> u64 {
    lines(&folder.join("metrics.jsonl"))
}

/// What a run found in its folder.
struct Before {
    logged: u64,
    /// What the last kill left half written.
    half: Vec<String>,
}

impl Before {
    fn of(folder: &Path) -> Self {
        Self { logged: logged(folder), half: half(folder) }
    }

    /// Whether more is half written now.
    fn is_writing(&self, folder: &Path) -> bool {
        half(folder).iter().any(|name| !self.half.contains(name))
    }
}

fn half(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| name.contains(".tmp-")).collect()
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

/// Runs until the end, killed again and again while `hits` are fewer than `kills`.
fn run_to_the_end(scratch: &Scratch, out: &str, line: &str, random: &mut Random, (hits, kills): (&mut Hits, usize)) {
    let folder = scratch.path(out);
    loop {
        let resume = names(&folder).iter().any(|name| is_whole(&folder, name));
        let how = if resume { "--resume-from-checkpoint" } else { "--overwrite-output-dir" };
        let line = with_base(&format!("--output-dir {out} {line} {how}"));
        let mut command = scratch.command(&line);
        command.stdout(Stdio::null());
        if hits.kills == kills {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            return;
        }
        let (moment, before) = (Moment::any(random), Before::of(&folder));
        let mut child = Child::of(command.stderr(Stdio::null()));
        let began = Instant::now();
        while !moment.has_come(&folder, &before) {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{line}");
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{moment:?} does not come: {line}");
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            return;
        }
        hits.kills += 1;
        hits.writing += usize::from(before.is_writing(&folder));
        hits.early += usize::from(!names(&folder).iter().any(|name| is_whole(&folder, name)));
    }
}

#[test]
#[cfg(unix)]
fn kills_lose_nothing() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    let (mut random, kills) = (Random::seeded(), kills());
    let (mut hits, mut runs) = (Hits::default(), 0);
    while hits.kills < kills {
        // Every other run writes after each step.
        let line = format!("{LINE} --save-steps {}", if runs % 2 == 0 { 1 } else { 2 });
        let (whole, out) = (format!("whole{}", runs % 2), format!("out{runs}"));
        if runs < 2 {
            scratch.train(&whole, &line);
        }
        run_to_the_end(&scratch, &out, &line, &mut random, (&mut hits, kills));
        assert_eq!(scratch.adapter(&out), scratch.adapter(&whole), "run {runs}");
        let best = |out: &str| scratch.json(&format!("{out}/best_checkpoints.json"));
        assert_eq!(best(&out), best(&whole), "run {runs}");
        assert_eq!(half(&scratch.path(&out)), Vec::<String>::new(), "nothing is left lying");
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
