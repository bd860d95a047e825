//! Plain texts to continue training on.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};

use crate::bench::{Bench, Outcome, question, table, texts};

fn input(bench: &Bench, documents: &[Option<&str>]) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..documents.len() as i64));
    let columns = vec![("text", texts(documents.iter().copied())), ("source_row", numbers)];
    table(&bench.path("in.parquet"), columns);
}

fn run(bench: &Bench, args: &[&str]) -> Outcome {
    bench.run(&[&["in.parquet", "-o", "out.parquet"], args].concat())
}

/// What the tests' tokenizer ends a text with.
fn end(bench: &Bench) -> String {
    ft_text::TextModel::open(&bench.model()).unwrap().eos.unwrap().text
}

#[test]
fn documents_need_no_template_and_all_of_them_is_learned() {
    let bench = Bench::new();
    input(&bench, &[Some("One text.\nOf two lines."), Some("Another.")]);
    // A base model has no template.
    std::fs::write(
        bench.path("model/tokenizer_config.json"),
        std::fs::read_to_string(bench.path("model/tokenizer_config.json"))
            .unwrap()
            .replace("\"chat_template\"", "\"unused\""),
    )
    .unwrap();
    let out = run(&bench, &[]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    let end = end(&bench);
    assert_eq!(rows.text, [format!("One text.\nOf two lines.{end}"), format!("Another.{end}")]);
    assert_eq!(rows.learned, rows.text);
    assert!(!rows.metadata.contains_key("ft.chat_template"));
    assert!(out.stderr.contains("rows_ending_in_labelled_end_token=2"), "{}", out.stderr);
}

#[test]
fn long_documents_are_cut_into_rows() {
    let bench = Bench::new();
    let long = "The tax is 20 percent of it, für alle. ".repeat(20);
    input(&bench, &[Some("Short."), Some(&long)]);
    let out = run(&bench, &["--max-length", "16", "--overlong", "split"]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert!(rows.text.len() > 10);
    assert_eq!(rows.text[1..].concat(), long + &end(&bench));
    let (last, full) = rows.length[1..].split_last().unwrap();
    assert!(full.iter().all(|&n| n == 16) && *last <= 16, "{:?}", rows.length);
    assert!(out.stderr.contains("rows_cut_up=1"), "{}", out.stderr);
}

#[test]
fn documents_are_packed_with_an_end_token_between_them() {
    let bench = Bench::new();
    let texts = ["One.", "Two, and more of it.", "Three."];
    input(&bench, &texts.map(Some));
    let apart = run(&bench, &[]);
    assert!(apart.ok, "{}", apart.stderr);
    let ids = bench.rows("out.parquet").ids.concat();
    let out = run(&bench, &["--packing", "--max-length", "7"]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    // A single token that is left over would teach nothing.
    let kept = if ids.len() % 7 == 1 { ids.len() - 1 } else { ids.len() };
    assert_eq!(rows.ids.concat(), ids[..kept]);
    assert!(rows.length[..rows.length.len() - 1].iter().all(|&n| n == 7), "{:?}", rows.length);
    let whole = texts.join(&end(&bench)) + &end(&bench);
    assert!(whole.starts_with(&rows.text.concat()));
    let bytes = |threads: &str| {
        assert!(run(&bench, &["--packing", "--max-length", "7", "--threads", threads]).ok);
        std::fs::read(bench.path("out.parquet")).unwrap()
    };
    assert!(bytes("1") == bytes("2"));
}

#[test]
fn what_is_for_chats_or_documents_alone_is_told() {
    let bench = Bench::new();
    input(&bench, &[Some("A long text, so it is."), None]);
    let out = run(&bench, &["--max-length", "4", "--overlong", "left"]);
    assert!(out.stderr.contains("row 1: --overlong left is for chats; give split or truncate"), "{}", out.stderr);
    let out = run(&bench, &["--mode", "test"]);
    assert_eq!(out.code, 2);
    let out = run(&bench, &[]);
    assert!(out.stderr.contains("in.parquet: row 2: the text is empty"), "{}", out.stderr);
    bench.input(&[question("A long question, so it is.", "a")]);
    let out = run(&bench, &["--max-length", "4", "--overlong", "split"]);
    assert!(out.stderr.contains("row 1: --overlong split is for documents; give left or truncate"), "{}", out.stderr);
    let out = run(&bench, &["--max-length", "4", "--packing"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
}
