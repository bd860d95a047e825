//! CSV and JSON as they occur: delimiters, encodings, ragged rows, Python's JSON.

use std::io::Write;

use serde_json::Value;

use crate::support::{Scratch, stderr, text_column};

/// The examples of `name` with this content.
fn made(name: &str, bytes: impl AsRef<[u8]>, more: &str) -> Vec<Vec<String>> {
    let scratch = Scratch::new();
    scratch.write(name, bytes);
    scratch.examples(&format!("{name} {more} -o out.parquet"), "out.parquet")
}

/// What the run says over `name` with this content.
fn told(name: &str, bytes: impl AsRef<[u8]>, more: &str) -> String {
    let scratch = Scratch::new();
    scratch.write(name, bytes);
    scratch.failure(&format!("{name} {more} -o out.parquet"), 1)
}

#[test]
fn the_delimiter_is_found_or_given() {
    let expected = [["user: q; or, so", "assistant: 1,5"]];
    for delimiter in [',', ';', '\t', '|'] {
        let csv = format!("input{delimiter}output\r\n\"q; or, so\"{delimiter}\"1,5\"\r\n");
        assert_eq!(made("in.csv", &csv, ""), expected, "{delimiter:?}");
        assert_eq!(made("in.txt", &csv, ""), expected, "{delimiter:?}");
    }
    assert_eq!(made("in.csv", "input;output\nq;1,5\n", ""), [["user: q", "assistant: 1,5"]]);
    assert_eq!(made("in.csv", "sep=;\r\ninput;output\r\nq;a\r\n", ""), [["user: q", "assistant: a"]]);
    assert_eq!(made("in.csv", "input#output\nq,r#a\n", "--delimiter #"), [["user: q,r", "assistant: a"]]);
    assert_eq!(made("in.csv", "input\toutput\nq\ta\n", "--delimiter tab"), [["user: q", "assistant: a"]]);
    let got = told("in.csv", "input;output\nq;a\nq\n", "");
    assert!(got.starts_with("in.csv, line 3: 1 field, expected 2"), "{got}");
    let got = told("in.csv", "sep=;\ninput;output\nq;a\nq\n", "");
    assert!(got.starts_with("in.csv, line 4: 1 field, expected 2"), "{got}");
    let scratch = Scratch::new();
    scratch.write("in.csv", "a");
    assert!(scratch.failure("in.csv --delimiter ;; -o x", 2).contains("expected one character"));
}

#[test]
fn cells_of_the_header_are_trimmed_and_duplicates_refused() {
    assert_eq!(made("in.csv", " input , output\nq,a\n", ""), [["user: q", "assistant: a"]]);
    let got = told("in.csv", "input,output, input\nq,a,b\n", "");
    assert_eq!(got, "in.csv: column 'input' stands twice in the header; rename one of them");
}

#[test]
fn utf16_with_and_without_a_mark() {
    let csv = "input,output\nwhat’s \"this\",\"é 😀\nb\"\nq,a\n";
    let expected = [["user: what’s \"this\"", "assistant: é 😀\nb"], ["user: q", "assistant: a"]];
    let little = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let big = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let marked = format!("\u{feff}{csv}");
    for bytes in [little(csv), big(csv), little(&marked), big(&marked)] {
        assert_eq!(made("in.csv", &bytes, ""), expected);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&little(&marked)).unwrap();
    assert_eq!(made("in.csv.gz", gzip.finish().unwrap(), ""), expected);
    let json = "{\"input\":\"q\",\"output\":\"é\"}\n";
    assert_eq!(made("in.jsonl", little(json), ""), [["user: q", "assistant: é"]]);
    assert_eq!(made("in.jsonl", format!("\u{feff}{json}"), ""), [["user: q", "assistant: é"]]);
    assert_eq!(made("in.json", format!("\u{feff}[{json}]"), ""), [["user: q", "assistant: é"]]);
    let got = told("in.csv", &little(&marked)[..9], "");
    assert!(got.starts_with("cannot read 'in.csv': it is not UTF-16LE at byte"), "{got}");
}

