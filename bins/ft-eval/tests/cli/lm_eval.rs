//! `ft-eval choice` in the formats of lm-eval's tasks.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use serde_json::Value;

use crate::bench::{Bench, testdata};

const TASKS: [(&str, &str); 6] = [
    ("mmlu", "mmlu"),
    ("arc", "arc"),
    ("hellaswag", "hellaswag"),
    ("piqa", "piqa"),
    ("boolq", "boolq"),
    ("commonsense_qa", "commonsense-qa"),
];

/// The path of a file of `testdata/lm_eval`.
fn file(name: &str) -> String {
    testdata("lm_eval").join(name).canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_question_has_lm_evals_likelihoods_and_every_task_its_figures() {
    let bench = Bench::new();
    let reference: Value = serde_json::from_slice(&std::fs::read(file("reference.json")).unwrap()).unwrap();
    for (task, format) in TASKS {
        for run in reference[task].as_array().unwrap() {
            let shots = run["num_fewshot"].to_string();
            let (rows, pool) = (file(&format!("{task}.jsonl")), file(&format!("{task}.shots.jsonl")));
            let mut args = vec![rows.as_str(), "--format", format, "-o", "rows.parquet", "--task", "t"];
            if shots != "0" {
                args.extend(["--num-fewshot", &shots, "--fewshot", &pool]);
            }
            let figures = bench.run("choice", &args).figures();
            let found = bench.rows("rows.parquet");
            let place = format!("{task}, {shots} shots");
            let logs = found.column_by_name("log_likelihoods").unwrap().as_list::<i32>();
            for (i, expected) in run["log_likelihoods"].as_array().unwrap().iter().enumerate() {
                let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
                let logs = logs.value(i);
                let logs = logs.as_primitive::<Float64Type>().values();
                let near = |(a, b): (&f64, &f64)| (a - b).abs() < 2e-4 * b.abs().max(1.0);
                assert!(
                    logs.len() == expected.len() && logs.iter().zip(&expected).all(near),
                    "{place}: {logs:?}, {expected:?}"
                );
            }
            for key in ["acc", "acc_norm"] {
                let expected: Vec<Option<f64>> = serde_json::from_value(run[key].clone()).unwrap();
                let right = found.column_by_name(key).map(|column| column.as_boolean().clone());
                let right = |i: usize| right.as_ref().map(|right| f64::from(u8::from(right.value(i))));
                assert!(expected.iter().enumerate().all(|(i, &e)| right(i) == e), "{place}: {key}");
            }
            for (key, expected) in run["results"].as_object().unwrap() {
                let (found, expected) = (&figures["results"]["t"][key], expected.as_f64().unwrap());
                assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{place}, {key}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn rows_that_are_not_the_tasks_are_refused_by_row_and_column() {
    let bench = Bench::new();
    for (format, row, words) in [
        (
            "arc",
            r#"{"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"}"#,
            "'answerKey' is \"C\", expected one of A, B",
        ),
        ("arc", r#"{"question": "?", "choices": ["a", "b"], "answerKey": "A"}"#, "expected an object with the lists"),
        (
            "arc",
            r#"{"question": "?", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}"#,
            "choices.label",
        ),
        (
            "hellaswag",
            r#"{"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["a", "b"], "label": "2"}"#,
            "'label' is \"2\", expected a number from 0 to 1",
        ),
        ("piqa", r#"{"goal": "a", "sol1": 5, "sol2": "c", "label": 0}"#, "'sol1' is a number, expected text"),
        ("boolq", r#"{"passage": "a", "question": "b", "label": 3}"#, "'label' is 3, expected a number from 0 to 1"),
        ("boolq", r#"{"passage": "a", "question": "b"}"#, "no column 'label'; there are: 'passage', 'question'"),
        (
            "commonsense-qa",
            r#"{"question": "?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "1"}"#,
            "'choices' are labelled 1, 2, expected A, B, C",
        ),
    ] {
        std::fs::write(bench.path("q.jsonl"), row).unwrap();
        let out = bench.run("choice", &["q.jsonl", "--format", format]);
        let told = out.failure();
        assert!(told.contains("q.jsonl") && told.contains(words), "{format}: {told}");
    }
}

#[test]
fn examples_are_never_the_question_and_never_too_few() {
    let bench = Bench::new();
    let (rows, pool) = (file("piqa.jsonl"), file("piqa.shots.jsonl"));
    let shots = |file: &str, count: &str, more: &[&str]| {
        bench.run("choice", &[&[&rows, "--format", "piqa", "--num-fewshot", count, "--fewshot", file], more].concat())
    };
    // All other questions of one file: eight for each of the nine.
    let by = |sampler: &str| shots(&rows, "8", &["--fewshot-sampler", sampler]).figures()["tokens"].as_u64().unwrap();
    assert_eq!(by("first-n"), by("default"));
    let out = shots(&rows, "9", &[]);
    assert!(out.failure().contains("8 examples for '"), "{}", out.stderr);
    let out = shots(&pool, "41", &[]);
    assert!(out.failure().contains("piqa.shots.jsonl: 40 examples for '"), "{}", out.stderr);
    let figures = |more: &[&str]| shots(&pool, "3", more).figures();
    assert_ne!(figures(&["--fewshot-seed", "1"])["tokens"], figures(&["--fewshot-seed", "2"])["tokens"]);
    for (args, words) in [
        (&["--format", "piqa", "--num-fewshot", "2"][..], "--fewshot"),
        (&["--format", "text", "--num-fewshot", "2", "--fewshot", &pool], "such as --format mmlu"),
    ] {
        let out = bench.run("choice", &[&[rows.as_str()], args].concat());
        assert!(out.code == 2 && out.failure().contains(words), "{}", out.stderr);
    }
}
