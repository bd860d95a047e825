//! `--accelerate-config`: the files of `testdata/accelerate`, at the ranks that they name, train as the arguments do
//! that they stand for.

use std::fs;
use std::path::Path;

use crate::support::{Scratch, stderr, with_base};

/// With `rows.parquet`, and the files as `files/`.
fn prepared() -> Scratch {
    let scratch = Scratch::with_rows();
    fs::create_dir(scratch.path("files")).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/accelerate");
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), scratch.path("files").join(entry.file_name())).unwrap();
    }
    scratch
}

/// Where the values of a run come from.
fn origins(scratch: &Scratch, out: &str, keys: &[&str]) {
    let run = scratch.json(&format!("{out}/run.json"));
    for key in keys {
        assert_eq!(run["origins"][*key], "accelerate", "{key}");
    }
}

#[test]
fn ranks_on_cpus() {
    let scratch = prepared();
    let told = scratch.train("two", "--accelerate-config files/multi_cpu.yaml --per-device-train-batch-size 4");
    assert!(told.contains("2 ranks as threads"), "{told}");
    assert!(
        told.contains(
            "tpu_env [], tpu_use_cluster false, tpu_use_sudo false: accepted, without effect: there are no TPUs"
        ),
        "{told}"
    );
    assert!(scratch.adapter("two") == scratch.trained("one", "--per-device-train-batch-size 8"));
    origins(&scratch, "two", &["nproc_per_node", "device", "precision"]);
    let run = scratch.json("two/run.json");
    assert_eq!((&run["world_size"], &run["precision"]), (&2.into(), &"f32".into()));
}

#[test]
fn the_third_stage_with_everything_on_disk() {
    let scratch = prepared();
    let told = scratch.train("four", "--accelerate-config files/zero3.yaml --per-device-train-batch-size 1");
    assert!(told.contains("on each of 4 ranks") && !told.contains("and 0.000 MB on disk"), "{told}");
    assert!(told.contains("ft-merge --zero3-save-16bit-model"), "{told}");
    let one = scratch.trained("one", "--per-device-train-batch-size 4 --gradient-accumulation-steps 2 --bf16");
    assert!(scratch.adapter("four") == one);
    origins(&scratch, "four", &["sharding", "offload_param_device", "offload_optimizer_device", "precision"]);
    origins(&scratch, "four", &["gradient_accumulation_steps", "max_grad_norm", "nproc_per_node"]);
    let run = scratch.run("--verify four --model MODEL");
    assert!(run.status.success(), "{}", stderr(&run));
}

#[test]
fn deepspeeds_own_file() {
    let scratch = prepared();
    let told = scratch.train("two", "--accelerate-config files/zero2_file.yaml --per-device-train-batch-size 2");
    assert!(told.contains("the loss scale begins at 65536"), "{told}");
    let line = "--fp16 --max-grad-norm 0.5 --adam-beta2 0.99 --adam-epsilon 1e-7 --warmup-steps 2 \
                --per-device-train-batch-size 12";
    assert!(scratch.adapter("two") == scratch.trained("one", line));
    origins(&scratch, "two", &["adam_beta2", "warmup_steps", "lr_scheduler_type", "optim", "sharding"]);
    let run = scratch.json("two/run.json");
    assert_eq!(
        (&run["origins"]["learning_rate"], &run["configuration"]["sharding"]),
        (&"flag".into(), &"zero2".into())
    );
}

#[test]
fn fully_sharded_in_both_versions() {
    let scratch = prepared();
    let told = scratch.train("one", "--per-device-train-batch-size 8 --bf16");
    assert!(told.contains("bf16: on a CPU every product and sum is f32"), "{told}");
    let told = scratch.train("first", "--accelerate-config files/fsdp1.yaml --per-device-train-batch-size 4");
    assert!(told.contains("3 of 3 layers are computed twice"), "{told}");
    scratch.train("second", "--accelerate-config files/fsdp2.yaml --per-device-train-batch-size 2");
    for (out, ranks, kept) in [("first", 2, true), ("second", 4, false)] {
        assert!(scratch.adapter(out) == scratch.adapter("one"), "{out}");
        let run = scratch.json(&format!("{out}/run.json"));
        assert_eq!((&run["world_size"], &run["configuration"]["sharding"]), (&ranks.into(), &"zero3".into()));
        assert_eq!(run["configuration"]["fsdp_reshard_after_forward"], kept);
    }
}

