//! The split is exact, and the same bytes come from the same rows.

use std::collections::BTreeSet;
use std::fs;

use ft_io::Source;
use ft_table::read_parquet;

use crate::support::{Scratch, examples, stderr};

fn csv(rows: usize) -> String {
    let row = |i| format!("question {i},\"answer, {i}\"\n");
    let rows: String = (0..rows).map(row).collect();
    format!("input,output\n{rows}")
}

/// Both sides of a run.
fn sides(scratch: &Scratch, line: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let output = scratch.run(&format!("{line} -o sides"));
    assert!(output.status.success(), "{}", stderr(&output));
    let side = |name: &str| examples(&scratch.path("sides").join(name));
    (side("train.parquet"), side("test.parquet"))
}

#[test]
fn every_row_is_on_one_side_and_the_sizes_are_exact() {
    let scratch = Scratch::new();
    scratch.write("in.csv", csv(20_001));
    for (size, expected) in [("0.1", 2001), ("0.33", 6601), ("1", 1), ("20000", 20_000)] {
        let (train, test) = sides(&scratch, &format!("in.csv --test-size {size}"));
        assert_eq!(test.len(), expected, "{size}");
        assert_eq!(train.len() + test.len(), 20_001);
        let all: BTreeSet<_> = train.into_iter().chain(test).collect();
        assert_eq!(all.len(), 20_001);
    }
}

#[test]
fn the_share_is_of_the_rows_that_are_kept() {
    let scratch = Scratch::new();
    let text = csv(50) + "question 0,\"answer, 0\"\n" + ",x\n";
    scratch.write("in.csv", text);
    let (train, test) = sides(&scratch, "in.csv --dedup --test-size 0.2");
    assert_eq!((train.len(), test.len()), (40, 10));
}

#[test]
fn both_sides_keep_the_order_and_the_seed_decides() {
    let scratch = Scratch::new();
    scratch.write("in.csv", csv(1000));
    let number = |row: &Vec<String>| -> usize {
        let digits = row[0].strip_prefix("user: question ").unwrap();
        digits.parse().unwrap()
    };
    let run = |seed: u64| sides(&scratch, &format!("in.csv --test-size 100 --seed {seed}")).1;
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first.iter().map(number).is_sorted());
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn a_file_and_a_pipe_give_the_same_bytes() {
    let scratch = Scratch::new();
    let text = csv(30_000);
    scratch.write("in.csv", &text);
    let options = "--test-size 0.1 --seed 3 --threads";
    sides(&scratch, &format!("in.csv {options} 2"));
    let read = |name: &str| fs::read(scratch.path(name)).unwrap();
    for side in ["train", "test"] {
        let line = format!("- {options} 1 -o -");
        let one = scratch.pipe(&format!("{line} --split {side}"), text.as_bytes());
        assert!(one.status.success(), "{}", stderr(&one));
        // The arguments differ in --split, so compare with the same command.
        let line = format!("--split {side} {options} 2 in.csv -o {side}.parquet");
        scratch.examples(&line, &format!("{side}.parquet"));
        let rows = examples(&scratch.path(&format!("sides/{side}.parquet")));
        assert_eq!(rows, examples(&scratch.path(&format!("{side}.parquet"))));
        let line = format!("--split {side} {options} 1 - -o -");
        let piped = scratch.pipe(&line, text.as_bytes());
        assert_eq!(piped.stdout, read(&format!("{side}.parquet")));
    }
}

#[test]
fn without_a_split_a_file_and_a_pipe_give_the_same_bytes() {
    let scratch = Scratch::new();
    let text = csv(10_000);
    scratch.write("in.csv", &text);
    scratch.examples("in.csv -o a.parquet", "a.parquet");
    let piped = scratch.pipe("-", text.as_bytes());
    assert_eq!(piped.stdout, fs::read(scratch.path("a.parquet")).unwrap());
    fs::create_dir(scratch.path("folder")).unwrap();
    scratch.examples("in.csv -o folder", "folder/train.parquet");
}

#[test]
fn the_footer_tells_where_the_rows_come_from() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "input,output\nq,a\n");
    scratch.examples("in.csv --seed 9 -o out.parquet --quiet", "out.parquet");
    let table = read_parquet(&Source::Path(scratch.path("out.parquet"))).unwrap();
    let pair = |key: &str| table.metadata()[key].clone();
    assert_eq!(pair("ft.tool"), "ft-prep");
    assert_eq!(pair("ft.arguments"), r#"["--seed","9"]"#);
    let sha256 = ft_io::sha256_hex("input,output\nq,a\n");
    assert_eq!(pair("ft.inputs"), format!(r#"[{{"sha256":"{sha256}"}}]"#));
}

#[test]
fn wrong_sizes_are_told() {
    let scratch = Scratch::new();
    scratch.write("in.csv", csv(10));
    let told = scratch.failure("in.csv --test-size 10 -o d", 1);
    assert!(told.contains("10 of 10 rows for testing leave none to train on"), "{told}");
    let told = scratch.failure("in.csv --test-size 1.5 -o d", 2);
    assert!(told.contains("expected a share between 0 and 1"), "{told}");
    let told = scratch.failure("in.csv --split test -o d", 2);
    assert_eq!(told, "--split needs --test-size");
    let told = scratch.failure("in.csv --test-size 2 -o -", 2);
    assert!(told.contains("two sides need a folder"), "{told}");
    let told = scratch.failure("in.csv --test-size 2 -o x.parquet", 2);
    assert!(told.starts_with("'x.parquet' names a file, but two sides need a folder"), "{told}");
}
