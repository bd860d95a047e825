//! What a run shows of itself: events, results, curves; and what is due when.

use std::fs;

use serde_json::Value;

use crate::support::{Scratch, names, rows};

fn with_held_rows() -> Scratch {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    scratch
}

#[test]
fn reports_go_where_they_are_asked_to() {
    let scratch = with_held_rows();
    let told = scratch.train("out", "--report-to tensorboard,jsonl --run-name tax --eval held.parquet --eval-steps 3");
    for words in ["hyperparameters: ", "learning_rate 0.01", "data: train_rows 18", "train_tokens"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let events = names(&scratch.path("out/runs/tax"));
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("events.out.tfevents."), "{events:?}");
    let bytes = fs::read(scratch.path("out/runs/tax").join(&events[0])).unwrap();
    let has = |words: &str| bytes.windows(words.len()).any(|window| window == words.as_bytes());
    for words in
        ["brain.Event:2", "train/loss", "train/grad_norm", "eval/loss", "_hparams_/session_start_info", "lora_r"]
    {
        assert!(has(words), "{words}");
    }
    assert!(!scratch.metrics("out").is_empty());
    scratch.train("none", "--report-to none");
    assert!(!scratch.path("none/metrics.jsonl").exists() && !scratch.path("none/loss.svg").exists());
    assert!(!scratch.path("none/runs").exists());
}

