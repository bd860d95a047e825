use std::fs;

use tempfile::TempDir;

use super::*;

/// What a file of this text says, for a process that is one of `launched` ranks; `ds.json` lies beside it.
fn read_with(text: &str, json: &str, launched: Option<usize>) -> Result<Accelerate, String> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ds.json"), json).unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, text).unwrap();
    Accelerate::read(&path, launched)
}

fn words(text: &str) -> Vec<String> {
    read_with(text, "{}", None).unwrap().words().collect()
}

fn fault(text: &str) -> String {
    read_with(text, "{}", None).unwrap_err()
}

fn of_json(json: &str) -> Result<Accelerate, String> {
    read_with("distributed_type: DEEPSPEED\ndeepspeed_config: {deepspeed_config_file: ds.json}\n", json, None)
}

#[test]
fn kinds_of_processes() {
    assert_eq!(words("distributed_type: 'NO'\nnum_processes: 1\n"), ["--nproc-per-node=1"]);
    assert_eq!(words("distributed_type: NO\nmixed_precision: no\n"), ["--precision=f32"]);
    assert_eq!(
        words("distributed_type: MULTI_CPU\nnum_processes: 3\nmixed_precision: bf16\n"),
        ["--nproc-per-node=3", "--device=cpu", "--precision=bf16"]
    );
    assert_eq!(words("distributed_type: MULTI_GPU\ngpu_ids: '1'\n"), ["--device=cuda:1"]);
    assert_eq!(words("distributed_type: MULTI_GPU\nfp16: true\n"), ["--precision=fp16"]);
    assert_eq!(words("distributed_type: DEEPSPEED\n"), ["--sharding=zero2"]);
    for (text, expected) in [
        ("num_processes: 1\n", "distributed_type is missing"),
        ("distributed_type: XLA\n", "distributed_type XLA is not implemented"),
        ("distributed_type: NO\nnum_processes: 2\n", "NO is one process, found num_processes 2"),
        ("distributed_type: MULTI_GPU\nmixed_precision: fp8\n", "mixed_precision fp8 is not implemented"),
        ("distributed_type: MULTI_GPU\ngpu_ids: 0,1\n", "set CUDA_VISIBLE_DEVICES=0,1"),
        ("distributed_type: MULTI_GPU\nnum_processes: 8\nnum_machines: 2\n", "torchrun --no-python, mpirun or srun"),
        ("distributed_type: MULTI_GPU\nnum_processes: many\n", "num_processes is 'many', expected a number"),
        ("distributed_type: MULTI_GPU\nfsdp_config: {fsdp_version: 2}\n", "fsdp_config needs distributed_type FSDP"),
        ("distributed_type: MULTI_GPU\nmegatron_lm_config: {a: 1}\n", "megatron_lm_config {\"a\":1} is refused"),
        ("distributed_type: MULTI_GPU\nnum_proceses: 2\n", "unknown key 'num_proceses'"),
        ("distributed_type: MULTI_GPU\ndebug: 1\ndebug: 2\n", "'debug' stands there twice"),
        ("- 1\n", "expected names and values"),
        (
            "compute_environment: AMAZON_SAGEMAKER\ndistributed_type: NO\n",
            "compute_environment AMAZON_SAGEMAKER is refused",
        ),
        ("distributed_type: MULTI_GPU\nuse_cpu: maybe\n", "use_cpu is 'maybe', expected true or false"),
    ] {
        let told = fault(text);
        assert!(told.contains(expected) && told.contains("a.yaml'"), "{text}: {told}");
    }
}

#[test]
fn ranks_that_were_launched_must_be_those_of_the_file() {
    let text = "distributed_type: MULTI_GPU\nnum_processes: 8\nnum_machines: 2\n";
    assert_eq!(read_with(text, "{}", Some(8)).unwrap().words().count(), 0, "the launcher has started them");
    let told = read_with(text, "{}", Some(4)).unwrap_err();
    assert!(told.contains("num_processes is 8, but 4 ranks have been launched"), "{told}");
    assert_eq!(words("distributed_type: MULTI_GPU\nnum_processes: -1\n").len(), 0, "whatever a scheduler says");
}

