//! Several ranks, as threads of one process, give the adapter of one, bit by bit.

use std::path::Path;
use std::process::Stdio;

use crate::support::{Scratch, rows, stderr, with_base};

/// With dropout, whose masks must not depend on who draws them.
const LINE: &str = "--lora-dropout 0.2 --max-steps 5 --logging-steps 1";

/// A step of 12 sequences, dealt out to `world` ranks.
fn shared(world: u32, sharding: &str) -> String {
    let batch = 12 / world;
    format!("{LINE} --nproc-per-node {world} --sharding {sharding} --per-device-train-batch-size {batch}")
}

#[test]
fn every_sharding_on_any_number_of_ranks() {
    let scratch = Scratch::with_rows();
    // 18 rows: the second step of an epoch has only 6.
    let one = scratch.trained("one", &shared(1, "none"));
    let (losses, norms) = (scratch.series("one", "loss"), scratch.series("one", "grad_norm"));
    for world in [2, 3, 4, 6] {
        for sharding in ["none", "zero1", "zero2", "zero3"] {
            let out = format!("{sharding}-{world}");
            assert!(scratch.trained(&out, &shared(world, sharding)) == one, "{out}");
            assert_eq!(scratch.series(&out, "loss"), losses, "{out}");
            assert_eq!(scratch.series(&out, "grad_norm"), norms, "{out}");
        }
    }
}

#[test]
fn more_ranks_than_sequences() {
    let scratch = Scratch::with_rows();
    let one = scratch.trained("one", "--per-device-train-batch-size 8 --max-steps 3");
    for sharding in ["none", "zero2", "fsdp"] {
        let line = format!("--per-device-train-batch-size 1 --nproc-per-node 8 --max-steps 3 --sharding {sharding}");
        assert!(scratch.trained(sharding, &line) == one, "{sharding}");
    }
}

#[test]
fn frozen_weights_in_few_bits_are_shared_as_they_are() {
    let scratch = Scratch::with_rows();
    for bits in ["bf16", "f16", "8bit", "4bit", "as-is"] {
        let one = scratch.trained(&format!("one-{bits}"), &format!("{} --load-in {bits}", shared(1, "none")));
        let line = format!("{} --load-in {bits}", shared(3, "zero3"));
        assert!(scratch.trained(&format!("three-{bits}"), &line) == one, "{bits}");
        let kept = format!("{line} --fsdp-reshard-after-forward false --gradient-checkpointing");
        assert!(scratch.trained(&format!("kept-{bits}"), &kept) == one, "{bits}");
    }
}

#[test]
fn a_vocabulary_in_blocks_and_adapters_of_it_are_shared_too() {
    let scratch = Scratch::with_rows();
    // The model knows 96 tokens.
    let mut few = rows(18);
    for (ids, labels) in &mut few {
        ids.iter_mut().for_each(|id| *id %= 96);
        labels.iter_mut().filter(|label| **label >= 0).for_each(|label| *label %= 96);
    }
    scratch.tokens("few.parquet", &few);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/gguf/llama3_rope-s5.q8_0.gguf");
    for targets in ["q_proj,v_proj", "embed_tokens,lm_head,o_proj"] {
        let model = model.display();
        let line = format!("--model {model} --train few.parquet --load-in as-is --target-modules {targets}");
        let one = scratch.trained(&format!("one-{targets}"), &format!("{} {line}", shared(1, "none")));
        for sharding in ["zero1", "zero3"] {
            let out = format!("three-{sharding}-{targets}");
            assert!(scratch.trained(&out, &format!("{} {line}", shared(3, sharding))) == one, "{out}");
        }
    }
}

#[test]
fn optimizers_share_their_states() {
    let scratch = Scratch::with_rows();
    for optim in ["adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion", "sgd"] {
        let line = format!("--optim {optim} --lora-r 64 --save-steps 5");
        let one = scratch.trained(&format!("one-{optim}"), &format!("{} {line}", shared(1, "none")));
        assert!(
            scratch.trained(&format!("three-{optim}"), &format!("{} {line}", shared(3, "zero1"))) == one,
            "{optim}"
        );
        // The checkpoint is one, and whole.
        let state =
            |out: &str| std::fs::read(scratch.path(&format!("{out}-{optim}/checkpoint-5/optimizer.safetensors")));
        assert!(state("one").unwrap() == state("three").unwrap(), "{optim}");
    }
}

