//! `memory_per_rank`: what ranks held and sent, and that `ft-bench plan` foretells it to the byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Row, Scratch, reference};

/// Ids that every model of the tests knows.
const VOCABULARY: u32 = 96;
/// Tokens in every row.
const LENGTH: u32 = 20;
/// A step of two micro-batches of three sequences a rank, so that ranks hold more than one partial sum.
const STEP: &str = "--per-device-train-batch-size 3 --gradient-accumulation-steps 2 --lora-r 24";

/// Rows of one length, all labelled, as many as two steps of 8 ranks take.
fn rows() -> Vec<Row> {
    let row = |i: u32| {
        let ids: Vec<u32> = (0..LENGTH).map(|t| (i * 31 + t * 2) % VOCABULARY).collect();
        let labels = ids.iter().map(|&id| id as i32).collect();
        (ids, labels)
    };
    (0..2 * 6 * 8).map(row).collect()
}

/// The program beside ft-train, which `cargo test --workspace` builds too.
fn plan(model: &Path, line: &str) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_ft-train")).parent().unwrap().join("ft-bench");
    assert!(program.is_file(), "{} is missing: build it with 'cargo build --release --bins'", program.display());
    let output = Command::new(program)
        .args(["plan", "--json", "-", "--model"])
        .arg(model)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file of `testdata/gguf`, or the model of a reference.
fn path(model: &str) -> PathBuf {
    if Path::new(model).extension().is_some_and(|end| end == "gguf") {
        return Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/gguf").join(model);
    }
    reference(model).join("model")
}

/// Takes two steps, and gives `memory_per_rank`.
fn measured(scratch: &Scratch, out: &str, model: &str, line: &str) -> Vec<Value> {
    let model = path(model);
    let line = format!("--model {} --max-steps 2 --logging-steps 2 --learning-rate 1e-3 {line}", model.display());
    scratch.train(out, &line);
    scratch.json(&format!("{out}/run.json"))["memory_per_rank"].as_array().unwrap().clone()
}

/// Holds every planned figure that a run measures against the measured one.
fn assert_same(planned: &Value, measured: &Value, what: &str) {
    for key in [
        "rank",
        "frozen_bytes",
        "largest_gathered_bytes",
        "gathered_bytes_per_step",
        "gradient_bytes",
        "gradient_peak_bytes",
        "moment_bytes",
        "adapter_bytes",
        "sent_bytes_per_step",
    ] {
        assert!(!planned[key].is_null() && !measured[key].is_null(), "{key}");
        assert_eq!(planned[key], measured[key], "{what}: {key}");
    }
}

/// All stages on 1, 2, 4 and 8 ranks.
fn compare(model: &str, more: &str) {
    let scratch = Scratch::new();
    scratch.tokens("rows.parquet", &rows());
    let planned = plan(&path(model), &format!("{STEP} --max-seq-length {LENGTH} {more}"));
    let plans = planned["models"][0]["plans"].as_array().unwrap();
    assert_eq!(plans.len(), 16);
    for plan in plans {
        let (world, sharding) = (plan["world"].as_u64().unwrap(), plan["sharding"].as_str().unwrap());
        let out = format!("{sharding}-{world}");
        let line = format!("{STEP} {more} --nproc-per-node {world} --sharding {sharding}");
        let found = measured(&scratch, &out, model, &line);
        let what = format!("{model} {more} {out}");
        assert_eq!(found.len() as u64, world, "{what}");
        for (planned, measured) in plan["ranks"].as_array().unwrap().iter().zip(&found) {
            assert_same(planned, measured, &what);
        }
    }
}

#[test]
fn a_plan_is_what_a_run_measures_in_f32() {
    compare("llama-s1", "--load-in f32");
}

#[test]
fn a_plan_is_what_a_run_measures_in_16_bits_and_a_tied_vocabulary() {
    compare("llama_tied_bias-s0", "--load-in bf16");
    compare("llama_tied_bias-s0", "--load-in f16 --fsdp-reshard-after-forward false");
}

#[test]
fn a_plan_is_what_a_run_measures_in_8_bits() {
    compare("llama-s1", "--load-in 8bit --optim adamw_8bit");
}

#[test]
fn a_plan_is_what_a_run_measures_in_4_bits() {
    compare("llama-s1", "--load-in 4bit --gradient-checkpointing --fsdp-reshard-after-forward false");
    compare("llama_tied_bias-s0", "--load-in 4bit --bnb-4bit-use-double-quant false --optim sgd");
}

#[test]
fn a_plan_is_what_a_run_measures_with_a_vocabulary_in_blocks() {
    compare("llama3_rope-s5.q8_0.gguf", "--load-in 8bit");
    compare("phi3_longrope-s16.q8_0.gguf", "--load-in 4bit --fsdp-reshard-after-forward false");
}

#[test]
fn other_families_and_modules() {
    compare("gpt2-s28", "--load-in 8bit --optim lion_32bit");
    compare("phi3-s15", "--load-in bf16 --target-modules qkv_proj down_proj");
}

#[test]
fn traffic_of_the_whole_run_holds_that_of_its_steps() {
    let scratch = Scratch::new();
    scratch.tokens("rows.parquet", &rows());
    let number = |value: &Value| value.as_u64().unwrap();
    for sharding in ["none", "zero3"] {
        let found = measured(
            &scratch,
            sharding,
            "llama-s1",
            &format!("{STEP} --save-strategy no --nproc-per-node 4 --sharding {sharding}"),
        );
        let all: u64 = found.iter().map(|rank| number(&rank["frozen_bytes"])).sum();
        assert!(all > 0);
        for rank in &found {
            let (step, whole) = (&rank["sent_bytes_per_step"], &rank["sent_bytes"]);
            let in_steps: u64 =
                ["frozen", "gradients", "adapter", "small"].map(|key| 2 * number(&step[key])).iter().sum();
            let sent: u64 = ["all_gather", "all_to_all", "broadcast"].map(|key| number(&whole[key])).iter().sum();
            assert!(sent >= in_steps && sent < in_steps + 100_000, "{sent} {in_steps}");
            assert_eq!(number(&step["frozen"]) > 0, sharding == "zero3");
        }
    }
    let one = measured(&scratch, "one", "llama-s1", STEP);
    assert_eq!(number(&one[0]["sent_bytes"]["all_gather"]), 0);
}
