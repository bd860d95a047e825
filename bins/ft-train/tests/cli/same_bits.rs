//! One seed gives one adapter, bit by bit, however the work is cut.

use std::fs;
use std::process::Stdio;

use crate::support::{Row, Scratch, reference, rows, with_base};

/// With dropout, whose masks must not depend on the cut either.
const DROPOUT: &str = "--lora-dropout 0.2";

#[test]
fn a_second_run_and_any_number_of_threads() {
    let scratch = Scratch::with_rows();
    let one = scratch.trained("one", &format!("{DROPOUT} --threads 1"));
    assert_eq!(one, scratch.trained("again", &format!("{DROPOUT} --threads 1")));
    assert_eq!(one, scratch.trained("two", &format!("{DROPOUT} --threads 2")));
    assert_eq!(one, scratch.trained("five", &format!("{DROPOUT} --threads 5")));
    assert_ne!(one, scratch.trained("other", &format!("{DROPOUT} --seed 43")));
    assert_ne!(one, scratch.trained("without", ""), "dropout does something");
}

#[test]
fn any_cut_of_a_step_into_micro_batches() {
    let scratch = Scratch::with_rows();
    let cut = |out: &str, batch: u32, accumulation: u32| {
        let line = format!(
            "{DROPOUT} --per-device-train-batch-size {batch} --gradient-accumulation-steps {accumulation} --max-steps 5"
        );
        let adapter = scratch.trained(out, &line);
        (adapter, scratch.series(out, "loss"), scratch.series(out, "grad_norm"))
    };
    // 18 rows: the third step of an epoch is short, of two rows.
    let whole = cut("8x1", 8, 1);
    assert!(cut("1x8", 1, 8) == whole, "1 × 8");
    assert!(cut("2x4", 2, 4) == whole, "2 × 4");
    assert!(cut("4x2", 4, 2) == whole, "4 × 2");
}

/// Phi's attention and MLP read one norm: with `--bias all` its bias had two gradients from each sequence, so the bits
/// depended on the cut, and two ranks ended in an error. GPT-NeoX's block is parallel too, with a norm for each.
#[test]
fn a_bias_that_two_sites_share() {
    let scratch = Scratch::new();
    // Within the vocabularies of both.
    let within = |(ids, labels): Row| -> Row {
        (ids.iter().map(|id| id % 90).collect(), labels.iter().map(|&l| if l < 0 { l } else { l % 90 }).collect())
    };
    scratch.tokens("rows.parquet", &rows(18).into_iter().map(within).collect::<Vec<_>>());
    for name in ["phi-s32", "gpt_neox-s30"] {
        let model = reference(name).join("model");
        let trained = |out: &str, cut: &str| {
            let line = format!("--model {} --bias all {DROPOUT} --learning-rate 1e-2 --max-steps 5", model.display());
            scratch.trained(&format!("{name}-{out}"), &format!("{line} {cut}"))
        };
        let whole = trained("whole", "--per-device-train-batch-size 12");
        for (batch, accumulation, ranks) in [(3, 4, 1), (1, 12, 1), (6, 1, 2), (2, 3, 2), (4, 1, 3), (1, 4, 3)] {
            let cut = format!(
                "--per-device-train-batch-size {batch} --gradient-accumulation-steps {accumulation} --nproc-per-node {ranks}"
            );
            assert!(trained(&format!("{batch}-{accumulation}-{ranks}"), &cut) == whole, "{name}: {cut}");
        }
    }
}

#[test]
fn any_memory() {
    let scratch = Scratch::with_rows();
    let all = scratch.trained("all", &format!("{DROPOUT} --activation-memory 1GB"));
    let told = scratch.train("none", &format!("{DROPOUT} --activation-memory 0"));
    assert!(told.contains("3 of 3 layers are computed twice"), "{told}");
    assert_eq!(scratch.adapter("none"), all);
    let told = scratch.train("some", &format!("{DROPOUT} --activation-memory 80KB"));
    assert!(["1", "2"].iter().any(|some| told.contains(&format!("{some} of 3 layers are computed twice"))), "{told}");
    assert_eq!(scratch.adapter("some"), all);
    assert_eq!(scratch.trained("checkpointing", &format!("{DROPOUT} --gradient-checkpointing")), all);
}

