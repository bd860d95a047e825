//! Every format, plain and compressed, from files and pipes.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, LargeStringArray, RecordBatch, StringViewArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use ft_io::Target;
use ft_table::ParquetWriter;

use crate::support::{Scratch, examples, stderr};

const EXPECTED: [[&str; 2]; 2] = [["user: one, two", "assistant: \"3\"\n4"], ["user: é", "assistant: b"]];

const CSV: &str = "input,output\r\n\"one, two\",\"\"\"3\"\"\n4\"\r\n\r\né,b";
const TSV: &str = "input\toutput\none, two\t\"\"\"3\"\"\n4\"\né\tb\n";
const JSONL: &str = "{\"input\":\"one, two\",\"output\":\"\\\"3\\\"\\n4\"}\n\n{\"input\":\"\\u00e9\",\"output\":\"b\"}";
const JSON: &str =
    " [\n{\"input\":\"one, two\",\"output\":\"\\\"3\\\"\\n4\"},\n {\"input\":\"é\",\n\"output\":\"b\"}\n]\n";

fn check_file(name: &str, bytes: &[u8]) {
    let scratch = Scratch::new();
    scratch.write(name, bytes);
    let got = scratch.examples(&format!("{name} -o out.parquet"), "out.parquet");
    assert_eq!(got, EXPECTED, "{name}");
}

fn check_pipe(bytes: &[u8], more: &str) {
    let scratch = Scratch::new();
    let output = scratch.pipe(&format!("- {more} -o -"), bytes);
    assert!(output.status.success(), "{}", stderr(&output));
    scratch.write("out.parquet", &output.stdout);
    assert_eq!(examples(&scratch.path("out.parquet")), EXPECTED);
}

#[test]
fn text_formats_from_files_and_pipes() {
    check_file("in.csv", CSV.as_bytes());
    check_file("in.tsv", TSV.as_bytes());
    check_file("in.jsonl", JSONL.as_bytes());
    check_file("in.json", JSON.as_bytes());
    check_file("bom.csv", format!("\u{feff}{CSV}").as_bytes());
    // The content tells what the name does not.
    check_file("in.txt", CSV.as_bytes());
    check_file("in", TSV.as_bytes());
    check_pipe(CSV.as_bytes(), "");
    check_pipe(JSONL.as_bytes(), "");
    check_pipe(JSON.as_bytes(), "");
    check_pipe(TSV.as_bytes(), "--format tsv");
}

#[test]
fn compressed_by_content_whatever_the_name() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(CSV.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    check_file("in.csv.gz", &gzip);
    check_file("in.csv", &gzip);
    check_pipe(&gzip, "");
    let zstd = zstd::encode_all(JSONL.as_bytes(), 1).unwrap();
    check_file("in.jsonl.zst", &zstd);
    check_pipe(&zstd, "");
    // Files glued together, as log rotation makes them.
    let (head, tail) = CSV.split_at(20);
    let parts = [head, tail].map(|part| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(part.as_bytes()).unwrap();
        gzip.finish().unwrap()
    });
    check_file("two.csv.gz", &parts.concat());
}

/// The rows as columns of three kinds of text.
fn batch() -> RecordBatch {
    let input: ArrayRef = Arc::new(LargeStringArray::from(vec!["one, two", "é"]));
    let output: DictionaryArray<Int32Type> = ["\"3\"\n4", "b"].into_iter().collect();
    let other: ArrayRef = Arc::new(StringViewArray::from(vec!["x", "y"]));
    let columns: [(&str, ArrayRef); 3] = [("input", input), ("output", Arc::new(output)), ("other", other)];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn parquet_from_files_and_pipes() {
    let scratch = Scratch::new();
    let path = scratch.path("in.parquet");
    let target = Target::Path(path.clone());
    let mut writer = ParquetWriter::create(&target, batch().schema(), &[]).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(path).unwrap();
    check_file("in.parquet", &bytes);
    check_file("in.data", &bytes);
    check_pipe(&bytes, "");
    let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
    check_file("in.parquet.zst", &zstd);
}

#[test]
fn arrow_files_and_streams() {
    let mut stream = StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    stream.write(&batch()).unwrap();
    let stream = stream.into_inner().unwrap();
    check_file("in.arrow", &stream);
    check_pipe(&stream, "");
    let scratch = Scratch::new();
    let path = scratch.path("file.arrow");
    let file = File::create(&path).unwrap();
    let mut writer = FileWriter::try_new(file, &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(path).unwrap();
    check_file("in.arrow", &bytes);
    check_pipe(&bytes, "");
}

#[test]
fn its_own_output_can_be_read_again() {
    let scratch = Scratch::new();
    scratch.write("in.csv", CSV);
    scratch.examples("in.csv -o one.parquet", "one.parquet");
    let again = scratch.examples("one.parquet -o two.parquet", "two.parquet");
    assert_eq!(again, EXPECTED);
}

#[test]
fn a_csv_cell_may_hold_a_conversation_as_json() {
    let scratch = Scratch::new();
    let cell = r#""[{""role"":""user"",""content"":""q""},{""role"":""assistant"",""content"":""a""}]""#;
    scratch.write("in.csv", format!("messages\n{cell}\n"));
    let got = scratch.examples("in.csv -o out.parquet", "out.parquet");
    assert_eq!(got, [["user: q", "assistant: a"]]);
}
