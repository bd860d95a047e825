//! Mixtures of experts: the same bits however a step is cut, and what adapters of experts cannot be.

use crate::support::{Scratch, reference, rows};

/// Rows with ids below the reference models' vocabulary.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    let mut rows = rows(18);
    for (ids, labels) in &mut rows {
        ids.iter_mut().for_each(|id| *id %= 96);
        for (label, id) in labels.iter_mut().zip(&*ids).filter(|(label, _)| **label >= 0) {
            *label = *id as i32;
        }
    }
    scratch.tokens("rows.parquet", &rows);
    scratch
}

fn model(name: &str) -> String {
    format!("--model {}", reference(name).join("model").display())
}

#[test]
fn one_adapter_of_experts_however_a_step_is_cut() {
    let scratch = scratch();
    for (name, bits) in [("mixtral-s36", ""), ("qwen3_moe-s38", ""), ("mixtral-s36", "--load-in 4bit")] {
        let line = format!("{} {bits}", model(name));
        let out = |what: &str| format!("{name}-{}{what}", bits.len());
        let step = "--per-device-train-batch-size 6 --gradient-accumulation-steps 1";
        let expected = scratch.trained(&out("plain"), &format!("{line} {step}"));
        let same = |what: &str, more: &str| {
            let found = scratch.trained(&out(what), &format!("{line} {more}"));
            assert!(found == expected, "{name} {bits}: {more}");
        };
        same("thread", &format!("{step} --threads 1"));
        same("one", "--per-device-train-batch-size 1 --gradient-accumulation-steps 6");
        same("recomputed", &format!("{step} --gradient-checkpointing"));
        let ranks = "--per-device-train-batch-size 3 --gradient-accumulation-steps 1 --nproc-per-node 2";
        same("zero3", &format!("{ranks} --sharding zero3"));
        same("zero2", &format!("{ranks} --sharding zero2"));
    }
}

#[test]
fn all_linear_means_experts_and_routers_as_it_does_in_peft() {
    let scratch = scratch();
    scratch.train("all", &format!("{} --max-steps 1", model("mixtral-s36")));
    let config = scratch.json("all/adapter_config.json");
    assert_eq!(config["target_modules"], serde_json::json!(["k_proj", "o_proj", "q_proj", "v_proj"]));
    assert_eq!(config["target_parameters"], serde_json::json!(["down_proj", "gate.weight", "gate_up_proj"]));
    assert_eq!(config["rank_pattern"], serde_json::json!({".*\\.gate_up_proj": 8}));
    // What the names of the experts as they were modules mean, and one parameter by its own.
    let named = "--target-modules k_proj,o_proj,q_proj,v_proj,gate,w1,w2,w3";
    assert!(
        scratch.trained("named", &format!("{} --max-steps 1 {named}", model("mixtral-s36"))) == scratch.adapter("all")
    );
    scratch.train(
        "down",
        &format!("{} --max-steps 1 --target-modules q_proj --target-parameters down_proj", model("mixtral-s36")),
    );
    let (_, tensors) = crate::support::read_safetensors(&scratch.adapter("down"));
    let mut names: Vec<&str> = tensors.keys().filter_map(|name| name.strip_suffix(".lora_A.weight")).collect();
    names.sort_unstable();
    let layer = |i: usize, part: &str| format!("base_model.model.model.layers.{i}.{part}");
    let expected = [0, 1].map(|i| [layer(i, "mlp.experts"), layer(i, "self_attn.q_proj")]).concat();
    assert_eq!(names, expected);
    // Goes on from its own file.
    let more = format!("--max-steps 2 --init-adapter down {}", model("mixtral-s36"));
    let output = scratch.run(&format!("--train rows.parquet --output-dir more {more}"));
    assert!(output.status.success(), "{}", crate::support::stderr(&output));
}

#[test]
fn what_adapters_of_experts_cannot_be_is_told() {
    let scratch = scratch();
    let line = format!("--train rows.parquet -o out {}", model("mixtral-s36"));
    for (more, word) in [
        ("--lora-dropout 0.1", "lora_dropout"),
        ("--use-dora", "use_dora"),
        ("--layers-to-transform 0", "layers_to_transform"),
        ("--target-modules w1,q_proj", "'w3'"),
        ("--target-parameters gate_up", "'gate_up'"),
        ("--init-lora-weights pissa", "pissa"),
    ] {
        let told = scratch.failure(&format!("{line} {more}"), 1);
        assert!(told.contains(word), "{more}: {told}");
    }
    // Attention alone can be all of it.
    scratch.train(
        "attention",
        &format!("{} --target-modules q_proj,k_proj --lora-dropout 0.1 --use-dora", model("mixtral-s36")),
    );
    let told = scratch.failure("--train rows.parquet -o out2 --model MODEL --target-parameters down_proj", 1);
    assert!(told.contains("'down_proj' in target_parameters") && told.contains("no experts"), "{told}");
}