#[test]
fn bytes_of_windows_1252_are_told_and_read_by_name() {
    let csv = b"prompt,completion\nq,it\x92s 5 \x80\n";
    let got = told("in.csv", csv, "");
    assert!(got.starts_with("in.csv, line 2: column 'completion' is not UTF-8 (byte 0x92)"), "{got}");
    assert!(got.contains("--encoding windows-1252"), "{got}");
    for name in ["windows-1252", "cp1252", "latin1", "ISO-8859-1"] {
        let more = format!("--encoding {name}");
        assert_eq!(made("in.csv", csv, &more), [["user: q", "assistant: it’s 5 €"]], "{name}");
    }
    assert_eq!(
        made("in.csv", b"prompt,completion\nq,\x93\xfa\x96{\n", "--encoding shift_jis"),
        [["user: q", "assistant: 日本"]]
    );
    let scratch = Scratch::new();
    scratch.write("in.csv", csv);
    assert!(scratch.failure("in.csv --encoding ebcdic -o x", 2).contains("expected a name such as utf-8"));
}

#[test]
fn what_is_no_table_is_told_by_name() {
    for (bytes, what) in [
        (
            &b"BZh91AY&SY"[..],
            "in.csv: is compressed with bzip2, which is not read here (gzip and zstd are); unpack it first: bzip2 -dc",
        ),
        (b"PK\x03\x04\x14\0\0\0", "in.csv: is a zip archive"),
        (b"PK\x03\x04\x14\0[Content_Types].xml", "in.csv: is a spreadsheet's own format; save it as CSV"),
        (b"\xfd7zXZ\0\0", "in.csv: is compressed with xz"),
    ] {
        let got = told("in.csv", bytes, "");
        assert!(got.starts_with(what), "{got}");
        let got = told("in.csv", bytes, "--format csv --encoding latin1");
        assert!(got.contains(what), "{got}");
    }
}

#[test]
fn padding_behind_gzip_is_no_text() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"input,output\nq,a\n").unwrap();
    let mut bytes = gzip.finish().unwrap();
    let plain = bytes.clone();
    bytes.resize(bytes.len() + 600_000, 0);
    assert_eq!(made("in.csv.gz", &bytes, ""), [["user: q", "assistant: a"]]);
    bytes.extend(plain);
    assert_eq!(made("in.csv.gz", &bytes, "").len(), 3, "a header and a row more");
    bytes.extend(b"junk");
    assert!(told("in.csv.gz", &bytes, "").contains("gzip data is cut short or damaged"));
}