#[test]
fn frozen_weights_in_memory_or_on_disk() {
    let scratch = Scratch::with_rows();
    for load_in in ["f32", "bf16", "f16"] {
        let memory = scratch.trained(&format!("memory-{load_in}"), &format!("--load-in {load_in}"));
        let disk = format!("--load-in {load_in} --offload-param-device disk");
        assert_eq!(scratch.trained(&format!("disk-{load_in}"), &disk), memory, "{load_in}");
    }
    assert_ne!(scratch.adapter("memory-f32"), scratch.adapter("memory-bf16"));
}

/// Layers that are expanded when they are asked for are the same however often that is.
#[test]
fn frozen_weights_in_few_bits() {
    let scratch = Scratch::with_rows();
    let mut seen = Vec::new();
    for load_in in ["8bit", "4bit", "4bit --bnb-4bit-quant-type fp4", "as-is"] {
        let line = |more: &str| format!("{DROPOUT} --overwrite-output-dir --load-in {load_in} {more}");
        let whole = scratch.trained("out", &line("--per-device-train-batch-size 8 --threads 1"));
        let cut = "--per-device-train-batch-size 2 --gradient-accumulation-steps 4 --threads 2 --activation-memory 0";
        assert_eq!(scratch.trained("out", &line(cut)), whole, "{load_in}");
        assert!(!seen.contains(&whole), "{load_in} does something");
        seen.push(whole);
    }
    let line = format!("{DROPOUT} --per-device-train-batch-size 8");
    assert_eq!(scratch.trained("plain", &line), seen[3], "a file of floats is trained on as it is");
}

/// Other rows in the same step change a sequence's part by nothing, so the order within a step is all that counts.
#[test]
fn rows_without_a_label_change_nothing_but_the_tokens() {
    let scratch = Scratch::new();
    let mut all = rows(8);
    all[5].1.fill(-100);
    scratch.tokens("rows.parquet", &all);
    let line = "--no-shuffle --per-device-train-batch-size 8 --max-steps 1 --learning-rate 1e-2";
    scratch.train("with", line);
    all.remove(5);
    scratch.tokens("rows.parquet", &all);
    scratch.train("without", &line.replace("size 8", "size 7"));
    let losses = (scratch.series("with", "loss")[0], scratch.series("without", "loss")[0]);
    assert!((losses.0 - losses.1).abs() < 1e-6, "one normaliser: {losses:?}");
}

/// Packed, grouped and neither: each repeats with other threads, cuts and memory, and after stops at every other step.
#[test]
fn any_choice_of_rows_repeats_after_any_number_of_stops() {
    let scratch = Scratch::with_rows();
    for (name, choice) in [("plain", ""), ("packed", "--packing --max-seq-length 32"), ("grouped", "--group-by-length")]
    {
        let line = |batch: u32, accumulation: u32, more: &str| {
            format!(
                "{DROPOUT} {choice} --per-device-train-batch-size {batch} --gradient-accumulation-steps {accumulation} \
                 --max-steps 7 --save-steps 1 {more}"
            )
        };
        let whole = scratch.trained(&format!("{name}-whole"), &line(4, 1, "--threads 1"));
        let cut = scratch.trained(&format!("{name}-cut"), &line(1, 4, "--threads 2 --activation-memory 0"));
        assert_eq!(cut, whole, "{name}");
        let stops = format!("{name}-stops");
        for step in [1, 3, 4, 7] {
            // Laid out for seven steps each time, and killed as it were after `step`.
            let resume = if step > 1 { "--resume-from-checkpoint" } else { "" };
            scratch.train(&stops, &line(2, 2, resume));
            for later in step + 1..=7 {
                fs::remove_dir_all(scratch.path(&stops).join(format!("checkpoint-{later}"))).unwrap();
            }
            fs::remove_file(scratch.path(&stops).join("adapter_model.safetensors")).unwrap();
        }
        assert_eq!(scratch.trained(&stops, &line(4, 1, "--resume-from-checkpoint")), whole, "{name}");
    }
}

#[test]
fn rows_from_a_pipe_or_a_path() {
    let scratch = Scratch::with_rows();
    let path = scratch.trained("path", DROPOUT);
    let rows = fs::File::open(scratch.path("rows.parquet")).unwrap();
    let line = with_base(&format!("--train - --output-dir pipe {DROPOUT}"));
    let status = scratch.command(&line).stdin(rows).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    assert_eq!(scratch.adapter("pipe"), path);
}