#[test]
fn results_have_trainers_names_and_the_curve_is_drawn() {
    let scratch = with_held_rows();
    scratch.train("tax-run", "--eval held.parquet --eval-steps 3");
    let (train, eval) = (scratch.json("tax-run/train_results.json"), scratch.json("tax-run/eval_results.json"));
    let all = scratch.json("tax-run/all_results.json");
    for key in ["eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "epoch"] {
        assert!(eval[key].is_number(), "{key} in {eval}");
        assert_eq!(all[key], eval[key]);
    }
    assert!(train["total_flos"].as_f64().unwrap() > 1e6 && train["step"].is_null(), "{train}");
    assert_eq!(scratch.json("tax-run/trainer_state.json")["total_flos"], train["total_flos"]);
    let svg = fs::read_to_string(scratch.path("tax-run/loss.svg")).unwrap();
    assert!(svg.contains("tax-run") && svg.contains("evaluation"), "{svg}");
    assert!(fs::read(scratch.path("tax-run/loss.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_record_is_there_from_the_beginning() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "");
    let run = scratch.json("out/run.json");
    assert_eq!(run["status"], "finished");
    assert_eq!(run["configuration"]["learning_rate"], 1e-2);
    assert_eq!(run["origins"]["learning_rate"], "flag");
    assert_eq!(run["origins"]["adam_beta2"], "default");
    let weights = run["model"].as_array().unwrap().iter().find(|file| file["name"] == "model.safetensors").unwrap();
    assert_eq!(weights["sha256"].as_str().unwrap().len(), 64);
    assert!(run["cpu_features"].is_array() && run["predicted_peak_memory_bytes"].is_u64(), "{run}");
}

/// The steps of the entries that have `key`.
fn steps(scratch: &Scratch, out: &str, key: &str) -> Vec<u64> {
    scratch.metrics(out).iter().filter(|e| e.get(key).is_some()).map(|e| e["step"].as_u64().unwrap()).collect()
}

fn checkpoints(scratch: &Scratch, out: &str) -> Vec<u64> {
    let steps = names(&scratch.path(out)).into_iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok());
    let mut steps: Vec<u64> = steps.collect();
    steps.sort_unstable();
    steps
}

#[test]
fn epochs_decide_where_they_are_asked_to() {
    let scratch = with_held_rows();
    let line = "--eval held.parquet --eval-strategy epoch --save-strategy epoch --logging-strategy epoch --max-steps 8";
    scratch.train("out", &format!("{line} --eval-on-start"));
    // 18 rows are five steps.
    assert_eq!(steps(&scratch, "out", "loss"), [5, 8]);
    assert_eq!(steps(&scratch, "out", "eval_loss"), [0, 5, 8]);
    assert_eq!(checkpoints(&scratch, "out"), [5, 8]);
}

#[test]
fn steps_decide_and_the_last_one_counts() {
    let scratch = with_held_rows();
    let line =
        "--eval held.parquet --eval-steps 2 --eval-delay 3 --save-steps 3 --logging-steps 4 --logging-first-step";
    scratch.train("out", &format!("{line} --max-steps 7 --save-total-limit 2"));
    assert_eq!(steps(&scratch, "out", "loss"), [1, 4, 7]);
    assert_eq!(steps(&scratch, "out", "eval_loss"), [4, 6, 7]);
    assert_eq!(checkpoints(&scratch, "out"), [6, 7], "the newest two of 3, 6 and 7");
    scratch.train("none", "--save-strategy no");
    assert!(checkpoints(&scratch, "none").is_empty());
}

#[test]
fn the_best_checkpoints_are_kept_and_ranked() {
    let scratch = with_held_rows();
    let line = "--eval held.parquet --eval-steps 1 --save-strategy no --save-best-k 2 --max-steps 7";
    // So fast that it does not only get better.
    scratch.train("out", &format!("{line} --learning-rate 0.3 --load-best-model-at-end"));
    let mut found: Vec<(f64, u64)> = Vec::new();
    for entry in scratch.metrics("out").iter().filter(|entry| entry.get("eval_loss").is_some()) {
        found.push((entry["eval_loss"].as_f64().unwrap(), entry["step"].as_u64().unwrap()));
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_ne!(found[0].1, 7, "the last is not the best: {found:?}");
    let index = scratch.json("out/best_checkpoints.json");
    let ranked = index["best"].as_array().unwrap();
    assert_eq!(ranked.len(), 2);
    for (rank, (entry, (loss, step))) in ranked.iter().zip(&found).enumerate() {
        assert_eq!((&entry["rank"], &entry["step"]), (&Value::from(rank + 1), &Value::from(*step)));
        assert_eq!(
            (entry["eval_loss"].as_f64(), &entry["checkpoint"]),
            (Some(*loss), &format!("checkpoint-{step}").into())
        );
    }
    let kept = checkpoints(&scratch, "out");
    assert!(found[..2].iter().all(|(_, step)| kept.contains(step)), "{kept:?} {found:?}");
    assert!(kept.len() <= 3, "the best two and the newest: {kept:?}");
    let state = scratch.json("out/trainer_state.json");
    assert_eq!((state["best_metric"].as_f64(), &state["best_global_step"]), (Some(found[0].0), &found[0].1.into()));
    let tensors = |folder: &str| crate::support::read_safetensors(&scratch.adapter(folder)).1;
    assert_eq!(tensors("out"), tensors(&format!("out/checkpoint-{}", found[0].1)), "the best adapter is written");
    assert_eq!(scratch.json("out/eval_results.json")["eval_loss"].as_f64(), Some(found[0].0));
}

/// With one checkpoint to keep, the newest that was the best one stands.
#[test]
fn only_the_best_ones_are_saved_where_that_is_asked_for() {
    let scratch = with_held_rows();
    let line = "--eval held.parquet --eval-steps 1 --save-strategy best --save-total-limit 1 --max-steps 7";
    scratch.train("out", &format!("{line} --learning-rate 0.3"));
    let state = scratch.json("out/trainer_state.json");
    let best = state["best_global_step"].as_u64().unwrap();
    assert_eq!(checkpoints(&scratch, "out"), [best]);
    assert_eq!(state["best_model_checkpoint"], format!("checkpoint-{best}"));
}

/// The best checkpoint outlives newer ones, and patience counts from it.
#[test]
fn the_best_checkpoint_outlives_the_limit() {
    let scratch = with_held_rows();
    let line =
        "--eval held.parquet --eval-steps 1 --save-steps 1 --save-total-limit 2 --max-steps 7 --learning-rate 0.3";
    scratch.train("out", &format!("{line} --load-best-model-at-end"));
    let best = scratch.json("out/trainer_state.json")["best_global_step"].as_u64().unwrap();
    assert_ne!(best, 7);
    assert_eq!(checkpoints(&scratch, "out"), [best, 7]);
}

#[test]
fn patience_runs_out_and_a_resume_does_not_refill_it() {
    let scratch = with_held_rows();
    let line = "--eval held.parquet --eval-steps 1 --save-steps 1 --early-stopping-patience 2 \
                --early-stopping-threshold 100 --max-steps 9 --load-best-model-at-end";
    let told = scratch.train("out", line);
    assert!(told.contains("stopped after step 3: --early-stopping-patience has run out"), "{told}");
    let state = scratch.json("out/trainer_state.json");
    assert_eq!(state["global_step"], 3);
    let callback = &state["stateful_callbacks"]["EarlyStoppingCallback"];
    assert_eq!(callback["attributes"]["early_stopping_patience_counter"], 2);
    assert_eq!(callback["args"]["early_stopping_patience"], 2);
    let adapter = scratch.adapter("out");
    for from in ["", "out/checkpoint-3", "out/checkpoint-2"] {
        scratch.train("out", &format!("{line} --resume-from-checkpoint {from}"));
        assert_eq!(scratch.json("out/trainer_state.json")["global_step"], 3, "from {from}");
        assert_eq!(scratch.adapter("out"), adapter, "from {from}");
    }
}

#[test]
fn a_plan_is_told_and_nothing_is_written() {
    let scratch = with_held_rows();
    let line = crate::support::with_base("--output-dir out --dry-run --packing --max-seq-length 40 --max-steps 12");
    let output = scratch.run(&line);
    assert!(output.status.success(), "{}", crate::support::stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for words in
        ["train_rows", "train_labels", "packing_efficiency", "steps", "learning_rate_peak", "predicted_seconds"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.contains("█") && !scratch.path("out").exists(), "{text}");
    let output = scratch.run(&format!("{line} --log-format json"));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tokens: usize = rows(18).iter().map(|(ids, _)| ids.len()).sum();
    assert_eq!((plan["train_rows"].as_u64(), plan["train_tokens"].as_u64()), (Some(18), Some(tokens as u64)));
    assert_eq!((plan["steps"].as_u64(), plan["learning_rate_peak"].as_f64()), (Some(12), Some(1e-2)));
    let bins = plan["sequences_an_epoch"].as_f64().unwrap();
    let efficiency = plan["packing_efficiency"].as_f64().unwrap();
    assert!((efficiency - tokens as f64 / (bins * 40.0)).abs() < 1e-3, "{plan}");
    assert!(plan["predicted_peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "{plan}");
}