/// The rows that were left out, as JSON.
fn rejects(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(scratch.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn bad_rows_are_dropped_on_demand_and_can_be_read() {
    let scratch = Scratch::new();
    let csv = b"input,output,id\nq,a,1\nq\nq,b,2,3\nq,\"x\"y,4\n\"two\nlines\",c,5\nq,\xff,6\n,d,7\nq,e,8\n";
    scratch.write("in.csv", csv);
    let output = scratch.run("in.csv --bad-rows drop --rejects bad.jsonl --keep-columns id -o out.parquet");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let counts = "8 rows read, 3 kept, 5 dropped (empty question 1, a ragged row 3, not UTF-8 1)";
    assert!(said.contains(counts), "{said}");
    let ids: Vec<_> = text_column(&scratch.path("out.parquet"), "id").into_iter().flatten().collect();
    assert_eq!(ids, ["1", "5", "8"]);
    let found = rejects(&scratch, "bad.jsonl");
    let heads: Vec<_> =
        found.iter().map(|line| (line["row"].as_u64().unwrap(), line["reason"].as_str().unwrap())).collect();
    let expected =
        [(3, "a ragged row"), (4, "a ragged row"), (5, "a ragged row"), (8, "not UTF-8"), (9, "empty question")];
    assert_eq!(heads, expected);
    assert_eq!(found[1]["text"], r#"["q","b","2","3"]"#);
    assert!(found[1]["detail"].as_str().unwrap().starts_with("4 fields, expected 3"), "{found:?}");
    assert!(found[2]["detail"].as_str().unwrap().starts_with("text after the closing quote of field 2"), "{found:?}");
    assert_eq!(found[4]["data"]["output"], "d");
    assert_eq!(found[4]["file"], "in.csv");
    // A quote that is never closed would take all that follows with it.
    let got = told("in.csv", "input,output\nq,a\nq,\"b\nq,c\n", "--bad-rows drop");
    assert_eq!(got, "in.csv, line 3: a quote is opened in this row and never closed");
}

#[test]
fn lines_that_are_no_json_are_dropped_on_demand() {
    let scratch = Scratch::new();
    let good = r#"{"input":"q","output":"a"}"#;
    let lines =
        [good, r#"{"input":"q","output":NaN}"#, r#"{"input":"\ud800","output":"b"}"#, "[1]", "{\"input\":", good];
    scratch.write("in.jsonl", lines.join("\n"));
    let output = scratch.run("in.jsonl --bad-rows drop --rejects bad.jsonl -o out.parquet");
    assert!(stderr(&output).contains("6 rows read, 2 kept, 4 dropped (not JSON 4)"), "{}", stderr(&output));
    let found = rejects(&scratch, "bad.jsonl");
    assert_eq!(found.iter().map(|line| line["row"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(found[0]["text"], lines[1]);
    scratch.write("in.json", format!("[{}]", [good, lines[1], good].join(",\n")));
    let output = scratch.run("in.json --bad-rows drop -o out.parquet");
    assert!(stderr(&output).contains("3 rows read, 2 kept, 1 dropped (not JSON 1)"), "{}", stderr(&output));
    // Rows that are JSON and cannot be understood.
    scratch.write("in.jsonl", format!("{good}\n{}", r#"{"input":{"a":1},"output":"a"}"#));
    let output = scratch.run("in.jsonl --bad-rows drop --rejects bad.jsonl -o out.parquet");
    assert!(stderr(&output).contains("1 dropped (not understood 1)"), "{}", stderr(&output));
    assert_eq!(rejects(&scratch, "bad.jsonl")[0]["detail"], "'input' is an object, expected text");
}

#[test]
fn what_python_writes_and_json_has_not_is_told() {
    let good = r#"{"input":"q","output":"a"}"#;
    for (value, advice) in [
        ("NaN", "NaN is Python's and no JSON"),
        ("Infinity", "Infinity is Python's and no JSON"),
        ("-Infinity", "-Infinity is Python's and no JSON"),
        (r#""\ud83d""#, "half of a surrogate pair is no character"),
        (r#""\udc00 x""#, "half of a surrogate pair is no character"),
    ] {
        let got = told("in.jsonl", format!("{good}\n{{\"input\":\"q\",\"output\":{value}}}"), "");
        assert!(got.starts_with("in.jsonl, line 2: not JSON: ") && got.contains(advice), "{got}");
        let got = told("in.json", format!("[{good},\n{{\"input\":\"q\",\"output\":{value}}}]"), "");
        assert!(got.starts_with("in.json, line 2: not JSON: ") && got.contains(advice), "{got}");
    }
}

#[test]
fn commas_of_an_array_are_where_they_belong() {
    let one = r#"{"prompt":"q","completion":"a"}"#;
    for (text, place, what) in [
        (format!("[,{one}]"), "column 2", "a comma stands before the first object"),
        (format!("[{one},,{one}]"), "column 34", "two commas, expected an object between them"),
        (format!("[{one},\n]"), "line 2, column 1", "a comma stands before the array's ']'"),
        (format!("[{one}\n {one}]"), "line 2, column 2", "a comma is missing between two objects"),
        (format!("[{one}\"x\"]"), "column 33", "expected a comma or the array's ']'"),
        (format!("[{one}]\n[{one}]"), "line 2, column 1", "a second array begins behind the first"),
        (format!("[{one}] x"), "column 35", "text after the array's ']'"),
        (format!("[{one},1]"), "column 34", "expected an object"),
    ] {
        for more in ["", "--bad-rows drop"] {
            let got = told("in.json", &text, more);
            assert!(got.contains(place) && got.contains(what), "{text}: {got}");
        }
    }
    assert_eq!(made("in.json", format!("[\n{one}\n,\n{one}\n]\n"), "").len(), 2);
}

#[test]
fn pretty_printed_objects_are_rows() {
    let pretty = "{\n  \"input\": \"q\",\n  \"output\": \"a}\"\n}\n";
    let expected = [["user: q", "assistant: a}"], ["user: q", "assistant: a}"]];
    for name in ["in.json", "in.jsonl"] {
        assert_eq!(made(name, format!("{pretty}{pretty}"), ""), expected);
    }
    assert_eq!(made("in.json", format!("[{pretty},{pretty}]"), ""), expected);
    let got = told("in.jsonl", format!("{pretty}{{\n  \"input\": 1,\n  broken\n}}\n"), "");
    assert!(got.starts_with("in.jsonl, line 5: not JSON"), "{got}");
}

#[test]
fn very_long_cells() {
    let scratch = Scratch::new();
    let long = "word, ".repeat(2_000_000);
    scratch.write("in.csv", format!("input,output\nq,\"{long}\"\nq,a\n"));
    let found = scratch.examples("in.csv -o out.parquet", "out.parquet");
    assert_eq!(found[0][1].len(), "assistant: ".len() + long.len());
    assert_eq!(found.len(), 2);
}

#[test]
fn images_are_an_error_on_demand() {
    let scratch = Scratch::new();
    let line = r#"{"messages":[{"role":"user","content":[{"type":"image"}]},{"role":"assistant","content":"a"}]}"#;
    scratch.write("in.jsonl", line);
    let got = scratch.failure("in.jsonl --non-text error -o out.parquet", 1);
    assert_eq!(got, "in.jsonl, line 1: the row holds an image; --non-text drop leaves such rows out");
}

#[test]
fn the_first_rows_or_any() {
    let scratch = Scratch::new();
    let row = |i: u32| if i.is_multiple_of(10) { ",a\n".to_owned() } else { format!("{i},a\n") };
    let rows: String = (0..20_000).map(row).collect();
    scratch.write("in.csv", format!("input,output\n{rows}")).write("more.csv", "input,output\nq,a\n");
    let first = scratch.examples("in.csv --limit 12 -o out.parquet", "out.parquet");
    let number = |row: &Vec<String>| row[0].strip_prefix("user: ").unwrap().parse::<u32>().unwrap();
    assert_eq!(first.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13]);
    let output = scratch.run("in.csv more.csv --limit 5 -o out.parquet");
    assert!(stderr(&output).contains("more.csv: not read, the limit is reached"), "{}", stderr(&output));
    let any = |seed: u32| {
        let line = format!("in.csv --limit 100 --shuffle --seed {seed} -o out.parquet");
        scratch.examples(&line, "out.parquet").iter().map(number).collect::<Vec<_>>()
    };
    let (one, again, other) = (any(1), any(1), any(2));
    assert_eq!(one.len(), 100);
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(!one.is_sorted() && one.iter().any(|&n| n > 15_000) && one.iter().any(|&n| n < 5_000), "{one:?}");
}

#[test]
fn a_random_order_has_the_same_rows_and_the_same_sides() {
    let scratch = Scratch::new();
    let row = |i: u32| format!("{i},a\n");
    let rows: String = (0..20_000).map(row).collect();
    scratch.write("in.csv", format!("input,output\n{rows}"));
    let in_order = scratch.examples("in.csv -o out.parquet", "out.parquet");
    let mut shuffled = scratch.examples("in.csv --shuffle -o out.parquet", "out.parquet");
    assert_ne!(shuffled, in_order);
    let number = |row: &Vec<String>| row[0][6..].parse::<u32>().unwrap();
    shuffled.sort_by_key(number);
    assert_eq!(shuffled, in_order);
    let mut sides = Vec::new();
    for more in ["", "--shuffle"] {
        assert!(scratch.run(&format!("in.csv --test-size 0.1 {more} -o sides")).status.success());
        let mut test = crate::support::examples(&scratch.path("sides/test.parquet"));
        assert_eq!(test.is_sorted_by_key(number), more.is_empty());
        test.sort_by_key(number);
        sides.push(test);
    }
    assert_eq!(sides[0], sides[1]);
}
