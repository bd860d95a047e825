//! `ft-eval choice`.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use serde_json::{Value, json};

use crate::bench::{Bench, testdata};

/// The five questions of the samples, as JSON lines.
fn as_json_lines() -> String {
    let file = std::fs::File::open(testdata("samples/professional_accounting_dev.arrow")).unwrap();
    let mut lines = String::new();
    for batch in arrow::ipc::reader::StreamReader::try_new(file, None).unwrap() {
        let batch = batch.unwrap();
        let text =
            |name: &str, row: usize| batch.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let choices = batch.column_by_name("choices").unwrap().as_list::<i32>().value(row);
            let choices: Vec<_> = choices.as_string::<i32>().iter().map(Option::unwrap).collect();
            let answer = batch.column_by_name("answer").unwrap().as_primitive::<Int64Type>().value(row);
            let line = json!({
                "question": text("question", row), "subject": text("subject", row), "choices": choices, "answer": answer,
            });
            lines += &line.to_string();
            lines.push('\n');
        }
    }
    lines
}

/// The figures that say how the questions were answered.
fn answered(figures: &Value) -> Value {
    json!([figures["accuracy"], figures["correct"], figures["tokens"], figures["results"]])
}

#[test]
fn an_arrow_stream_and_json_lines_are_the_same_questions() {
    let bench = Bench::new();
    let sample = testdata("samples/professional_accounting_dev.arrow").canonicalize().unwrap();
    std::fs::write(bench.path("q.jsonl"), as_json_lines()).unwrap();
    for more in [&[][..], &["--format", "text"]] {
        let run = |file: &str| bench.run("choice", &[&[file], more].concat()).figures();
        let figures = run(sample.to_str().unwrap());
        assert_eq!((&figures["questions"], &figures["accuracy"].is_number()), (&5.into(), &true));
        assert_eq!(answered(&run("q.jsonl")), answered(&figures));
    }
}

#[test]
fn both_formats_with_and_without_the_template() {
    let bench = Bench::new();
    let mut lines = String::new();
    for i in 0..6 {
        let choices = ["tax", "the rent of it", "no", "debt"];
        let line = json!({"question": format!("{i}?"), "choices": choices, "answer": i % 4, "subject": "tax_law"});
        lines += &line.to_string();
        lines.push('\n');
    }
    std::fs::write(bench.path("q.jsonl"), &lines).unwrap();
    let run = |args: &[&str]| bench.run_on("choice", "model".as_ref(), args, lines.as_bytes()).figures();
    let text = run(&["q.jsonl", "--format", "text"]);
    let entry = &text["results"]["mmlu_tax_law"];
    for key in ["acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"] {
        assert!(entry[key].is_number(), "{key}: {text}");
    }
    assert_eq!(
        (&text["questions"], &text["chat_template"], &text["format"]),
        (&6.into(), &true.into(), &"text".into())
    );
    let p = text["accuracy"].as_f64().unwrap();
    let expected = (p * (1.0 - p) / 5.0).sqrt();
    assert!((text["accuracy_stderr"].as_f64().unwrap() - expected).abs() < 1e-12);
    // Neither the batch nor the way in changes anything.
    assert_eq!(answered(&run(&["-", "--format", "text", "--batch-size", "3"]))[1], text["correct"]);
    let plain = run(&["q.jsonl", "--format", "text", "--no-chat-template", "--task", "mine"]);
    assert!(plain["results"]["mine"]["acc,none"].is_number() && plain["chat_template"] == false);
    assert!(plain["tokens"].as_u64() < text["tokens"].as_u64());
    assert_eq!(run(&["q.jsonl", "--format", "text", "--limit", "2"])["questions"], 2);
    let letters = run(&["q.jsonl", "--limit", "1", "--no-chat-template"]);
    assert!(letters["results"]["mmlu_tax_law"].get("acc_norm,none").is_none());
    assert_eq!(letters["accuracy_stderr"], Value::Null);
}

#[test]
fn one_forward_a_question_finds_the_likeliest_letter() {
    // What the letters' logits say is what the losses of each letter say.
    let bench = Bench::new();
    let line = |choices: &[&str]| json!({"question": "?", "choices": choices, "answer": 0}).to_string() + "\n";
    let letters = line(&["1", "2", "3", "4"]);
    let listed = "?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:";
    let spelled = json!({"question": listed, "choices": ["A", "B", "C", "D"], "answer": 0}).to_string();
    std::fs::write(bench.path("letters.jsonl"), letters).unwrap();
    std::fs::write(bench.path("spelled.jsonl"), spelled).unwrap();
    let by_letter = bench.run("choice", &["letters.jsonl"]).figures();
    let by_text = bench.run("choice", &["spelled.jsonl", "--format", "text"]).figures();
    assert_eq!(by_letter["correct"], by_text["correct"]);
    assert!(by_letter["results"]["letters"]["acc,none"].is_number(), "{by_letter}");
}

#[test]
fn every_question_has_its_row() {
    let bench = Bench::new();
    let choices = ["tax", "the rent of it", "no", "debt"];
    let line = |i: usize| json!({"question": format!("{i}?"), "choices": choices, "answer": i % 4}).to_string() + "\n";
    std::fs::write(bench.path("q.jsonl"), (0..7).map(line).collect::<String>()).unwrap();
    for format in ["letters", "text"] {
        let figures = bench.run("choice", &["q.jsonl", "--format", format, "-o", "rows.parquet"]).figures();
        let rows = bench.rows("rows.parquet");
        let column = |name: &str| rows.column_by_name(name).unwrap();
        let right = column("acc").as_boolean().true_count();
        assert_eq!((rows.num_rows(), figures["correct"].as_u64()), (7, Some(right as u64)));
        let chosen = column("chosen").as_primitive::<UInt32Type>();
        for (i, logs) in column("log_likelihoods").as_list::<i32>().iter().enumerate() {
            let logs = logs.unwrap();
            let logs = logs.as_primitive::<Float64Type>().values();
            let likeliest = (0..4).max_by(|&a, &b| logs[a].total_cmp(&logs[b])).unwrap();
            assert_eq!(chosen.value(i) as usize, likeliest);
            assert!(logs.iter().all(|log| *log < 0.0), "logarithms of probabilities: {logs:?}");
            assert_eq!(column("acc").as_boolean().value(i), likeliest == i % 4);
        }
        assert_eq!(rows.column_by_name("acc_norm").is_some(), format == "text");
        assert_eq!(column("choices").as_list::<i32>().value(0).as_string::<i32>().value(1), "the rent of it");
    }
}
