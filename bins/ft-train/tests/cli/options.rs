//! What arguments mean: as Trainer, trl and peft take them.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Scratch, with_base};

#[test]
fn no_max_steps_is_by_epochs_and_no_epochs_are_refused() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--max-steps 0 --num-train-epochs 1");
    assert_eq!(scratch.json("out/trainer_state.json")["global_step"], 5);
    let told = scratch.failure(&with_base("--output-dir none --max-steps -1 --num-train-epochs 0"), 2);
    assert!(told.contains("--num-train-epochs 0 trains nothing"), "{told}");
    assert!(!scratch.path("none").exists());
}

#[test]
fn drop_last_keeps_the_epochs_last_short_step() {
    let scratch = Scratch::with_rows();
    let line = "--dataloader-drop-last --per-device-train-batch-size 4 --gradient-accumulation-steps 8 --max-steps -1 \
                --num-train-epochs 2";
    scratch.train("out", line);
    assert_eq!(scratch.json("out/trainer_state.json")["global_step"], 2);
}

#[test]
fn to_resume_or_not_may_be_a_word() {
    let scratch = Scratch::with_rows();
    let whole = scratch.trained("whole", "--save-steps 3");
    for (out, word) in [("a", "true"), ("b", "True")] {
        scratch.train(out, "--save-steps 3");
        fs::remove_dir_all(scratch.path(&format!("{out}/checkpoint-6"))).unwrap();
        let told = scratch.train(out, &format!("--save-steps 3 --resume-from-checkpoint {word}"));
        assert!(told.contains("going on after step 3"), "{told}");
        assert!(scratch.adapter(out) == whole);
    }
    for (out, word) in [("c", "false"), ("d", "False")] {
        let told = scratch.train(out, &format!("--resume-from-checkpoint {word}"));
        assert!(!told.contains("going on"), "{told}");
        let told = scratch.failure(&with_base(&format!("--output-dir {out} --resume-from-checkpoint {word}")), 1);
        assert!(told.contains("is not empty") || told.contains("already holds"), "{told}");
    }
}

#[test]
fn a_share_of_the_steps_may_be_a_multiple_of_another() {
    let scratch = Scratch::with_rows();
    let line = |save: &str, eval: &str| {
        format!(
            "--eval rows.parquet --eval-strategy steps --eval-steps {eval} --save-steps {save} --load-best-model-at-end \
             --max-steps 10"
        )
    };
    for (save, eval) in [("0.3", "0.1"), ("0.6", "0.2"), ("0.7", "0.1")] {
        scratch.train(&format!("out-{save}"), &line(save, eval));
    }
    for (save, eval) in [("0.25", "0.1"), ("2", "0.1"), ("0.5", "2"), ("0.1", "0.3")] {
        let told = scratch.failure(&with_base(&format!("--output-dir none {}", line(save, eval))), 2);
        assert!(told.contains("to be a multiple of --eval-steps"), "{save} {eval}: {told}");
    }
}

#[test]
fn a_metric_that_no_evaluation_gives_is_refused_before_anything_is_read() {
    let scratch = Scratch::with_rows();
    let line =
        "--output-dir out --train none.parquet --eval none.parquet --eval-strategy steps --metric-for-best-model f1";
    let told = scratch.failure(&with_base(line), 2);
    assert!(told.contains("--metric-for-best-model f1: an evaluation has only eval_loss, "), "{told}");
    for name in ["loss", "eval_mean_token_accuracy"] {
        let line = format!("--eval rows.parquet --eval-strategy steps --eval-steps 3 --metric-for-best-model {name}");
        scratch.train(name, &line);
    }
}

#[test]
fn target_modules_may_be_a_json_list() {
    let scratch = Scratch::with_rows();
    let names = scratch.trained("names", "--target-modules q_proj,v_proj");
    let json = scratch.trained("json", r#"--target-modules ["q_proj","v_proj"]"#);
    assert!(names == json);
    let saved = scratch.json("json/adapter_config.json");
    assert_eq!(saved["target_modules"], serde_json::json!(["q_proj", "v_proj"]));
}

#[test]
fn every_list_may_be_json() {
    let scratch = Scratch::with_rows();
    let typed = "--target-modules q_proj --exclude-modules v_proj --layers-to-transform 0 1 --modules-to-save lm_head";
    let json = r#"--target-modules=["q_proj"] --exclude-modules ["v_proj"] --layers-to-transform [0,1] --modules-to-save=["lm_head"]"#;
    assert!(scratch.trained("typed", typed) == scratch.trained("json", json));
    let saved = scratch.json("json/adapter_config.json");
    assert_eq!(saved["modules_to_save"], serde_json::json!(["lm_head"]));
    assert_eq!(saved["layers_to_transform"], serde_json::json!([0, 1]));
    // What is no list of words stays what was typed.
    let told = scratch.failure(&with_base("--output-dir out --layers-to-transform [[0]]"), 2);
    assert!(told.contains("[[0]]"), "{told}");
}

#[test]
fn a_checkpoint_whose_parts_are_of_different_steps_is_refused() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--save-steps 3");
    let state = scratch.path("out/checkpoint-3/trainer_state.json");
    let whole = fs::read_to_string(&state).unwrap();
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::from_str(&whole).unwrap();
        change(&mut value);
        fs::write(&state, value.to_string()).unwrap();
        scratch.failure(&with_base("--output-dir out --resume-from-checkpoint out/checkpoint-3"), 1)
    };
    let told = altered(&|state| state["global_step"] = 2.into());
    assert!(told.contains("is no whole checkpoint: its trainer_state.json is of step 2"), "{told}");
    let told = altered(&|state| state["global_step"] = 5.into());
    assert!(told.contains("should be of step 5, and is of step 3"), "{told}");
    fs::write(&state, &whole).unwrap();
    fs::write(scratch.path("out/checkpoint-3/complete"), "4\n").unwrap();
    let told = scratch.failure(&with_base("--output-dir out --resume-from-checkpoint out/checkpoint-3"), 1);
    assert!(told.contains("complete should be of step 3, and is of step 4"), "{told}");
}

#[test]
fn counts_that_no_run_arrives_at_are_refused() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--save-steps 3 --logging-steps 2");
    let window = scratch.path("out/checkpoint-3/log_window.json");
    let whole = fs::read_to_string(&window).unwrap();
    for (key, count) in [("labels", u64::MAX), ("steps", u64::MAX), ("correct", 1 << 40)] {
        let mut value: Value = serde_json::from_str(&whole).unwrap();
        value[key] = count.into();
        fs::write(&window, value.to_string()).unwrap();
        let told = scratch.failure(&with_base("--output-dir out --resume-from-checkpoint out/checkpoint-3"), 1);
        assert!(told.contains("is damaged: its log_window.json counts"), "{key}: {told}");
    }
}

#[test]
fn a_state_of_half_precision_has_trainers_keys_alone() {
    let scratch = Scratch::with_rows();
    scratch.train("out", "--fp16 --save-steps 3");
    let state = scratch.json("out/checkpoint-3/trainer_state.json");
    assert!(state.get("loss_scale").is_none(), "{state}");
    assert_eq!(scratch.json("out/checkpoint-3/scaler.json")["scale"], 65536.0);
}

#[test]
#[cfg(unix)]
fn a_pipe_without_a_reader_ends_the_run() {
    let scratch = Scratch::with_rows();
    let line = with_base("--output-dir - --max-steps 100000 --logging-steps 1000");
    let mut child = scratch.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("standard output has no reader any more, so the adapter of step 1 would be lost"), "{told}");
}