#[test]
fn a_resume_on_another_number_of_ranks() {
    let scratch = Scratch::with_rows();
    let one = scratch.trained("one", &format!("{} --save-steps 2", shared(1, "none")));
    for (first, then) in [((4, "zero3"), (2, "zero1")), ((2, "none"), (3, "zero3")), ((1, "none"), (4, "zero2"))] {
        let out = format!("{}-{}", first.0, then.0);
        scratch.train(&out, &format!("{} --save-steps 2", shared(first.0, first.1)));
        std::fs::remove_dir_all(scratch.path(&format!("{out}/checkpoint-4"))).unwrap();
        std::fs::remove_dir_all(scratch.path(&format!("{out}/checkpoint-5"))).unwrap();
        let line = format!("{} --save-steps 2 --resume-from-checkpoint", shared(then.0, then.1));
        assert!(scratch.trained(&out, &line) == one, "{out}");
    }
}

#[test]
fn evaluation_early_stopping_and_the_best_ones() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(7));
    let line = "--eval held.parquet --eval-steps 1 --save-steps 1 --save-best-k 2 --load-best-model-at-end \
                --early-stopping-patience 2 --learning-rate 0.3 --max-steps 8 --logging-steps 1";
    let shared = |world: u32, sharding: &str| {
        format!("{line} --nproc-per-node {world} --sharding {sharding} --per-device-train-batch-size {}", 12 / world)
    };
    let one = scratch.trained("one", &shared(1, "none"));
    for (world, sharding) in [(2, "zero3"), (4, "none")] {
        let out = format!("{sharding}-{world}");
        assert!(scratch.trained(&out, &shared(world, sharding)) == one, "{out}");
        assert_eq!(scratch.series(&out, "eval_loss"), scratch.series("one", "eval_loss"));
        assert_eq!(scratch.json(&format!("{out}/best_checkpoints.json")), scratch.json("one/best_checkpoints.json"));
    }
}

#[test]
fn packing_grouping_and_a_pipe() {
    let scratch = Scratch::with_rows();
    for line in ["--packing --max-seq-length 128", "--group-by-length", "--use-dora", "--init-lora-weights pissa"] {
        let name = line.split_whitespace().next().unwrap().trim_start_matches('-').to_owned();
        let one = scratch.trained(&format!("one-{name}"), &format!("{} {line}", shared(1, "none")));
        assert!(scratch.trained(&format!("two-{name}"), &format!("{} {line}", shared(2, "zero3"))) == one, "{line}");
    }
    let one = scratch.trained("one", &shared(1, "none"));
    let piped = with_base(&format!("--output-dir pipe {}", shared(3, "zero2"))).replace("rows.parquet", "-");
    let mut command = scratch.command(&piped);
    let output = command.stdin(std::fs::File::open(scratch.path("rows.parquet")).unwrap()).stderr(Stdio::piped());
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(scratch.adapter("pipe") == one);
}

#[test]
fn a_fault_names_its_rank_and_a_verification_runs_on_one() {
    let scratch = Scratch::with_rows();
    std::fs::create_dir(scratch.path("nowhere")).unwrap();
    let line = with_base(&format!("--output-dir out {} --sharding zero3 --model nowhere", shared(3, "zero3")));
    let line = line.replace("--model MODEL", "").replace("--sharding zero3 --model", "--model");
    let told = scratch.failure(&line, 1);
    assert!(told.starts_with("rank ") && told.contains("nowhere"), "{told}");
    scratch.train("run", &format!("{} --save-steps 2", shared(3, "zero2")));
    let output = scratch.run("--verify run --model MODEL");
    assert!(output.status.success(), "{}", stderr(&output));
}
