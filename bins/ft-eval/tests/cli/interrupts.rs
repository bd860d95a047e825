//! A signal in the middle of `ft-eval`: what is done is kept.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;

use crate::bench::{Bench, Row};

/// Runs `args` and sends SIGINT, later each time, until the run has left `output`; the exit code and what was said.
fn interrupted(bench: &Bench, args: &[&str], output: &str) -> (i32, String) {
    for wait in [1, 2, 4, 8, 16] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-eval"));
        command.current_dir(bench.path("")).args(["--quiet"]).args(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_secs(wait));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        if bench.path(output).exists() {
            return (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap());
        }
        assert_eq!(out.status.code(), Some(130), "an interrupt before the first result");
    }
    panic!("nothing was done in 16 seconds");
}

#[test]
fn answers_that_are_done_are_kept() {
    let bench = Bench::new();
    let prompt = |i: u32| Row::prompt(&[3 + i % 390, 5 + i % 7, 11], "an answer");
    bench.tokens("p.parquet", &(0..200_000).map(prompt).collect::<Vec<_>>(), None);
    let args = ["generate", "--model", "model", "p.parquet", "--max-new-tokens", "12"];
    let (code, told) = interrupted(&bench, &[&args[..], &["-o", "some.parquet"]].concat(), "some.parquet");
    assert_eq!(code, 130, "{told}");
    let some = bench.rows("some.parquet");
    let told = told.lines().last().unwrap();
    assert!(told.starts_with("ft-eval: error: interrupted; 'some.parquet' has "), "{told}");
    assert!(told.ends_with(" of 200000 rows"), "{told}");
    let rows = some.column_by_name("row").unwrap().as_primitive::<UInt64Type>().values();
    assert!(rows.is_sorted() && rows.len() < 200_000);
    // The rows that are there are those of a run that came to its end.
    let whole = [&args[..], &["--limit", "4", "-o", "whole.parquet", "--report", "f.json"]].concat();
    assert_eq!(bench.run_on("generate", "model".as_ref(), &whole[3..], b"").code, 0);
    let whole = bench.rows("whole.parquet");
    let alike = rows.iter().position(|&row| row > 4).unwrap_or(rows.len());
    assert!(alike > 0, "the first rows were begun first: {rows:?}");
    for column in ["prompt", "prediction", "output_ids"] {
        let (some, whole) = (some.column_by_name(column).unwrap(), whole.column_by_name(column).unwrap());
        for (i, &row) in rows[..alike].iter().enumerate() {
            assert_eq!(some.slice(i, 1).as_ref(), whole.slice(row as usize - 1, 1).as_ref());
        }
    }
}

#[test]
fn losses_that_are_done_are_kept() {
    let bench = Bench::new();
    let row = |i: u32| {
        let ids: Vec<u32> = (0..40).map(|t| 3 + (i + t * 7) % 390).collect();
        Row::labelled(&ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>())
    };
    bench.tokens("t.parquet", &(0..60_000).map(row).collect::<Vec<_>>(), None);
    let args = ["loss", "--model", "model", "t.parquet", "--per-example", "-o", "some.parquet"];
    let (code, told) = interrupted(&bench, &args, "some.parquet");
    assert_eq!(code, 130, "{told}");
    let some = bench.rows("some.parquet");
    let rows = some.column_by_name("row").unwrap().as_primitive::<UInt64Type>().values();
    assert!(!rows.is_empty() && rows.iter().copied().eq(1..=rows.len() as u64));
    assert!(told.contains(" of 60000 rows"), "{told}");
}

#[test]
fn questions_that_are_done_are_kept() {
    let bench = Bench::new();
    let line = |i: usize| format!("{{\"question\": \"{i}?\", \"choices\": [\"tax\", \"rent\"], \"answer\": 0}}\n");
    std::fs::write(bench.path("q.jsonl"), (0..100_000).map(line).collect::<String>()).unwrap();
    let args = ["choice", "--model", "model", "q.jsonl", "--format", "text", "-o", "some.parquet"];
    let (code, told) = interrupted(&bench, &args, "some.parquet");
    assert_eq!(code, 130, "{told}");
    let some = bench.rows("some.parquet");
    let rows = some.column_by_name("row").unwrap().as_primitive::<UInt64Type>().values();
    assert!(!rows.is_empty() && rows.iter().copied().eq(1..=rows.len() as u64));
    assert!(told.contains(" of 100000 rows"), "{told}");
}