#[test]
fn what_nothing_follows_from_is_told_a_line_a_reason() {
    let text = "distributed_type: MULTI_GPU\ntpu_env: []\ntpu_use_sudo: false\ndebug: true\ngpu_ids: all\n";
    let notes = read_with(text, "{}", None).unwrap().notes();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(
        notes[1].contains("tpu_env [], tpu_use_sudo false: accepted, without effect: there are no TPUs"),
        "{notes:?}"
    );
    assert!(fault("distributed_type: MULTI_GPU\ntpu_use_sudo: true\n").contains("tpu_use_sudo true is refused"));
}

#[test]
fn deepspeeds_part() {
    let part = |keys: &str| format!("distributed_type: DEEPSPEED\ndeepspeed_config: {{{keys}}}\n");
    assert_eq!(
        words(&part(
            "zero_stage: 3, offload_optimizer_device: nvme, offload_param_device: cpu, gradient_clipping: 0.5"
        )),
        ["--sharding=zero3", "--offload-optimizer-device=disk", "--offload-param-device=cpu", "--max-grad-norm=0.5"]
    );
    assert_eq!(words(&part("zero_stage: 0, gradient_accumulation_steps: auto")), ["--sharding=none"]);
    let notes = read_with(&part("zero3_save_16bit_model: true, zero3_init_flag: true"), "{}", None).unwrap().notes();
    assert!(notes.iter().any(|note| note.contains("ft-merge --zero3-save-16bit-model")), "{notes:?}");
    for (keys, expected) in [
        ("zero_stage: 4", "deepspeed_config.zero_stage is 4, expected 0, 1, 2 or 3"),
        ("offload_param_device: tape", "expected none, cpu or nvme"),
        ("zero_stages: 3", "unknown key 'deepspeed_config.zero_stages'"),
        ("deepspeed_config_file: no.json", "cannot read it"),
        ("gradient_clipping: [1]", "expected one value, found a list of 1"),
    ] {
        let told = fault(&part(keys));
        assert!(told.contains(expected), "{keys}: {told}");
    }
}

