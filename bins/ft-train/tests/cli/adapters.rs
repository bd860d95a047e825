//! Which modules are adapted, and what a run starts from.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Row, Scratch, read_safetensors, reference, stderr, with_base};

/// A copy of the adapter of `scratch`'s run `first`, with another configuration.
fn changed(scratch: &Scratch, name: &str, change: impl FnOnce(&mut Value)) {
    let (from, to) = (scratch.path("first"), scratch.path(name));
    let mut config: Value = serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    change(&mut config);
    fs::create_dir(&to).unwrap();
    fs::write(to.join("adapter_config.json"), config.to_string()).unwrap();
    fs::copy(from.join("adapter_model.safetensors"), to.join("adapter_model.safetensors")).unwrap();
}

#[test]
fn target_modules_by_name_and_by_expression() {
    let scratch = Scratch::with_rows();
    let modules = |out: &str, line: &str| {
        scratch.train(out, &format!("--max-steps 1 {line}"));
        let (_, tensors) = read_safetensors(&scratch.adapter(out));
        let mut names: Vec<String> = tensors.into_keys().collect();
        names.sort();
        names
    };
    assert_eq!(modules("all", "").len(), 3 * 7 * 2);
    let some = modules("some", "--target-modules q_proj,v_proj");
    assert_eq!(some.len(), 3 * 2 * 2);
    assert_eq!(some[0], "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    let one = modules("one", r"--target-modules .*layers\.2\.mlp\.down_proj");
    assert_eq!(one, ["A", "B"].map(|x| format!("base_model.model.model.layers.2.mlp.down_proj.lora_{x}.weight")));
}

#[test]
fn embedding_and_head_are_adapted_where_they_are_named() {
    let scratch = Scratch::with_rows();
    scratch.train("both", "--max-steps 3 --logging-steps 1 --target-modules lm_head,embed_tokens");
    let (_, tensors) = read_safetensors(&scratch.adapter("both"));
    let mut names: Vec<String> = tensors.into_keys().collect();
    names.sort();
    let expected = [
        "lm_head.lora_A.weight",
        "lm_head.lora_B.weight",
        "model.embed_tokens.lora_embedding_A",
        "model.embed_tokens.lora_embedding_B",
    ];
    assert_eq!(names, expected.map(|name| format!("base_model.model.{name}")));
    let losses = scratch.series("both", "loss");
    assert!(losses[2] != losses[0], "they learn: {losses:?}");

    let told = scratch.failure(&with_base("-o out --target-modules lm_head,q_proj --use-dora"), 1);
    assert!(told.contains("'lm_head' with use_dora") && told.contains("leave one of them out"), "{told}");
    let tied = reference("llama_tied_bias-s0").join("model");
    let few: Vec<Row> = (1..9).map(|i| ((i..i + 6).collect(), vec![i as i32; 6])).collect();
    scratch.tokens("few.parquet", &few);
    let line = format!("--model {} --train few.parquet --max-steps 1 --target-modules lm_head", tied.display());
    let told = scratch.train("tied", &line);
    assert!(told.contains("embedding and head are one matrix") && told.contains("'lm_head'"), "{told}");
}

#[test]
fn a_run_goes_on_from_an_adapter_in_a_folder_or_a_file() {
    let scratch = Scratch::with_rows();
    scratch.train("first", "--lora-alpha 16 --max-steps 8");
    let from = |out: &str, adapter: &str| {
        let line = "--model MODEL --train rows.parquet --max-steps 3 --logging-steps 1";
        let output = scratch.run(&format!("{line} --output-dir {out} --init-adapter {adapter}"));
        assert!(output.status.success(), "{}", stderr(&output));
    };
    from("folder", "first");
    let first = scratch.json("first/run.json");
    assert_eq!(scratch.json("folder/run.json")["initial_adapter_sha256"], first["final_adapter_sha256"]);
    let config = scratch.json("folder/adapter_config.json");
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(4), Some(16.0)), "the adapter decides");
    assert!(scratch.series("folder", "loss")[0] < 0.8 * scratch.series("first", "loss")[0]);

    let one_file = scratch.run(&with_base("--lora-alpha 16 --max-steps 8 -o -"));
    assert!(one_file.status.success(), "{}", stderr(&one_file));
    fs::write(scratch.path("adapter.safetensors"), &one_file.stdout).unwrap();
    from("file", "adapter.safetensors");
    assert_eq!(scratch.adapter("file"), scratch.adapter("folder"));
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_by_its_tensor() {
    let scratch = Scratch::with_rows();
    let line = "--model MODEL --train rows.parquet -o out --init-adapter";
    let other = reference("llama_tied_bias-s2").join("adapter_init");
    let told = scratch.failure(&format!("{line} {}", other.display()), 1);
    assert!(
        told.contains("does not fit the model") && told.contains("lora_A") && told.contains("expected ["),
        "{told}"
    );
    let told = scratch.failure(&format!("{line} nowhere"), 1);
    assert!(told.contains("'nowhere"), "{told}");
    let told = scratch.failure(&format!("{line} x --lora-r 4"), 2);
    assert!(told.contains("--init-adapter") && told.contains("--lora-r"), "{told}");
}

