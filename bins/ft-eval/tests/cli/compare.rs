//! `ft-eval compare`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use ft_io::Target;
use ft_table::ParquetWriter;
use serde_json::{Value, json};

use crate::bench::{Bench, Outcome, Row, testdata};

/// Writes rows as the other commands do: one metric, and how many labels each row has.
fn write_rows(bench: &Bench, file: &str, metric: &str, values: &[f64], labels: &[u64]) {
    let ids = (0..values.len()).map(|i| format!("row {i}"));
    let columns: [(&str, ArrayRef); 4] = [
        ("row", Arc::new(UInt64Array::from_iter_values(1..=values.len() as u64))),
        ("row_id", Arc::new(StringArray::from_iter_values(ids))),
        (metric, Arc::new(Float64Array::from(values.to_vec()))),
        ("labels", Arc::new(UInt64Array::from(labels.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ParquetWriter::create(&Target::Path(bench.path(file)), batch.schema(), &[]).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

fn near(found: &Value, expected: &Value) -> bool {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
}

fn compared(bench: &Bench, args: &[&str]) -> Outcome {
    bench.run_bare("compare", args)
}

/// A bench with `a.parquet` and `b.parquet`: ten answers, of which 3 and 6 are right; two got worse.
fn answers() -> Bench {
    let bench = Bench::new();
    let (a, b) = ([1., 1., 1., 0., 0., 0., 0., 0., 0., 0.], [1., 0., 0., 1., 1., 1., 1., 1., 0., 0.]);
    write_rows(&bench, "a.parquet", "exact_match", &a, &[1; 10]);
    write_rows(&bench, "b.parquet", "exact_match", &b, &[1; 10]);
    bench
}

#[test]
fn gains_intervals_and_sign_tests_are_scipys() {
    let bench = Bench::new();
    let reference: Value = serde_json::from_slice(&std::fs::read(testdata("compare/reference.json")).unwrap()).unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let (metric, rows) = (case["metric"].as_str().unwrap(), case["rows"].as_array().unwrap());
        let column = |i: usize| rows.iter().map(|row| row[i].as_f64().unwrap()).collect::<Vec<_>>();
        let labels: Vec<u64> = column(2).into_iter().map(|weight| weight as u64).collect();
        write_rows(&bench, "a.parquet", metric, &column(0), &labels);
        write_rows(&bench, "b.parquet", metric, &column(1), &labels);
        let of = |key: &str| case[key].to_string();
        let (resamples, confidence, seed) = (of("resamples"), of("confidence"), of("seed"));
        let more = ["--resamples", &resamples, "--confidence", &confidence, "--seed", &seed];
        let figures = compared(&bench, &[&["a.parquet", "b.parquet"], &more[..]].concat()).figures();
        let found = &figures["metrics"][metric];
        for key in ["a", "b", "gain", "p_value"] {
            assert!(near(&found[key], &case[key]), "{}, {key}: {found}", case["name"]);
        }
        for end in 0..2 {
            assert!(near(&found["gain_interval"][end], &case["interval"][end]), "{}: {found}", case["name"]);
        }
        for key in ["wins", "losses", "ties"] {
            assert_eq!(found[key], case[key], "{}, {key}", case["name"]);
        }
        assert_eq!(compared(&bench, &[&["a.parquet", "b.parquet"], &more[..]].concat()).figures(), figures);
    }
    for [wins, losses, p] in serde_json::from_value::<Vec<[f64; 3]>>(reference["sign_tests"].clone()).unwrap() {
        let found = ft_measure::sign_test(wins as usize, losses as usize);
        assert!((found - p).abs() <= 1e-10 * p, "{wins} to {losses}: {found}, expected {p}");
    }
}

#[test]
fn a_bound_that_does_not_hold_fails_with_its_metric_the_bound_and_what_was_found() {
    let bench = answers();
    let figures = compared(&bench, &["a.parquet", "b.parquet", "--min-gain", "exact_match=0.2"]).figures();
    let found = &figures["metrics"]["exact_match"];
    assert_eq!((&found["wins"], &found["losses"], &found["ties"]), (&5.into(), &2.into(), &3.into()));
    assert_eq!((&figures["holds"], &figures["bounds"][0]["holds"]), (&true.into(), &true.into()));
    for (bound, words) in [
        (&["--min-gain", "exact_match=0.4"][..], "the gain of exact_match is 0.300000, expected at least 0.4"),
        (&["--min-gain", "exact_match=0.2", "--confident"], "the gain of exact_match, the interval's lower end, is -"),
        (&["--at-least", "exact_match=0.7"], "exact_match of the second is 0.600000, expected at least 0.7"),
        (&["--at-most", "exact_match=0.5"], "exact_match of the second is 0.600000, expected at most 0.5"),
        (&["--max-drop", "exact_match=-0.4"], "the drop of exact_match is -0.300000, expected at most -0.4"),
    ] {
        let out = compared(&bench, &[&["a.parquet", "b.parquet", "--report", "r.json"], bound].concat());
        let told = out.failure();
        assert_eq!(out.code, 1, "{told}");
        assert!(told.starts_with("b.parquet against a.parquet: ") && told.contains(words), "{told}");
        assert!(told.contains(bound[0]), "{told}");
        let report: Value = serde_json::from_slice(&std::fs::read(bench.path("r.json")).unwrap()).unwrap();
        assert_eq!(report["holds"], false);
    }
    // The other way round it is a drop of 0.3.
    let worse = ["b.parquet", "a.parquet", "--max-drop", "exact_match=0.1", "--report", "r.json"];
    assert!(compared(&bench, &worse).failure().contains("the drop of exact_match is 0.300000"));
}

#[test]
fn other_rows_are_refused_by_name() {
    let bench = answers();
    write_rows(&bench, "less.parquet", "exact_match", &[1.0; 9], &[1; 9]);
    write_rows(&bench, "loss.parquet", "loss", &[1.0; 10], &[1; 10]);
    bench.prompts("p.parquet");
    std::fs::write(bench.path("r.json"), "{}").unwrap();
    let refused = |a: &str, b: &str| compared(&bench, &[a, b]).failure().to_owned();
    let told = refused("a.parquet", "less.parquet");
    let expected = "'a.parquet' and 'less.parquet': they hold other rows: 10 in the first and 9 in the second";
    assert_eq!(told, expected);
    assert!(refused("a.parquet", "loss.parquet").contains("they have no metric in common"));
    assert!(refused("a.parquet", "p.parquet").starts_with("'p.parquet' is not what ft-eval writes row by row"));
    assert!(refused("r.json", "a.parquet").starts_with("'r.json' is not what ft-eval writes row by row"));
    assert!(refused("model", "a.parquet").contains("name the rows that they are measured on with --on"));
    let out = compared(&bench, &["a.parquet", "b.parquet", "--min-gain", "f1=0"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
    assert!(out.failure().contains("what is compared has exact_match"), "{}", out.stderr);
    for (value, words) in
        [("speed=1", "there are loss, exact_match"), ("loss", "METRIC=VALUE"), ("loss=x", "no number")]
    {
        let out = compared(&bench, &["a.parquet", "b.parquet", "--min-gain", value]);
        assert_eq!(out.code, 2);
        assert!(out.failure().contains(words), "{}", out.stderr);
    }
}

#[test]
fn what_must_not_be_forgotten_has_a_bound_of_its_own() {
    let bench = answers();
    write_rows(&bench, "before.parquet", "loss", &[1.0, 2.0], &[3, 1]);
    write_rows(&bench, "after.parquet", "loss", &[1.2, 2.0], &[3, 1]);
    let args = ["a.parquet", "b.parquet", "--forgetting", "before.parquet", "after.parquet"];
    let out = compared(&bench, &[&args[..], &["--report", "r.json"]].concat());
    let words = "the growth of the loss on what must not be forgotten is 0.150000, expected at most 0.05";
    assert!(out.code == 1 && out.failure().contains(words), "{}", out.stderr);
    let figures = compared(&bench, &[&args[..], &["--max-forgetting", "0.2"]].concat()).figures();
    assert!(near(&figures["forgetting"]["gain"], &json!(-0.15)), "{figures}");
    let out = compared(&bench, &["a.parquet", "b.parquet", "--max-forgetting", "0.2"]);
    assert!(out.code == 2 && out.failure().contains("name what must not be forgotten"), "{}", out.stderr);
    let swapped = ["a.parquet", "b.parquet", "--forgetting", "a.parquet", "b.parquet"];
    let out = compared(&bench, &swapped);
    assert!(out.code == 2 && out.failure().contains("'ft-eval loss --per-example'"), "{}", out.stderr);
}

#[test]
fn junit_has_a_case_a_metric_and_a_case_a_bound() {
    let bench = answers();
    let args = ["a.parquet", "b.parquet", "--junit", "j.xml", "--report", "r.json", "--min-gain", "exact_match=0.4"];
    let out = compared(&bench, &[&args[..], &["--at-least", "exact_match=0.5"]].concat());
    assert_eq!(out.code, 1);
    let xml = std::fs::read_to_string(bench.path("j.xml")).unwrap();
    assert!(
        xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"ft-eval compare\""),
        "{xml}"
    );
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\""), "{xml}");
    assert_eq!((xml.matches("<testcase ").count(), xml.matches("<failure ").count()), (3, 1), "{xml}");
    let words = "message=\"the gain of exact_match is 0.300000, expected at least 0.4 (--min-gain exact_match=0.4)\"";
    assert!(xml.contains(words), "{xml}");
    assert!(xml.contains("name=\"--at-least exact_match=0.5\""), "{xml}");
    let out = compared(&bench, &["a.parquet", "b.parquet", "--junit", "a.parquet"]);
    assert!(out.code == 2 && out.failure().contains("'a.parquet', which is read"), "{}", out.stderr);
}

#[test]
fn files_of_two_runs_and_the_runs_themselves_compare_alike() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    let row = |i: u32| {
        let ids: Vec<u32> = (0..9).map(|t| 3 + (i * 37 + t * 11) % 390).collect();
        Row::labelled(&ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>())
    };
    bench.tokens("t.parquet", &(0..6).map(row).collect::<Vec<_>>(), None);
    let line = |i: usize| {
        json!({"question": format!("{i}?"), "choices": ["tax", "the rent of it", "no"], "answer": i % 3}).to_string()
    };
    std::fs::write(bench.path("q.jsonl"), (0..6).map(|i| line(i) + "\n").collect::<String>()).unwrap();
    bench.copy_model("other");
    bench.change("other", "model.layers.0.self_attn.q_proj.weight", 0.01);
    for (task, rows, more, metrics) in [
        ("loss", "t.parquet", &["--per-example"][..], &["loss"][..]),
        ("generate", "p.parquet", &["--max-new-tokens", "5"], &["exact_match", "f1", "rouge_l"]),
        ("choice", "q.jsonl", &["--format", "text"], &["acc", "acc_norm"]),
    ] {
        for (model, file) in [("model", "a.parquet"), ("other", "b.parquet")] {
            let args = [&[rows, "-o", file], more].concat();
            assert_eq!(bench.run_on(task, model.as_ref(), &args, b"").code, 0);
        }
        let files = compared(&bench, &["a.parquet", "b.parquet"]).figures();
        let more = if task == "loss" { &[] } else { more };
        let models = compared(&bench, &[&["model", "other", "--on", rows], more].concat()).figures();
        assert_eq!(files["metrics"], models["metrics"], "{task}");
        assert_eq!((&models["a"], &models["b"]), (&"model".into(), &"other".into()));
        let found: Vec<&String> = files["metrics"].as_object().unwrap().keys().collect();
        assert_eq!(found, metrics);
        assert_eq!(
            (&models["models"]["a"]["model"], &models["models"]["b"]["model"]),
            (&"model".into(), &"other".into())
        );
        // The runs of one model are alike at every row.
        let same = compared(&bench, &["a.parquet", "a.parquet"]).figures();
        let same = &same["metrics"][metrics[0]];
        assert_eq!((&same["gain"], &same["wins"], &same["p_value"]), (&0.0.into(), &0.into(), &1.0.into()));
    }
    let args = ["model", "other", "--on", "p.parquet", "--max-new-tokens", "3", "--forgetting-on", "t.parquet"];
    let both = compared(&bench, &[&args[..], &["--max-forgetting", "100"]].concat()).figures();
    assert!(both["forgetting"]["gain"].as_f64().unwrap() != 0.0, "{both}");
}

#[test]
fn answers_to_other_prompts_compare_by_their_references_alone() {
    let bench = Bench::new();
    let rows = |from: u32| (0..4).map(|i| Row::prompt(&[from, 5 + i, 9], &format!("answer {i}"))).collect::<Vec<_>>();
    bench.tokens("one.parquet", &rows(20), None);
    bench.tokens("two.parquet", &rows(30), None);
    for (rows, file) in [("one.parquet", "a.parquet"), ("two.parquet", "b.parquet")] {
        assert_eq!(bench.run("generate", &[rows, "-o", file, "--max-new-tokens", "3"]).code, 0);
    }
    let told = compared(&bench, &["a.parquet", "b.parquet"]).failure().to_owned();
    assert!(told.contains("row 1 is not the same"), "{told}");
    assert_eq!(compared(&bench, &["a.parquet", "b.parquet", "--by-reference"]).figures()["rows"], 4);
}