#[test]
fn deepspeeds_own_file() {
    let found = |json: &str| of_json(json).unwrap().words().collect::<Vec<_>>();
    assert_eq!(
        found(
            r#"{"zero_optimization": {"stage": 3, "cpu_offload": true, "offload_param": {"device": "nvme"}},
                  "bf16": {"enabled": true}, "fp16": {"enabled": false}}"#
        ),
        [
            "--sharding=zero3",
            "--offload-optimizer-device=cpu",
            "--offload-param-device=disk",
            "--precision=bf16",
            "--max-grad-norm=0"
        ]
    );
    assert_eq!(
        found(r#"{"fp16": {"enabled": false}, "gradient_clipping": 0.5}"#),
        ["--sharding=none", "--precision=f32", "--max-grad-norm=0.5"]
    );
    assert_eq!(
        found(r#"{"fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"}, "gradient_clipping": "auto"}"#),
        ["--sharding=none"]
    );
    assert_eq!(
        found(
            r#"{"optimizer": {"type": "Adam", "params": {"lr": "auto", "betas": "auto", "eps": 1e-8, "torch_adam": true}},
                  "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.001, "warmup_type": "linear"}}}"#
        )[2..],
        [
            "--optim=adamw_torch",
            "--adam-epsilon=0.00000001",
            "--lr-scheduler-type=constant_with_warmup",
            "--warmup-steps=1000",
            "--learning-rate=0.001"
        ]
    );
    for (json, expected) in [
        (
            r#"{"fp16": {"enabled": true, "loss_scale": 128}}"#,
            "fp16.loss_scale 128 is refused: the loss scale is dynamic",
        ),
        (r#"{"fp16": {"enabled": true}, "bf16": {"enabled": true}}"#, "contradict each other"),
        (r#"{"optimizer": {"type": "Lamb"}}"#, "Lamb is not implemented"),
        (r#"{"optimizer": {"params": {"betas": [0.9]}}}"#, "expected a list of two numbers"),
        (r#"{"scheduler": {"type": "OneCycle"}}"#, "OneCycle is not implemented"),
        (r#"{"scheduler": {"params": {"warmup_type": "cubic"}}}"#, "warmup_type is cubic, expected log or linear"),
        (r#"{"optimizer": {"params": {"lr": 1e-3}}, "scheduler": {"params": {"warmup_max_lr": 1e-4}}}"#, "contradict"),
        (r#"{"zero_optimization": {"stage": 3, "zero_quantized_weights": true}}"#, "use --load-in 8bit or 4bit"),
        (r#"{"zero_optimization": {"stag": 3}}"#, "unknown key 'zero_optimization.stag'"),
        (r#"{"elasticity": {"enabled": true}}"#, "elasticity"),
        ("{", "EOF"),
    ] {
        let told = of_json(json).unwrap_err();
        assert!(told.contains(expected) && told.contains("ds.json'"), "{json}: {told}");
    }
    of_json(r#"{"flops_profiler": {"enabled": true}, "elasticity": {"enabled": false}}"#).unwrap();
}

#[test]
fn what_deepspeeds_own_file_does_not_say_is_as_deepspeed_has_it() {
    let found = |json: &str| of_json(json).unwrap().words().skip(1).collect::<Vec<_>>();
    assert_eq!(found("{}"), ["--max-grad-norm=0"]);
    for (kind, schedule) in [("WarmupLR", "constant_with_log_warmup"), ("WarmupDecayLR", "linear_with_log_warmup")] {
        for params in ["{}", r#"{"warmup_type": "log"}"#, r#"{"warmup_type": null}"#] {
            let json = format!(r#"{{"scheduler": {{"type": "{kind}", "params": {params}}}}}"#);
            let schedule = format!("--lr-scheduler-type={schedule}");
            assert_eq!(found(&json), ["--max-grad-norm=0", &schedule, "--warmup-steps=1000"], "{json}");
        }
    }
    let auto = r#"{"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}}}"#;
    assert_eq!(found(auto), ["--max-grad-norm=0", "--lr-scheduler-type=constant_with_log_warmup"]);
    // accelerate itself takes auto, which is ours, where its own part has no clipping.
    assert_eq!(words("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 2}\n"), ["--sharding=zero2"]);
}

#[test]
fn both_versions_of_fsdp() {
    let part = |keys: &str| format!("distributed_type: FSDP\nfsdp_config: {{{keys}}}\n");
    for (keys, expected) in [
        ("fsdp_sharding_strategy: FULL_SHARD", &["--sharding=zero3", "--fsdp-reshard-after-forward=true"][..]),
        ("fsdp_sharding_strategy: 1", &["--sharding=zero3", "--fsdp-reshard-after-forward=true"]),
        ("fsdp_reshard_after_forward: SHARD_GRAD_OP, fsdp_version: 1", &["--sharding=zero2"]),
        ("fsdp_sharding_strategy: 3", &["--sharding=none"]),
        ("fsdp_version: 2", &["--sharding=zero3"]),
        (
            "fsdp_version: 2, fsdp_reshard_after_forward: false",
            &["--sharding=zero3", "--fsdp-reshard-after-forward=false"],
        ),
        (
            "fsdp_version: 2, fsdp_offload_params: true, fsdp_activation_checkpointing: true",
            &[
                "--sharding=zero3",
                "--offload-param-device=cpu",
                "--offload-optimizer-device=cpu",
                "--gradient-checkpointing=true",
            ],
        ),
    ] {
        assert_eq!(words(&part(keys)), expected, "{keys}");
    }
    for (keys, expected) in [
        ("fsdp_sharding_strategy: HYBRID_SHARD", "HYBRID_SHARD is not implemented"),
        ("fsdp_version: 3", "expected 1 or 2"),
        ("fsdp_version: 2, fsdp_sharding_strategy: 1", "is of fsdp_version 1"),
        ("fsdp_version: 2, fsdp_reshard_after_forward: FULL_SHARD", "expected true or false with fsdp_version 2"),
        ("fsdp_wrap: x", "unknown key 'fsdp_config.fsdp_wrap'"),
    ] {
        let told = fault(&part(keys));
        assert!(told.contains(expected), "{keys}: {told}");
    }
}
