//! How `ft-eval generate` chooses tokens, and its single questions.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::{UInt32Type, UInt64Type};
use ft_text::{Encoder, Message, Scratch, TextModel};
use serde_json::{Value, json};

use crate::bench::{Bench, Row, testdata};

/// The answers of `rows.parquet` of the bench's model, in a file: tokens and texts.
fn answers(bench: &Bench, more: &[&str]) -> (Vec<Vec<u32>>, Vec<String>) {
    let out = bench.run("generate", &[&["rows.parquet", "-o", "a.parquet"], more].concat());
    assert_eq!(out.code, 0, "{}", out.stderr);
    let rows = bench.rows("a.parquet");
    let ids = rows.column_by_name("output_ids").unwrap().as_list::<i32>();
    let texts = rows.column_by_name("prediction").unwrap().as_string::<i32>();
    (
        ids.iter().map(|ids| ids.unwrap().as_primitive::<UInt32Type>().values().to_vec()).collect(),
        texts.iter().map(|text| text.unwrap().to_owned()).collect(),
    )
}

/// A bench with one prompt in `rows.parquet`: `question` in the model's template.
fn asked(question: &str) -> Bench {
    let bench = Bench::new();
    let text = TextModel::open(&bench.path("model")).unwrap();
    let rendered = text.template.unwrap().render(&[Message::new("user", question)], true).unwrap().text;
    let ids = Encoder::new(text.tokenizer).encode(&rendered, &mut Scratch::default()).unwrap().ids;
    bench.tokens("rows.parquet", &[Row::prompt(&ids, "x")], None);
    bench
}

