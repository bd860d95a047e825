//! Several inputs: folders, patterns, where rows come from, mixes.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;

use crate::support::{Scratch, batches, stderr, text_column};

/// `rows` questions that begin with `name`, as CSV.
fn csv(name: &str, rows: usize) -> String {
    let row = |i| format!("{name}{i},a\n");
    let rows: String = (0..rows).map(row).collect();
    format!("input,output\n{rows}")
}

fn questions(scratch: &Scratch, line: &str) -> Vec<String> {
    let rows = scratch.examples(line, "out.parquet");
    rows.into_iter().map(|row| row[0].strip_prefix("user: ").unwrap().to_owned()).collect()
}

fn numbers(scratch: &Scratch, column: &str) -> Vec<u64> {
    let of = |batch: &arrow::array::RecordBatch| {
        batch.column_by_name(column).unwrap().as_primitive::<UInt64Type>().values().to_vec()
    };
    batches(&scratch.path("out.parquet")).iter().flat_map(of).collect()
}

#[test]
fn folders_and_patterns_are_read_in_the_order_of_their_names() {
    let scratch = Scratch::new();
    for folder in ["data/b", "data/.hidden", "data/_cache"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    scratch.write("data/z.csv", csv("z", 1)).write("data/b/c.tsv", csv("c", 1)).write("data/a1.csv", csv("a", 2));
    scratch.write("data/b/d.jsonl", r#"{"input":"d0","output":"a"}"#);
    scratch.write("data/README.md", "# no rows").write("data/.hidden/x.csv", "?").write("data/_cache/x.csv", "?");
    scratch.write("data/dataset_info.json", "{}");
    let all = ["a0", "a1", "c0", "d0", "z0"];
    assert_eq!(questions(&scratch, "data -o out.parquet"), all);
    assert_eq!(questions(&scratch, "data/*.csv -o out.parquet"), ["a0", "a1", "z0"]);
    assert_eq!(questions(&scratch, "data/**/[cd].* data/z.csv -o out.parquet"), ["c0", "d0", "z0"]);
    // A file of such a name is itself.
    scratch.write("x[1].csv", csv("x", 1));
    assert_eq!(questions(&scratch, "x[1].csv -o out.parquet"), ["x0"]);
    let told = scratch.failure("data/*.parquet -o out.parquet", 1);
    assert_eq!(told, "cannot read 'data/*.parquet': no file matches this pattern");
    let told = scratch.failure("data -o data/a1.csv", 2);
    assert!(told.contains("would take the place of"), "{told}");
}

#[test]
#[cfg(unix)]
fn standard_input_has_a_name_too() {
    let scratch = Scratch::new();
    let output = scratch.pipe("/dev/stdin -o out.parquet", csv("q", 3).as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(scratch.failure("- /dev/stdin -o x", 2), "standard input can be read only once");
}

#[test]
fn where_rows_come_from_is_written_on_demand() {
    let scratch = Scratch::new();
    scratch.write("a.csv", "input,output\nq,a\n,b\n\"two\nlines\",c\nlast,d\n");
    scratch.write("b.jsonl", "\n{\"input\":\"q\",\"output\":\"a\"}\n");
    scratch.examples("b.jsonl -o c.parquet", "c.parquet");
    let line = "a.csv b.jsonl c.parquet --lineage -o out.parquet";
    assert_eq!(questions(&scratch, line), ["q", "two\nlines", "last", "q", "q"]);
    let files: Vec<_> = text_column(&scratch.path("out.parquet"), "source_file").into_iter().flatten().collect();
    assert_eq!(files, ["a.csv", "a.csv", "a.csv", "b.jsonl", "c.parquet"]);
    assert_eq!(numbers(&scratch, "source_row"), [2, 4, 6, 2, 1]);
    let told = scratch.failure("a.csv --lineage --keep-columns source_row -o out.parquet", 2);
    assert!(told.contains("'source_row' is written anyway"), "{told}");
}

fn sources(scratch: &Scratch) -> Vec<String> {
    text_column(&scratch.path("out.parquet"), "source").into_iter().flatten().collect()
}

#[test]
fn a_mix_draws_by_weight_and_the_seed_decides() {
    let scratch = Scratch::new();
    scratch.write("a.csv", csv("a", 9000)).write("b.csv", csv("b", 9000));
    let line = "--mix a.csv=3 b.csv=1 --report report.json -o out.parquet";
    let found = questions(&scratch, line);
    // It ends with the last row of a.csv.
    assert_eq!(found.last().map(String::as_str), Some("a8999"));
    let names = sources(&scratch);
    let of_b = names.iter().filter(|name| *name == "b.csv").count();
    assert!((2800..3200).contains(&of_b), "{of_b}");
    assert!(found.iter().zip(&names).all(|(question, name)| question[..1] == name[..1]));
    let only_b: Vec<_> = found.iter().filter(|question| question.starts_with('b')).collect();
    assert!(only_b.iter().enumerate().all(|(i, question)| **question == format!("b{i}")));
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scratch.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["inputs"][0]["written"], 9000);
    assert_eq!(report["inputs"][1]["written"], of_b);
    assert_eq!(questions(&scratch, line), found);
    assert_ne!(questions(&scratch, "--seed 1 --mix a.csv=3 b.csv=1 -o out.parquet"), found);
    let told = scratch.failure("--mix a.csv=0 -o out.parquet", 2);
    assert!(told.contains("the weight '0' is no number above 0"), "{told}");
}

#[test]
fn inputs_of_a_mix_begin_again_on_demand() {
    let scratch = Scratch::new();
    scratch.write("a.csv", csv("a", 5000)).write("b.csv", csv("b", 3) + "b0,a\n");
    let found = questions(&scratch, "--mix a.csv=1 b.csv=1 --mix-until all --dedup -o out.parquet");
    let of = |name: char| found.iter().filter(|question| question.starts_with(name)).collect::<Vec<_>>();
    assert_eq!(of('a').len(), 5000);
    assert!(of('b').iter().enumerate().all(|(i, question)| **question == format!("b{}", i % 3)));
    let found = questions(&scratch, "--mix a.csv=1 b.csv=1 --mix-until 10001 -o out.parquet");
    assert_eq!(found.len(), 10001);
    assert_eq!(found.iter().filter(|question| *question == "a7").count(), 1);
    scratch.write("empty.csv", "input,output\n,a\n");
    let told = scratch.failure("--mix a.csv=1 empty.csv=1 --mix-until all -o out.parquet", 1);
    assert_eq!(told, "input 2 of the mix has no row that can be used");
}

#[test]
fn a_row_that_a_mix_repeats_is_on_one_side() {
    let scratch = Scratch::new();
    scratch.write("a.csv", csv("a", 300)).write("b.csv", csv("b", 10));
    let output = scratch.run("--mix a.csv=1 b.csv=1 --mix-until all --test-size 0.2 -o sides");
    assert!(output.status.success(), "{}", stderr(&output));
    let side = |name: &str| crate::support::examples(&scratch.path("sides").join(name));
    let (train, test) = (side("train.parquet"), side("test.parquet"));
    assert!(test.iter().all(|row| !train.contains(row)));
    assert!(test.len() > 80, "{}", test.len());
}

#[test]
fn mixed_inputs_may_have_different_fields() {
    let scratch = Scratch::new();
    let call = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"function":{}}]}]}"#;
    scratch.write("a.csv", csv("a", 20)).write("b.jsonl", call);
    let output = scratch.run("--mix a.csv=1 b.jsonl=1 --mix-until 40 -o out.parquet");
    assert!(output.status.success(), "{}", stderr(&output));
    let found = crate::support::rows(&scratch.path("out.parquet"));
    let calls = found.iter().filter(|row| row["messages"][1].get("tool_calls").is_some()).count();
    assert!((10..30).contains(&calls) && found.len() == 40, "{calls}");
}
