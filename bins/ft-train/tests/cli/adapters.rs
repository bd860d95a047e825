//! Which modules are adapted, and what a run starts from.

use std::fs;

use crate::support::{Row, Scratch, read_safetensors, reference, stderr, with_base};

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