fn said(bench: &Bench, args: &[&str]) -> String {
    let out = bench.run("generate", args);
    assert_eq!(out.code, 0, "{}", out.stderr);
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_repetition_penalty_is_transformers() {
    let bench = Bench::new();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(testdata("reference/llama-s0/model").join(name), bench.path("model").join(name)).unwrap();
    }
    let text = fs::read(testdata("sampling/reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).unwrap();
    for case in reference["greedy"].as_array().unwrap() {
        bench.tokens("rows.parquet", &[Row::prompt(&ids(&case["prompt"]), "x")], None);
        let penalty = case["repetition_penalty"].to_string();
        let found = answers(&bench, &["--max-new-tokens", "16", "--repetition-penalty", &penalty]).0;
        // The reference goes on after an end token.
        let answer = ids(&case["answer"]);
        let end = answer.iter().position(|id| [0, 2].contains(id)).map_or(answer.len(), |at| at + 1);
        assert_eq!(found[0], answer[..end], "{case}");
    }
}

#[test]
fn one_question_is_asked_in_the_models_template() {
    let bench = asked("What is owed?");
    let (_, texts) = answers(&bench, &["--max-new-tokens", "20"]);
    let prompt = ["--prompt", "What is owed?", "--max-new-tokens", "20"];
    assert_eq!(said(&bench, &prompt), format!("{}\n", texts[0]));
    assert_ne!(said(&bench, &[&prompt[..], &["--system", "Be brief."]].concat()), format!("{}\n", texts[0]));
    let report = [&prompt[..], &["--report", "r.json"]].concat();
    assert_eq!(said(&bench, &report), format!("{}\n", texts[0]));
    let report: Value = serde_json::from_slice(&fs::read(bench.path("r.json")).unwrap()).unwrap();
    assert_eq!((&report["rows"], &report["task"]), (&1.into(), &"generate".into()));
    // Without a template the text is taken as it is, and a system message has no place.
    let config = bench.path("model").join("tokenizer_config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("chat_template");
    fs::write(&config, value.to_string()).unwrap();
    let plain = said(&bench, &prompt);
    assert!(plain != format!("{}\n", texts[0]) && plain.ends_with('\n'), "{plain:?}");
    let out = bench.run("generate", &[&prompt[..], &["--system", "x"]].concat());
    assert!(out.failure().contains("it has no chat template"), "{}", out.stderr);
}

#[test]
fn an_answer_ends_before_a_stop_string() {
    let bench = asked("What?");
    let (tokens, texts) = answers(&bench, &["--max-new-tokens", "40"]);
    let middle: String = texts[0].chars().skip(8).take(5).collect();
    let at = texts[0].find(&middle).unwrap();
    let (fewer, stopped) = answers(&bench, &["--max-new-tokens", "40", "--stop", "never this", "--stop", &middle]);
    assert_eq!(stopped[0], texts[0][..at]);
    assert!(fewer[0].len() < tokens[0].len() && tokens[0].starts_with(&fewer[0]), "{fewer:?}");
    assert!(bench.rows("a.parquet").column_by_name("ended").unwrap().as_boolean().value(0));
    let prompt = ["--prompt", "What?", "--max-new-tokens", "40", "--stop", &middle];
    assert_eq!(said(&bench, &prompt), format!("{}\n", stopped[0]));
    assert_eq!(answers(&bench, &["--max-new-tokens", "40", "--stop", "\u{1f9ff}"]).1, texts);
}

#[test]
fn several_answers_to_a_prompt_have_draws_of_their_own() {
    let bench = Bench::new();
    bench.prompts("rows.parquet");
    let drawn = ["--max-new-tokens", "6", "--temperature", "1.5", "--seed", "3"];
    let one = answers(&bench, &drawn).0;
    let three = answers(&bench, &[&drawn[..], &["--num-return-sequences", "3", "--batch-size", "5"]].concat()).0;
    assert_eq!(three.len(), 24);
    let first: Vec<_> = three.iter().step_by(3).cloned().collect();
    assert_eq!(first, one);
    assert!((0..8).all(|i| three[3 * i] != three[3 * i + 1] && three[3 * i + 1] != three[3 * i + 2]));
    let rows = bench.rows("a.parquet");
    let numbers = |name: &str| rows.column_by_name(name).unwrap().clone();
    assert_eq!(numbers("row").as_primitive::<UInt64Type>().values()[..4], [1, 1, 1, 2]);
    assert_eq!(numbers("sample").as_primitive::<UInt32Type>().values()[..4], [1, 2, 3, 1]);
    // Answers to one prompt are one row where models are compared.
    assert_eq!(bench.run_bare("compare", &["a.parquet", "a.parquet"]).figures()["rows"], 8);
    let out = bench.run("generate", &["rows.parquet", "--num-return-sequences", "2"]);
    assert!(out.code == 2 && out.failure().contains("--temperature above 0"), "{}", out.stderr);
    let two = said(&bench, &["--prompt", "What?", "--temperature", "1", "--num-return-sequences", "2"]);
    assert_eq!(two.matches("\n---\n").count(), 1, "{two}");
}

#[test]
fn a_persons_question_follows_generation_config_and_a_file_of_prompts_does_not() {
    let bench = asked("What?");
    let write = |value: Value| fs::write(bench.path("model/generation_config.json"), value.to_string()).unwrap();
    write(json!({"eos_token_id": [2, 0], "max_new_tokens": 9}));
    let greedy = answers(&bench, &["--max-new-tokens", "9"]).1[0].clone() + "\n";
    assert_eq!(said(&bench, &["--prompt", "What?"]), greedy);
    write(json!({"eos_token_id": [2, 0], "max_new_tokens": 9, "do_sample": true, "temperature": 4.0, "top_k": 0}));
    let of = |args: &[&str]| said(&bench, &[&["--prompt", "What?"], args].concat());
    let drawn = of(&[]);
    assert!(drawn != greedy && of(&[]) == drawn && of(&["--seed", "1"]) != drawn, "{drawn:?}");
    assert_eq!(of(&["--generation-config", "never", "--max-new-tokens", "9"]), greedy);
    assert_eq!(of(&["--temperature", "0"]), greedy);
    assert_eq!(of(&["--top-k", "1"]), greedy);
    assert_eq!(answers(&bench, &["--max-new-tokens", "9"]).1[0].clone() + "\n", greedy);
    let followed = answers(&bench, &["--generation-config", "always"]);
    assert!(followed.0[0].len() <= 9 && followed.1[0].clone() + "\n" == drawn, "{followed:?}");
    write(json!({"do_sample": true, "no_repeat_ngram_size": 2}));
    let out = bench.run("generate", &["--prompt", "What?", "--max-new-tokens", "3"]);
    assert!(out.stderr.contains("has no_repeat_ngram_size, which is not followed"), "{}", out.stderr);
    write(json!({"do_sample": true, "top_p": 7}));
    let told = bench.run("generate", &["--prompt", "What?"]).failure().to_owned();
    assert!(told.contains("generation_config.json: 'top_p' is 7, expected"), "{told}");
}
