//! `--precision`, the loss scale of fp16, and what lies on disk.

use std::fs;

use crate::support::{Scratch, rewrite_safetensors, stderr, with_base};

/// What `scaler.json` says of the loss scale.
fn loss_scale(scratch: &Scratch, file: &str) -> (f64, u64) {
    let scale = &scratch.json(file);
    (scale["scale"].as_f64().unwrap(), scale["skipped"].as_u64().unwrap())
}

#[test]
fn names_and_short_forms_mean_the_same() {
    let scratch = Scratch::with_rows();
    let plain = scratch.trained("plain", "");
    for (i, line) in
        ["--precision f32", "--mixed-precision no", "--precision tf32", "--bf16 false --tf32 true"].iter().enumerate()
    {
        assert!(scratch.trained(&format!("plain-{i}"), line) == plain, "{line}");
    }
    for (name, storage, forms) in [
        ("bf16", "bf16", ["--precision bf16", "--bf16 true", "--mixed_precision bfloat16"]),
        ("fp16", "f16", ["--precision fp16", "--fp16", "--fp16 true --precision auto"]),
    ] {
        // With nothing out of range the scale of the loss, a power of two, changes no bit.
        let stored = scratch.trained(storage, &format!("--load-in {storage}"));
        assert!(stored != plain);
        for (i, form) in forms.iter().enumerate() {
            let out = format!("{name}-{i}");
            let told = scratch.train(&out, form);
            assert!(scratch.adapter(&out) == stored, "{form}");
            assert!(told.contains(&format!("{name}: on a CPU every product and sum is f32")), "{told}");
            assert_eq!(scratch.json(&format!("{out}/run.json"))["precision"], name);
        }
    }
    assert_eq!(loss_scale(&scratch, "fp16-0/scaler.json"), (65536.0, 0));
    assert!(!scratch.path("bf16-0/scaler.json").exists());
    let told = scratch.failure(&with_base("-o x --precision bf16 --fp16"), 2);
    assert!(told.contains("--precision bf16 and --fp16 exclude each other"), "{told}");
}

/// An adapter whose A is so large that B's gradient, and not yet the loss, is out of f32's range once it is scaled; with
/// a learning rate that makes little of it.
fn prepared(scratch: &Scratch) -> &'static str {
    scratch.train("first", "--max-steps 1 --learning-rate 0");
    rewrite_safetensors(&scratch.path("first/adapter_model.safetensors"), |header, data| {
        for (_, tensor) in header.iter().filter(|(name, _)| name.contains("lora_A")) {
            let at = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
            for value in data[at(0)..at(1)].chunks_exact_mut(4) {
                let number = f32::from_le_bytes(value.try_into().unwrap()) * 1e35;
                value.copy_from_slice(&number.to_le_bytes());
            }
        }
    });
    "--model MODEL --train rows.parquet --init-adapter first --learning-rate 1e-36 --max-steps 12 --logging-steps 1 \
     --save-steps 1"
}

