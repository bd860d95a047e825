//! Special tokens that only the files beside `tokenizer.json` name, as transformers' fast tokenizers have them
//! (`scripts/make_special_token_cases.py`).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::bench::{Bench, chat};

/// The model's folder with `files` beside `tokenizer.json`, and no others.
fn model(bench: &Bench, files: &Value) {
    for name in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"] {
        let path = bench.model().join(name);
        match files.get(name) {
            Some(content) => fs::write(path, content.to_string()).unwrap(),
            None if path.exists() => fs::remove_file(path).unwrap(),
            None => {}
        }
    }
}

fn run(bench: &Bench, template: &str) {
    fs::write(bench.path("t.jinja"), template).unwrap();
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja", "--labels", "all"]);
    assert!(out.ok, "{}", out.stderr);
}

#[test]
fn tokens_of_the_configuration_alone_are_those_of_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tokenizer/special_tokens.json");
    let file: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let texts: Vec<&str> = file["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let bench = Bench::new();
        model(&bench, &case["files"]);
        bench.input(&texts.iter().map(|text| chat(&[("user", text)])).collect::<Vec<_>>());
        run(&bench, "{{ messages[0].content }}");
        assert_eq!(json!(bench.rows("out.parquet").ids), case["ids"], "{}", case["name"]);
        let named = case["named"].as_object().unwrap();
        let template: String = named.keys().flat_map(|name| ["{{ ", name, " }};"]).collect();
        run(&bench, &(template + "{{ image_token is defined }}"));
        let told: String = named.values().map(|text| text.as_str().unwrap().to_owned() + ";").collect();
        let image = if named.contains_key("image_token") { "True" } else { "False" };
        assert_eq!(bench.rows("out.parquet").text[0], told + image, "{}", case["name"]);
        let tokenizer = ft_text::TextModel::open(&bench.model()).unwrap().tokenizer;
        for (text, id) in case["added"].as_object().unwrap() {
            assert_eq!(json!(tokenizer.token_to_id(text)), *id, "{} {text}", case["name"]);
        }
    }
}

/// Tokens that one configuration adds are nothing to a model of another.
#[test]
fn tokens_of_the_configuration_count_in_the_fingerprint() {
    let bench = Bench::new();
    let print = |config: Value| {
        model(&bench, &json!({"tokenizer_config.json": config}));
        ft_text::fingerprint(&bench.model()).unwrap().unwrap()
    };
    let plain = print(json!({}));
    assert_eq!(print(json!({"eos_token": "<|im_end|>", "sep_token": "!"})), plain);
    let one = print(json!({"sep_token": "<sep>"}));
    assert_ne!(one, plain);
    assert_eq!(print(json!({"additional_special_tokens": ["<sep>"]})), one);
    assert_ne!(print(json!({"sep_token": "<other>"})), one);
}

#[test]
fn added_tokens_that_are_none_are_told() {
    let bench = Bench::new();
    bench.input(&[chat(&[("user", "q"), ("assistant", "a")])]);
    for (decoder, told) in [
        (json!([]), "tokenizer_config.json: added_tokens_decoder: expected ids and tokens"),
        (json!({"x": {"content": "y"}}), "added_tokens_decoder: 'x' is no id"),
        (json!({"400": "y"}), "added_tokens_decoder: 400: expected a token with its content"),
    ] {
        model(&bench, &json!({"tokenizer_config.json": {"added_tokens_decoder": decoder}}));
        let out = bench.run(&["in.parquet", "-o", "x"]);
        assert!(!out.ok && out.stderr.contains(told), "{}", out.stderr);
    }
}