#[test]
fn an_initial_adapter_keeps_its_dropout_unless_another_is_given() {
    let scratch = Scratch::with_rows();
    scratch.train("first", "--max-steps 1");
    changed(&scratch, "dropping", |config| config["lora_dropout"] = json!(0.25));
    let line = "--model MODEL --train rows.parquet --max-steps 2 --init-adapter dropping";
    for (out, more, expected) in
        [("kept", "", 0.25), ("other", "--lora-dropout 0.5", 0.5), ("none", "--lora-dropout 0", 0.0)]
    {
        let output = scratch.run(&format!("{line} -o {out} {more}"));
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(scratch.json(&format!("{out}/adapter_config.json"))["lora_dropout"].as_f64(), Some(expected));
    }
    assert_ne!(scratch.adapter("kept"), scratch.adapter("none"), "it acts");
}

#[test]
fn a_rank_beyond_all_memory_is_refused_in_words() {
    let scratch = Scratch::with_rows();
    let told = scratch.failure("--model MODEL --train rows.parquet -o out --lora-r 100000000", 1);
    assert!(told.contains("parameters at rank 100000000") && told.contains("take a lower rank"), "{told}");
    let pattern = r#"{"q_proj":18446744073709551615}"#;
    let told = scratch.failure(&format!("--model MODEL --train rows.parquet -o out --rank-pattern {pattern}"), 1);
    assert!(told.contains("rank_pattern"), "{told}");
    let pattern = r#"{"q_proj":4000000000}"#;
    let told = scratch.failure(&format!("--model MODEL --train rows.parquet -o out --rank-pattern {pattern}"), 1);
    assert!(told.contains("take a lower rank"), "{told}");
}

#[test]
fn names_that_match_nothing_are_said() {
    let scratch = Scratch::with_rows();
    let told = scratch
        .train("out", r#"--max-steps 1 --rank-pattern {"q_porj":2} --alpha-pattern {"x":2} --exclude-modules v_porj"#);
    for name in ["'q_porj' in rank_pattern", "'x' in alpha_pattern", "'v_porj' in exclude_modules"] {
        assert!(told.contains(name), "{name}: {told}");
    }
    let told = scratch.train("good", r#"--max-steps 1 --rank-pattern {"q_proj":2} --exclude-modules v_proj"#);
    assert!(!told.contains("matches none"), "{told}");
    let told = scratch.failure(&with_base("-o bad --target-modules q_proj,v_porj"), 1);
    assert!(told.contains("'v_porj' in target_modules, which matches none"), "{told}");
}

#[test]
fn a_pattern_that_cannot_be_matched_is_an_error() {
    let scratch = Scratch::with_rows();
    let told = scratch.failure(&with_base(r#"-o out --rank-pattern {"(?=(.+)+)(([a-z_.0-9]+)+)+!":2}"#), 1);
    assert!(told.contains("cannot be matched with 'model.layers.0."), "{told}");
}

#[test]
fn a_head_that_no_field_names_is_not_trained_on() {
    let scratch = Scratch::with_rows();
    scratch.train("first", "--max-steps 1");
    changed(&scratch, "with_head", |_| {});
    let (_, model) = read_safetensors(&fs::read(crate::support::model().join("model.safetensors")).unwrap());
    let file = scratch.path("with_head/adapter_model.safetensors");
    crate::support::rewrite_safetensors(&file, |header, data| {
        let (begin, head) = (data.len(), &model["lm_head.weight"]);
        data.extend(head);
        let shape = [320, head.len() / 4 / 320];
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert("base_model.model.lm_head.weight".into(), entry);
    });
    let told = scratch.failure("--model MODEL --train rows.parquet -o out --init-adapter with_head", 1);
    assert!(told.contains("'lm_head.weight' beside its adapter") && told.contains("ft-merge"), "{told}");
}

#[test]
fn losses_of_the_peers_that_are_ours_are_taken() {
    let scratch = Scratch::with_rows();
    let recipe = |path: &Path, text: &str| fs::write(path, text).unwrap();
    recipe(&scratch.path("a.yaml"), "loss_type: chunked_nll\nrouter_aux_loss_coef: 0.001\n");
    scratch.train("out", "--max-steps 1 --config a.yaml");
    let mixture = reference("mixtral-s36").join("model");
    let line = format!("--model {} --train few.parquet -o other --config a.yaml --max-steps 1", mixture.display());
    let few: Vec<Row> = (1..9).map(|i| ((i..i + 6).collect(), vec![i as i32; 6])).collect();
    scratch.tokens("few.parquet", &few);
    let told = scratch.failure(&line, 1);
    assert!(told.contains("router-aux-loss-coef is 0.001"), "{told}");
}

#[test]
fn evaluation_with_weights_that_are_not_finite_ends_the_run() {
    let scratch = Scratch::with_rows();
    let folder = scratch.copy_model("spoiled");
    crate::support::rewrite_safetensors(&folder.join("model.safetensors"), |header, data| {
        let places = &header["model.layers.2.mlp.down_proj.weight"]["data_offsets"];
        let begin = places[0].as_u64().unwrap() as usize;
        data[begin..begin + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let line = "--model spoiled --train rows.parquet --eval rows.parquet -o out --max-steps 1 --eval-on-start";
    let told = scratch.failure(line, 1);
    assert!(told.contains("the model's 'model.layers.2' gives NaN"), "{told}");
}
