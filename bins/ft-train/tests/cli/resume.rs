//! Checkpoints: going on from one gives the bits of a run that was never interrupted.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Scratch, rows, with_base};

const LINE: &str = "--lora-dropout 0.1 --save-steps 2 --warmup-ratio 0.2";

/// The run `whole` with its checkpoints.
fn whole() -> Scratch {
    let scratch = Scratch::with_rows();
    scratch.train("whole", LINE);
    scratch
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What is logged of the steps, without what a clock says.
fn logged(scratch: &Scratch, out: &str) -> Vec<Value> {
    scratch.metrics(out).into_iter().filter(|entry| entry.get("loss").is_some()).collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let scratch = whole();
    for step in [2, 4] {
        let out = format!("from{step}");
        let checkpoint = format!("checkpoint-{step}");
        copy_folder(&scratch.path("whole").join(&checkpoint), &scratch.path(&out).join(&checkpoint));
        let told = scratch.train(&out, &format!("{LINE} --resume-from-checkpoint"));
        assert!(told.contains(&format!("going on after step {step} from '{out}/{checkpoint}'")), "{told}");
        assert_eq!(scratch.adapter(&out), scratch.adapter("whole"));
        assert_eq!(logged(&scratch, &out), logged(&scratch, "whole"));
        let optimizer = |out: &str| fs::read(scratch.path(out).join("checkpoint-6/optimizer.safetensors")).unwrap();
        assert!(optimizer(&out) == optimizer("whole"), "the optimizer's state too");
    }
    // The state matters: the same steps from a cold start end elsewhere.
    let cold = scratch.trained("cold", &format!("{LINE} --max-steps 2"));
    assert_ne!(cold, scratch.adapter("whole"));
}

#[test]
fn the_newest_whole_checkpoint_counts_and_a_named_one_is_taken() {
    let scratch = whole();
    fs::remove_file(scratch.path("whole/checkpoint-6/complete")).unwrap();
    let told = scratch.train("whole", &format!("{LINE} --resume-from-checkpoint"));
    assert!(told.contains("after step 4 from 'whole/checkpoint-4'"), "{told}");
    let expected = scratch.adapter("whole");
    let told = scratch.train("named", &format!("{LINE} --resume-from-checkpoint whole/checkpoint-2"));
    assert!(told.contains("after step 2"), "{told}");
    assert_eq!(scratch.adapter("named"), expected);
}

/// A checkpoint between two logs: the next log is of all steps since the last one.
#[test]
fn a_log_across_a_resume_is_whole() {
    let scratch = Scratch::with_rows();
    let line = "--save-steps 2 --logging-steps 3";
    scratch.train("whole", line);
    scratch.train("from2", &format!("{line} --resume-from-checkpoint whole/checkpoint-2"));
    let (whole, resumed) = (scratch.series("whole", "loss"), scratch.series("from2", "loss"));
    assert_eq!(whole.len(), 2);
    assert!(whole.iter().zip(&resumed).all(|(a, b)| (a - b).abs() < 1e-12 * a), "{whole:?} {resumed:?}");
}

#[test]
fn how_the_work_is_cut_may_change_at_a_resume() {
    let scratch = whole();
    let line = format!(
        "{LINE} --resume-from-checkpoint whole/checkpoint-2 --per-device-train-batch-size 1 \
         --gradient-accumulation-steps 4 --threads 1 --activation-memory 0"
    );
    assert_eq!(scratch.trained("cut", &line), scratch.adapter("whole"));
}

#[test]
fn an_overwritten_runs_checkpoints_are_not_taken_for_the_new_ones() {
    let scratch = whole();
    let broken = with_base("--output-dir whole --train nowhere.parquet --overwrite-output-dir");
    scratch.failure(&broken, 1);
    assert!(scratch.path("whole/checkpoint-6").exists(), "a run that cannot start removes nothing");
    scratch.train("whole", "--save-steps 1 --max-steps 1 --overwrite-output-dir");
    let told = scratch.train("whole", "--max-steps 2 --resume-from-checkpoint");
    assert!(told.contains("after step 1 from 'whole/checkpoint-1'"), "{told}");
    assert!(!scratch.path("whole/checkpoint-6").exists());
}

#[test]
fn checkpoints_that_are_not_whole_are_refused() {
    let scratch = whole();
    let line = |more: &str| with_base(&format!("--output-dir new {LINE} --resume-from-checkpoint {more}"));
    fs::remove_file(scratch.path("whole/checkpoint-2/complete")).unwrap();
    let told = scratch.failure(&line("whole/checkpoint-2"), 1);
    assert!(told.contains("'whole/checkpoint-2' is no whole checkpoint") && told.contains("older one"), "{told}");
    fs::create_dir_all(scratch.path("new")).unwrap();
    let told = scratch.failure(&line(""), 1);
    assert!(told.contains("'new' holds no whole checkpoint"), "{told}");
    let optimizer = scratch.path("whole/checkpoint-4/optimizer.safetensors");
    let bytes = fs::read(&optimizer).unwrap();
    fs::write(&optimizer, &bytes[..bytes.len() - 9]).unwrap();
    let told = scratch.failure(&line("whole/checkpoint-4"), 1);
    assert!(told.contains("optimizer.safetensors': it is damaged"), "{told}");
    let told = scratch.failure(&with_base("--output-dir - --resume-from-checkpoint"), 1);
    assert!(told.contains("--resume-from-checkpoint needs a folder"), "{told}");
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
    let scratch = whole();
    let mut other = rows(18);
    other[3].1[2] = 7;
    scratch.tokens("other.parquet", &other);
    for (line, words) in [
        ("--lora-r 8", "lora_r was 4 and is 8"),
        ("--seed 7", "seed was 42 and is 7"),
        ("--learning-rate 2e-2", "learning_rate was 0.01 and is 0.02"),
        ("--train other.parquet", "the training rows was "),
        ("--per-device-train-batch-size 8", "sequences in a step was 4 and is 8"),
    ] {
        let line = format!("--output-dir new {line} {LINE} --resume-from-checkpoint whole/checkpoint-2");
        let told = scratch.failure(&with_base(&line), 1);
        assert!(told.contains("'whole/checkpoint-2' is of another run") && told.contains(words), "{told}");
    }
    // What changes no mathematics may change.
    scratch
        .train("new", &format!("{LINE} --logging-steps 3 --resume-from-checkpoint whole/checkpoint-2 --max-steps 7"));
}

/// Later checkpoints of the same folder follow another schedule then.
#[test]
fn another_number_of_steps_takes_the_later_steps_anew() {
    let scratch = whole();
    let told = scratch.train("whole", &format!("{LINE} --resume-from-checkpoint whole/checkpoint-2 --max-steps 3"));
    assert!(told.contains("removed 'whole/checkpoint-6': its steps are taken anew"), "{told}");
    assert!(!scratch.path("whole/checkpoint-4").exists() && scratch.path("whole/checkpoint-3").exists());
}

/// Runs, sends a signal once stderr has told `word`, and gives the exit code and stderr.
fn signal_at(signal: &str, scratch: &Scratch, line: &str, word: &str) -> (Option<i32>, String) {
    let mut child = scratch.command(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains(word) {
        assert!(told.read_line(&mut text).unwrap() > 0, "it ended before '{word}': {text}");
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    told.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_step_writes_a_checkpoint_and_leaves() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        a_signal_leaves_a_checkpoint(signal);
    }
}

fn a_signal_leaves_a_checkpoint(signal: &str) {
    let scratch = Scratch::with_rows();
    let line = with_base("--output-dir out --max-steps 1000000");
    let (code, text) = signal_at(signal, &scratch, &line, "\"step\":3");
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(text.lines().last(), Some("ft-train: error: interrupted"));
    let folders = fs::read_dir(scratch.path("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let checkpoints: Vec<String> = folders.filter(|name| name.starts_with("checkpoint-")).collect();
    assert_eq!(checkpoints.len(), 1);
    assert!(scratch.path("out").join(&checkpoints[0]).join("complete").exists());
    let step: u64 = checkpoints[0]["checkpoint-".len()..].parse().unwrap();
    scratch.train("out", &format!("--resume-from-checkpoint --max-steps {}", step + 1));
    assert_eq!(scratch.json("out/trainer_state.json")["global_step"], step + 1);
}

/// The adapter is trained by then, and would be lost.
#[test]
#[cfg(unix)]
fn a_signal_during_the_last_evaluation_leaves_a_checkpoint_too() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(20_000));
    let line = with_base("--output-dir out --eval held.parquet --per-device-eval-batch-size 1");
    let (code, text) = signal_at("-INT", &scratch, &line, "train_runtime");
    assert_eq!(code, Some(130), "{text}");
    assert!(!text.contains("eval_loss"), "it came too late to tell: {text}");
    assert!(scratch.path("out/checkpoint-6/complete").exists());
    assert!(!scratch.path("out/adapter_model.safetensors").exists());
    fs::remove_file(scratch.path("held.parquet")).unwrap();
    scratch.train("whole", "");
    assert_eq!(scratch.trained("out", "--resume-from-checkpoint"), scratch.adapter("whole"));
}

#[test]
fn evaluation_does_not_disturb_training() {
    let scratch = whole();
    scratch.tokens("held.parquet", &rows(3));
    assert_eq!(
        scratch.trained("evaluated", &format!("{LINE} --eval held.parquet --eval-steps 1")),
        scratch.adapter("whole")
    );
}

/// A signal comes while the model is evaluated after a step: the resume makes up for the evaluation, so that the best
/// one is the best of all.
#[test]
#[cfg(unix)]
fn an_evaluation_that_a_signal_ended_is_made_up_for() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(20_000));
    let line = "--eval held.parquet --eval-steps 2 --max-steps 4 --save-steps 2 --per-device-eval-batch-size 1";
    let (code, text) = signal_at("-INT", &scratch, &with_base(&format!("--output-dir out {line}")), "\"step\":2}");
    assert_eq!(code, Some(130), "{text}");
    assert!(!text.contains("eval_loss"), "it came too late to tell: {text}");
    let resumed = scratch.train("out", &format!("{line} --resume-from-checkpoint"));
    let evaluated: Vec<&str> = resumed.lines().filter(|line| line.contains("eval_loss")).collect();
    assert!(evaluated.len() == 2 && evaluated[0].contains("\"step\":2"), "{resumed}");
}

/// The second run would mix its files with the first one's.
#[test]
#[cfg(unix)]
fn two_runs_in_one_folder_and_one_that_was_interrupted() {
    let scratch = Scratch::with_rows();
    let line = with_base("--output-dir out --max-steps 1000000 --save-steps 1000");
    let mut first = scratch.command(&line).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(first.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("\"step\":2") {
        assert!(told.read_line(&mut text).unwrap() > 0, "it ended: {text}");
    }
    std::thread::spawn(move || told.read_to_string(&mut String::new()));
    let second = with_base("--output-dir out --overwrite-output-dir");
    let told = scratch.failure(&second, 1);
    assert!(told.contains("another run is writing to 'out'"), "{told}");
    first.kill().unwrap();
    first.wait().unwrap();
    let told = scratch.failure(&with_base("--output-dir out"), 1);
    assert!(told.contains("'out' already holds a run") && told.contains("--resume-from-checkpoint"), "{told}");
    scratch.train("out", "--overwrite-output-dir");
}