#[test]
fn what_does_not_agree_is_refused_with_both_values() {
    let scratch = prepared();
    for (line, expected) in [
        ("zero3.yaml --gradient-accumulation-steps 4", &["gradient_accumulation_steps 2", "steps 4 (flag)"][..]),
        ("zero3.yaml --max-grad-norm 0.3", &["gradient_clipping 1.0", "max_grad_norm 0.3"]),
        ("zero3.yaml --fp16", &["mixed_precision bf16", "fp16 true is given"]),
        ("zero3.yaml --precision f32", &["mixed_precision bf16", "precision f32 is given"]),
        ("multi_cpu.yaml --bf16", &["mixed_precision no", "bf16 true is given"]),
        ("multi_cpu.yaml --nproc-per-node 4", &["num_processes 2", "nproc_per_node 4"]),
        ("multi_cpu.yaml --config recipe.yaml", &["num_processes 2", "nproc_per_node 3 (file)"]),
        ("zero2_file.yaml --learning-rate 1e-3", &["optimizer.params.lr 0.01", "learning_rate 0.001"]),
        ("zero2_file.yaml --per-device-train-batch-size 4", &["train_micro_batch_size_per_gpu 2", "batch_size 4"]),
    ] {
        fs::write(scratch.path("recipe.yaml"), "nproc_per_node: 3\n").unwrap();
        let told =
            scratch.failure(&format!("--accelerate-config files/{line} --model MODEL --train rows.parquet -o out"), 2);
        assert!(
            expected.iter().all(|words| told.contains(words)) && told.contains("they must agree"),
            "{line}: {told}"
        );
    }
    // What agrees may be said twice, and what need not agree is the flag's.
    let line = "--accelerate-config files/zero3.yaml --bf16 --max-grad-norm 1 --gradient-accumulation-steps 2 \
                --sharding zero1 --offload-param-device none --max-steps 1";
    scratch.train("out", line);
    let json = fs::read_to_string(scratch.path("files/zero2.json")).unwrap();
    fs::write(scratch.path("files/zero2.json"), json.replace("\"train_batch_size\": 12", "\"train_batch_size\": 16"))
        .unwrap();
    let line = with_base("-o x --accelerate-config files/zero2_file.yaml --per-device-train-batch-size 2");
    let told = scratch.failure(&line, 2);
    assert!(
        told.contains(
            "train_batch_size 16 must be per_device_train_batch_size 2 × gradient_accumulation_steps 3 × 2 ranks = 12"
        ),
        "{told}"
    );
}

#[test]
fn ranks_that_a_launcher_has_started_are_counted() {
    let scratch = prepared();
    let line = with_base("--output-dir out --accelerate-config files/zero3.yaml");
    let mut command = scratch.command(&line);
    command.env("RANK", "0").env("WORLD_SIZE", "2").env("MASTER_ADDR", "127.0.0.1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("num_processes is 4, but 2 ranks have been launched"), "{}", stderr(&output));
}

#[test]
fn it_is_printed_with_its_origin_and_what_is_printed_says_the_same() {
    let scratch = prepared();
    let line = with_base("--output-dir out --accelerate-config files/fsdp2.yaml --per-device-train-batch-size 2");
    let output = scratch.run(&format!("{line} --print-config"));
    let printed = String::from_utf8(output.stdout).unwrap();
    let of = |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        of("precision: ").starts_with("precision: \"bf16\"") && of("precision: ").ends_with("# accelerate"),
        "{printed}"
    );
    assert!(!printed.contains("accelerate_config"), "{printed}");
    fs::write(scratch.path("printed.yaml"), &printed).unwrap();
    let output = scratch.run("--config printed.yaml");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        scratch.trained("again", "--accelerate-config files/fsdp2.yaml --per-device-train-batch-size 2")
            == scratch.adapter("out")
    );
    let told = scratch.failure("--accelerate-config files/none.yaml", 2);
    assert!(told.contains("cannot read 'files/none.yaml'"), "{told}");
}