#[test]
fn a_step_out_of_range_is_left_out_and_the_scale_halved() {
    let scratch = Scratch::with_rows();
    let line = prepared(&scratch);
    let run = |out: &str, more: &str| {
        let output = scratch.run(&format!("{line} --fp16 --output-dir {out} {more}"));
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let told = run("one", "--per-device-train-batch-size 4");
    assert!(told.contains("it is left out, and the loss scale is now 32768"), "{told}");
    let (scale, skipped) = loss_scale(&scratch, "one/scaler.json");
    assert!(skipped > 0 && skipped < 10 && scale == 65536.0 / 2f64.powi(skipped as i32), "{scale} after {skipped}");
    assert_eq!(scratch.series("one", "grad_norm").len() as u64, 12 - skipped, "what is left out is not logged");
    let before = fs::read(scratch.path("first/adapter_model.safetensors")).unwrap();
    assert!(scratch.adapter("one") != before, "the other steps were taken");

    // Without a scale nothing is out of range.
    let output = scratch.run(&format!("{line} --load-in f16 --output-dir plain"));
    assert!(output.status.success(), "{}", stderr(&output));

    // It is saved and resumed, right after a step that was left out and later.
    for step in [1, 7] {
        let out = format!("from-{step}");
        run(&out, "--per-device-train-batch-size 4");
        for later in step + 1..=12 {
            fs::remove_dir_all(scratch.path(&format!("{out}/checkpoint-{later}"))).unwrap();
        }
        let saved = |out: &str| loss_scale(&scratch, &format!("{out}/checkpoint-{step}/scaler.json"));
        assert_eq!(saved(&out), saved("one"));
        assert!(step > 1 || saved(&out) == (32768.0, 1));
        run(&out, "--per-device-train-batch-size 4 --resume-from-checkpoint");
        assert!(scratch.adapter(&out) == scratch.adapter("one"), "{step}");
        assert_eq!(loss_scale(&scratch, &format!("{out}/scaler.json")), (scale, skipped));
    }
    // All ranks leave the same steps out.
    for (ranks, sharding) in [(2, "none"), (4, "zero2"), (2, "zero3")] {
        let out = format!("{sharding}-{ranks}");
        run(
            &out,
            &format!("--nproc-per-node {ranks} --sharding {sharding} --per-device-train-batch-size {}", 4 / ranks),
        );
        assert!(scratch.adapter(&out) == scratch.adapter("one"), "{out}");
        assert_eq!(loss_scale(&scratch, &format!("{out}/scaler.json")), (scale, skipped));
    }
}

/// Beyond the smallest scale the fault is the run's.
#[test]
fn a_fault_that_no_scale_cures_ends_the_run() {
    let scratch = Scratch::with_rows();
    let line = "--fp16 --learning-rate 1e30 --max-grad-norm 0 --max-steps 100";
    let told = scratch.failure(&with_base(&format!("-o out {line}")), 1);
    assert!(told.starts_with("step ") && told.contains("not finite"), "{told}");
}

#[test]
fn moments_and_frozen_weights_on_disk_change_no_bit() {
    let scratch = Scratch::with_rows();
    for (optim, paged) in [("adamw_torch", "paged_adamw_32bit"), ("adamw_8bit", "paged_adamw_8bit"), ("lion", "lion")] {
        let line = format!("--lora-r 64 --optim {optim} --save-steps 6");
        let memory = scratch.trained(&format!("memory-{optim}"), &line);
        for place in ["disk", "nvme", "cpu"] {
            let out = format!("{place}-{optim}");
            let told = scratch.train(&out, &format!("{line} --offload-optimizer-device {place}"));
            assert!(scratch.adapter(&out) == memory, "{out}");
            assert_eq!(told.contains("--offload-optimizer-device cpu is without effect"), place == "cpu", "{told}");
        }
        let line = format!("{} --resume-from-checkpoint --max-steps 8", line.replace(optim, paged));
        scratch.train(&format!("disk-{optim}"), &line);
    }
    let told = scratch.train("host", "--offload-param-device cpu");
    assert!(told.contains("--offload-param-device cpu is without effect"), "{told}");
    assert!(scratch.adapter("host") == scratch.trained("plain", ""));
    let told = scratch.failure(&with_base("-o x --optim sgd --offload-optimizer-device disk"), 2);
    assert!(told.contains("--optim sgd has no moments in a file"), "{told}");
}

#[test]
fn a_ranks_own_part_lies_on_disk() {
    let scratch = Scratch::with_rows();
    for load_in in ["f32", "bf16", "4bit", "as-is"] {
        let one = scratch.trained(&format!("one-{load_in}"), &format!("--load-in {load_in}"));
        for (ranks, place) in [(2, "disk"), (4, "nvme")] {
            let line = format!(
                "--load-in {load_in} --nproc-per-node {ranks} --sharding zero3 --per-device-train-batch-size {} \
                 --offload-param-device",
                4 / ranks
            );
            let out = format!("{ranks}-{load_in}");
            let told = scratch.train(&out, &format!("{line} {place}"));
            assert!(scratch.adapter(&out) == one, "{out}");
            let memory = scratch.train(&format!("memory-{out}"), &format!("{line} none"));
            assert!(memory.contains(" MB in memory and 0.000 MB on disk"), "{memory}");
            assert!(held(&told) * 4.0 < held(&memory), "{told}\n{memory}");
        }
    }
}

/// The megabytes in memory that a sharded run tells.
fn held(told: &str) -> f64 {
    let line = told.lines().find(|line| line.contains("MB in memory")).unwrap();
    let before = line.split(" MB in memory").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}
