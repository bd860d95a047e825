//! `--config`, from the recipe of `testdata/recipes` to the words that a wrong file gets.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Scratch, rows};

/// The arguments that the recipe must have: all that the README promises.
const PROMISED: &str = "num_train_epochs max_steps per_device_train_batch_size per_device_eval_batch_size \
    gradient_accumulation_steps optim learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm \
    lr_scheduler_type warmup_ratio warmup_steps group_by_length packing max_seq_length logging_steps eval_strategy \
    eval_steps save_strategy save_steps save_total_limit load_best_model_at_end metric_for_best_model \
    greater_is_better early_stopping_patience early_stopping_threshold resume_from_checkpoint seed data_seed \
    gradient_checkpointing bf16 fp16 tf32 neftune_noise_alpha loraplus_lr_ratio init_lora_weights log_level report_to \
    run_name disable_tqdm";

fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/recipes/blog.yaml")
}

/// `rows.parquet`, `held.parquet`, and the recipe as the program is given it, with its paths overridden.
fn prepared() -> (Scratch, String) {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    fs::copy(recipe(), scratch.path("blog.yaml")).unwrap();
    (scratch, "--config blog.yaml --model MODEL --train rows.parquet --eval held.parquet".to_owned())
}

#[test]
fn the_recipe_has_every_argument_and_says_where_each_value_comes_from() {
    let (scratch, line) = prepared();
    let output = scratch.run(&format!("{line} --print-config --seed 7"));
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    for key in PROMISED.split_whitespace() {
        let line =
            printed.lines().find(|line| line.starts_with(&format!("{key}: "))).unwrap_or_else(|| panic!("{key}"));
        let expected = match key {
            "seed" => "# flag",
            _ => "# file",
        };
        assert!(line.ends_with(expected), "{line}");
    }
    assert!(
        printed.lines().any(|line| line.starts_with("use_dora: false") && line.ends_with("# default")),
        "{printed}"
    );
}

#[test]
fn the_recipe_runs_on_a_small_model_and_so_does_what_it_prints() {
    let (scratch, line) = prepared();
    let output = scratch.run(&format!("{line} --output-dir out"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("bf16: the frozen matrices are kept in it"), "{told}");

    let printed = scratch.run(&format!("{line} --output-dir again --print-config")).stdout;
    fs::write(scratch.path("printed.yaml"), printed).unwrap();
    let output = scratch.run("--config printed.yaml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scratch.adapter("out"), scratch.adapter("again"), "the same bits");
}

#[test]
fn the_schema_knows_every_key_of_the_recipe() {
    let scratch = Scratch::new();
    let schema: serde_json::Value = serde_json::from_slice(&scratch.run("--config-schema").stdout).unwrap();
    for key in PROMISED.split_whitespace() {
        assert!(schema["properties"][key]["description"].is_string(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_wrong_file_is_wrong_usage_in_one_line() {
    let scratch = Scratch::with_rows();
    for (text, expected) in [
        ("learning_rte: 1\n", "'a.yaml': unknown key 'learning_rte'; did you mean 'learning_rate'?"),
        ("optim: adamw\n", "'a.yaml': invalid value 'adamw' for '--optim <OPTIMIZER>'"),
        ("seed: 1\nseed: 2\n", "'a.yaml': 'seed' stands there twice"),
        ("push_to_hub: true\n", "push_to_hub true is refused: this program sends nothing over a network"),
        ("lora: {lora_r: 4}\nr: 8\n", "'lora_r' and 'r' are the same argument"),
        ("packing: true\ngroup_by_length: true\n", "--group-by-length has nothing to group"),
    ] {
        fs::write(scratch.path("a.yaml"), text).unwrap();
        let told = scratch.failure("--config a.yaml --model MODEL --train rows.parquet -o out", 2);
        assert!(told.contains(expected), "{told}");
    }
    let told = scratch.failure("--config nowhere.yaml", 2);
    assert!(told.contains("cannot read 'nowhere.yaml'"), "{told}");
}

#[test]
fn what_has_no_use_here_is_told_in_one_line() {
    let scratch = Scratch::with_rows();
    let told = scratch.train("out", "--max-steps 1 --dataloader_num_workers 4 --tf32 true");
    assert!(told.contains("dataloader_num_workers 4 is accepted, without effect: rows are in memory"), "{told}");
    assert!(told.contains("tf32: without effect on a CPU"), "{told}");
}
