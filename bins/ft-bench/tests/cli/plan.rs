//! `ft-bench plan`. That it is what runs measure is tested beside them, in ft-train's `memory.rs`.

use std::path::Path;

use serde_json::Value;

use super::{Scratch, model, number};

fn shape(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/shapes").join(name);
    path.to_str().unwrap().to_owned()
}

/// The figures of the rank that needs most.
fn rank(plan: &Value) -> &Value {
    plan["ranks"].as_array().unwrap().iter().max_by_key(|rank| rank["total_bytes"].as_u64()).unwrap()
}

#[test]
fn a_config_alone_is_enough() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("shape")).unwrap();
    std::fs::copy(Path::new(&model()).join("config.json"), scratch.path("shape/config.json")).unwrap();
    let line = "--world 1,3 --sharding none,zero3 --load-in f32,4bit --gpu-memory 1MB --json -";
    let of = |model: &str| -> Value {
        let mut found: Value = serde_json::from_str(&scratch.succeed(&format!("plan --model {model} {line}"))).unwrap();
        found["models"].as_array_mut().unwrap().iter_mut().for_each(|model| model["model"] = Value::Null);
        found
    };
    let found = of("MODEL");
    assert_eq!(of("shape"), found);
    assert_eq!(of("shape/config.json"), found);
    let names = |key: &str| found["models"].as_array().unwrap().iter().map(|m| m[key].clone()).collect::<Vec<_>>();
    assert_eq!(names("load_in"), ["f32", "4bit"]);
    let plans = found["models"][0]["plans"].as_array().unwrap();
    let worlds: Vec<_> = plans.iter().map(|plan| plan["world"].as_u64().unwrap()).collect();
    assert_eq!(worlds, [1, 1, 3, 3]);
    // One rank has nothing to share or to send.
    assert_eq!(plans[0]["ranks"], plans[1]["ranks"]);
    assert_eq!(rank(&plans[0])["sent_bytes_per_step"]["gradients"], 0);
    assert!(number(rank(&plans[3]), "frozen_bytes") < number(rank(&plans[2]), "frozen_bytes") / 2.0);
}

/// Against the arithmetic of the paper: 2 bytes a parameter, cut by the ranks; each sent to the others twice.
#[test]
fn the_405_billion_of_llama_on_64_gpus() {
    let scratch = Scratch::new();
    let line =
        format!("plan --model {} --world 64 --load-in bf16 --gpu-memory 80GB --json p.json", shape("Llama-3.1-405B"));
    let table = scratch.succeed(&line);
    assert!(table.starts_with("Llama-3.1-405B: 405.9 billion parameters"), "{table}");
    let found = scratch.json("p.json");
    assert_eq!(found["machine"], Value::Null, "nothing was measured");
    let llama = &found["models"][0];
    assert_eq!(llama["parameters"], 405_853_388_800u64);
    let plans = llama["plans"].as_array().unwrap();
    let fits: Vec<_> = plans.iter().map(|plan| plan["fits"].as_bool().unwrap()).collect();
    assert_eq!(fits, [false, false, false, true]);
    let zero3 = rank(&plans[3]);
    let (share, all) = (number(zero3, "frozen_bytes"), 2.0 * 405_853_388_800.0);
    // The norms, which are small, lie on every rank.
    assert!((share * 64.0 / all - 1.0).abs() < 0.002, "{share}");
    let vocabulary = 2.0 * 2.0 * 128_256.0 * 16_384.0;
    let gathered = number(zero3, "gathered_bytes_per_step");
    let passes = gathered / (2.0 * (all - vocabulary) + vocabulary);
    assert!((passes - passes.round()).abs() < 0.001 && passes >= 1.0, "whole passes: {passes}");
    let sent = number(&zero3["sent_bytes_per_step"], "frozen");
    assert!((sent / (gathered / 64.0 * 63.0) - 1.0).abs() < 0.001, "{sent}");
    for (plan, shared) in plans.iter().zip([1.0, 64.0, 64.0, 64.0]) {
        let trained = number(llama, "trainable_parameters");
        assert!((number(rank(plan), "moment_bytes") * shared / (8.0 * trained) - 1.0).abs() < 0.001);
    }
}

/// What the file holds is what the program prints.
#[test]
fn the_plans_of_llama_3_1_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("testdata/plans/llama-3.1.md")).unwrap();
    let part = |start: &str| {
        let (_, after) = text.split_once(start).unwrap();
        after.split_once("```").unwrap().0
    };
    let command = part("```sh\n").replace("\\\n", " ");
    let line = command.trim().strip_prefix("ft-bench ").unwrap();
    let line = line.replace("testdata/shapes/", &format!("{}/", shape("")));
    assert_eq!(Scratch::new().succeed(&line), part("```text\n"));
}

#[test]
fn what_cannot_be_planned_is_said() {
    let scratch = Scratch::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference/llama-s1/model/config.json");
    std::fs::copy(config, scratch.path("config.json")).unwrap();
    let told = scratch.failure("plan --model config.json --load-in as-is", 1);
    assert!(told.contains("as-is") && told.contains("give the file or a type"), "{told}");
    let told = scratch.failure("plan --model MODEL --max-seq-length 1000", 2);
    assert!(told.contains("--max-seq-length 1000 is longer than the 128 tokens"), "{told}");
    let told = scratch.failure("plan --model nowhere", 1);
    assert!(told.contains("nowhere"), "{told}");
    std::fs::write(scratch.path("config.json"), br#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#)
        .unwrap();
    let told = scratch.failure("plan --model config.json", 1);
    assert!(told.contains("config.json") && told.contains("hidden_size"), "{told}");
}
