//! Chats that are too long, and columns that go with their rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;
use ft_io::Source;
use ft_table::read_parquet;
use serde_json::json;

use crate::bench::{Bench, chat, table, texts};

fn long_chat() -> Vec<(&'static str, &'static str)> {
    vec![
        ("system", "Be brief."),
        ("user", "What is the first question about the tax?"),
        ("assistant", "It is 20 percent of the sum."),
        ("user", "And the second question?"),
        ("assistant", "It is 30 percent of the sum."),
        ("user", "And the third?"),
        ("assistant", "40 percent."),
    ]
}

#[test]
fn the_oldest_turns_go_first_and_the_system_message_stays() {
    let bench = Bench::new();
    bench.input(&[chat(&long_chat())]);
    let whole = bench.run(&["in.parquet", "-o", "out.parquet"]);
    assert!(whole.ok, "{}", whole.stderr);
    let all = bench.rows("out.parquet").length[0];
    let turns = |length: u32| {
        let length = length.to_string();
        let out = bench.run(&["in.parquet", "-o", "out.parquet", "--max-length", &length, "--overlong", "left"]);
        (out.ok, out.stderr)
    };
    assert!(turns(all).0);
    assert_eq!(bench.rows("out.parquet").length[0], all);
    let (ok, stderr) = turns(all - 1);
    assert!(ok, "{stderr}");
    let rows = bench.rows("out.parquet");
    assert!(rows.text[0].starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAnd the second"));
    assert_eq!(rows.learned[0], "It is 30 percent of the sum.<|im_end|>\n40 percent.<|im_end|>\n");
    assert!(stderr.contains(&format!("lost_tokens={}", all - rows.length[0])), "{stderr}");
    assert!(turns(rows.length[0] - 1).0);
    let rows = bench.rows("out.parquet");
    assert!(rows.text[0].starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAnd the third"));
    // The last turn stays whole or goes with its row.
    let (ok, stderr) = turns(rows.length[0] - 1);
    assert!(!ok && stderr.contains("none of the 1 rows can be used"), "{stderr}");
}

#[test]
fn a_prompt_loses_its_oldest_turns_too() {
    let bench = Bench::new();
    bench.input(&[chat(&long_chat())]);
    let args = ["in.parquet", "-o", "out.parquet", "--mode", "test"];
    assert!(bench.run(&args).ok);
    let shorter = (bench.rows("out.parquet").length[0] - 1).to_string();
    assert!(bench.run(&[&args[..], &["--max-seq-length", &shorter, "--overlong", "left"]].concat()).ok);
    let rows = bench.rows("out.parquet");
    assert!(!rows.text[0].contains("first") && rows.text[0].contains("Be brief."), "{}", rows.text[0]);
    assert_eq!(rows.reference[0].as_deref(), Some("40 percent."));
}

#[test]
fn columns_and_lineage_go_with_their_rows() {
    let bench = Bench::new();
    let row =
        |answer: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]).to_string();
    let rows = [row("a"), row(&"long ".repeat(50)), row("c")];
    let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![7, 8, 9]));
    table(
        &bench.path("in.parquet"),
        vec![
            ("client", texts([Some("x"), Some("y"), None])),
            ("messages", texts(rows.iter().map(|row| Some(row.as_str())))),
            ("source_file", texts([Some("a.csv"), Some("a.csv"), Some("b.csv")])),
            ("source_row", numbers),
        ],
    );
    let args = ["in.parquet", "-o", "out.parquet", "--max-length", "40", "--keep-columns", "client"];
    let out = bench.run(&args);
    assert!(out.ok, "{}", out.stderr);
    let table = read_parquet(&Source::Path(bench.path("out.parquet"))).unwrap();
    let batches: Vec<RecordBatch> = table.batches(None).unwrap().map(Result::unwrap).collect();
    let column = |name: &str| batches[0].column_by_name(name).unwrap().clone();
    let kept: Vec<Option<&str>> = column("client").as_string::<i32>().iter().map(|t| t.map(|_| "x")).collect();
    assert_eq!(kept, [Some("x"), None]);
    assert_eq!(column("source_row").as_primitive::<UInt64Type>().values(), &[7, 9]);
    assert_eq!(column("source_file").as_string::<i32>().value(1), "b.csv");
    for (name, code, told) in
        [("nothing", 1, "no column 'nothing'"), ("text", 1, "no column 'text'"), ("labels", 1, "no column 'labels'")]
    {
        let out = bench.run(&["in.parquet", "-o", "x", "--keep-columns", name]);
        assert_eq!(out.code, code, "{}", out.stderr);
        assert!(out.stderr.contains(told), "{}", out.stderr);
    }
}
