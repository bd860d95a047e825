//! `ft-eval generate`.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use serde_json::Value;

use crate::bench::{Bench, Row, smollm2, testdata};

fn output_ids(batch: &RecordBatch) -> Vec<Vec<u32>> {
    let lists = batch.column_by_name("output_ids").unwrap().as_list::<i32>();
    lists.iter().map(|ids| ids.unwrap().as_primitive::<UInt32Type>().values().to_vec()).collect()
}

fn texts<'b>(batch: &'b RecordBatch, column: &str) -> Vec<&'b str> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(Option::unwrap).collect()
}

#[test]
fn smollm2_says_what_transformers_says() {
    let bench = Bench::new();
    let text = std::fs::read(testdata("smollm2/reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let ids =
        |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
    let cases = reference["greedy"].as_array().unwrap();
    assert_eq!(ids(&cases[0]["answer_ids"]), [504, 3575, 282, 4649, 314, 7042, 30, 2]);
    let rows: Vec<Row> =
        cases.iter().map(|c| Row::prompt(&ids(&c["prompt_ids"]), c["answer"].as_str().unwrap())).collect();
    let fingerprint = ft_text::fingerprint(&smollm2()).unwrap().unwrap();
    bench.tokens("p.parquet", &rows, Some(&fingerprint));
    let longest = cases.iter().map(|c| ids(&c["answer_ids"]).len()).max().unwrap().to_string();
    let args = ["p.parquet", "-o", "a.parquet", "--max-new-tokens", &longest];
    let out = bench.run_on("generate", &smollm2(), &args, b"");
    let figures = out.figures();
    assert_eq!(out.stderr, "");
    let batch = bench.rows("a.parquet");
    let expected: Vec<_> = cases.iter().map(|c| ids(&c["answer_ids"])).collect();
    assert_eq!(output_ids(&batch), expected);
    assert_eq!(texts(&batch, "prediction")[0], "The capital of France is Paris.");
    assert!(texts(&batch, "prompt")[0].ends_with("What is the capital of France?<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!((figures["exact_match"].as_f64(), figures["f1"].as_f64()), (Some(1.0), Some(1.0)));
}

#[test]
fn an_answer_does_not_depend_on_batch_or_threads() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    let answers = |more: &[&str]| {
        let args = [&["p.parquet", "-o", "a.parquet", "--max-new-tokens", "12"], more].concat();
        let out = bench.run("generate", &args);
        assert_eq!(out.code, 0, "{}", out.stderr);
        output_ids(&bench.rows("a.parquet"))
    };
    let greedy = answers(&[]);
    assert!(greedy.iter().all(|ids| (1..=12).contains(&ids.len())));
    assert_eq!(answers(&["--batch-size", "1"]), greedy);
    assert_eq!(answers(&["--batch-size", "3", "--threads", "1"]), greedy);
    let drawn = ["--temperature", "0.9", "--top-k", "50", "--top-p", "0.95", "--seed", "7"];
    let sampled = answers(&drawn);
    assert_ne!(sampled, greedy);
    assert_eq!(answers(&[&drawn[..], &["--batch-size", "2"]].concat()), sampled);
    assert_ne!(answers(&[&drawn[..6], &["--seed", "8"]].concat()), sampled);
    assert_eq!(answers(&["--limit", "2"]), greedy[..2]);
}

#[test]
fn answers_go_to_a_pipe_and_figures_then_do_not() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    let bytes = std::fs::read(bench.path("p.parquet")).unwrap();
    let out = bench.run_on("generate", "model".as_ref(), &["-", "-o", "-", "--max-new-tokens", "2"], &bytes);
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stdout.starts_with(b"PAR1") && out.stdout.ends_with(b"PAR1"));
}

#[test]
fn prompts_without_references_have_no_score() {
    let bench = Bench::new();
    let row = Row { reference: None, ..Row::prompt(&[5, 6, 7], "") };
    bench.tokens("p.parquet", &[row], None);
    let figures = bench.run("generate", &["p.parquet", "-o", "a.parquet", "--max-new-tokens", "3"]).figures();
    assert_eq!(
        (&figures["exact_match"], &figures["f1"], &figures["references"]),
        (&Value::Null, &Value::Null, &0.into())
    );
    let batch = bench.rows("a.parquet");
    assert!(batch.column_by_name("f1").unwrap().is_null(0));
    let keys: Vec<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[..4], ["task", "model", "adapter_sha256", "load_in"]);
    assert_eq!(figures["inputs"][0]["name"], "p.parquet");
}

#[test]
fn a_million_new_tokens_need_no_more_memory_than_the_context() {
    let bench = Bench::new();
    bench.tokens("p.parquet", &[Row::prompt(&[5, 6, 7], "x")], None);
    for most in ["1000000", "4294967295"] {
        let args = ["generate", "--model", "model", "p.parquet", "-o", "a.parquet", "--max-new-tokens", most];
        let mut command = std::process::Command::new("sh");
        // 1 GB more than a run of the same model with short answers.
        command.args(["-c", "ulimit -v 1500000; exec \"$0\" --threads 2 \"$@\"", env!("CARGO_BIN_EXE_ft-eval")]);
        let out = command.current_dir(bench.path("")).args(args).output().unwrap();
        assert!(out.status.success(), "{most}: {}", String::from_utf8_lossy(&out.stderr));
        let length = output_ids(&bench.rows("a.parquet"))[0].len();
        assert!(length <= 1021, "the model takes 1024: {length}");
    }
}

#[test]
fn answers_have_rouge_and_bleu_too() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    let args = ["p.parquet", "-o", "a.parquet", "--max-new-tokens", "12"];
    assert_eq!(bench.run("generate", &args).code, 0);
    let answers = bench.rows("a.parquet");
    // The model's own answers are right, but for the last one.
    let mut rows: Vec<Row> = Vec::new();
    bench.prompts("p.parquet");
    let prompts = bench.rows("p.parquet");
    let ids = prompts.column_by_name("input_ids").unwrap().as_list::<i32>();
    for (i, text) in texts(&answers, "prediction").iter().enumerate() {
        let ids = ids.value(i).as_primitive::<UInt32Type>().values().to_vec();
        rows.push(Row::prompt(&ids, if i == 7 { "zzz" } else { text }));
    }
    bench.tokens("q.parquet", &rows, None);
    let figures = bench.run("generate", &["q.parquet", "-o", "b.parquet", "--max-new-tokens", "12"]).figures();
    let rows = bench.rows("b.parquet");
    let rouge: Vec<f64> = rows.column_by_name("rouge_l").unwrap().as_primitive::<Float64Type>().values().to_vec();
    let expected: Vec<f64> = texts(&answers, "prediction")
        .iter()
        .enumerate()
        .map(|(i, text)| ft_measure::rouge_l(text, if i == 7 { "zzz" } else { text }))
        .collect();
    assert_eq!(rouge, expected);
    let mean = rouge.iter().sum::<f64>() / 8.0;
    assert!((figures["rouge_l"].as_f64().unwrap() - mean).abs() < 1e-12, "{figures}");
    let bleu = figures["bleu"].as_f64().unwrap();
    assert!((50.0..100.0).contains(&bleu), "{figures}");
}
