//! Bad input, and what the user is told.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Scratch, stderr};

/// What a run over `in.csv` with this content says.
fn told(csv: &[u8], more: &str) -> String {
    let scratch = Scratch::new();
    scratch.write("in.csv", csv);
    let told = scratch.failure(&format!("in.csv {more} -o out.parquet"), 1);
    assert!(!scratch.path("out.parquet").exists(), "half a file is left");
    assert_eq!(fs::read_dir(scratch.path(".")).unwrap().count(), 1);
    told
}

#[test]
fn a_missing_column_is_named_and_those_there_are_listed() {
    let named = "--input-column question --output-column reply";
    assert_eq!(told(b"question,answer\nq,a\n", named), "in.csv: no column 'reply'; there are: 'question', 'answer'");
    assert_eq!(
        told(b"input,output\nq,a\n", "--keep-columns id"),
        "in.csv: no column 'id'; there are: 'input', 'output'"
    );
}

#[test]
fn columns_of_no_known_shape_are_listed() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "headline,body\nq,a\n");
    let told = scratch.failure("in.csv -o out.parquet", 2);
    let start = "in.csv: the columns 'headline', 'body' tell no known shape (";
    assert!(told.starts_with(start), "{told}");
    assert!(told.contains("--input-column"), "{told}");
}

#[test]
fn a_broken_csv_row_is_named_by_its_line() {
    // Line 3 begins a row of two lines, so the short row is on line 5.
    let start = "in.csv, line 5: 1 field, expected 2 as in the header ('input', 'output')";
    let got = told(b"input,output\nq,a\n\"q\nr\",a\nq\nq,a\n", "");
    assert!(got.starts_with(start), "{got}");
    assert_eq!(
        told(b"input,output\nq,a\nq,\"a\nb\n", ""),
        "in.csv, line 3: a quote is opened in this row and never closed"
    );
    let start = "in.csv, line 2: text after the closing quote of field 2 ('output')";
    let got = told(b"input,output\nq,\"a\"b\n", "");
    assert!(got.starts_with(start), "{got}");
}

#[test]
fn a_broken_row_deep_in_a_large_file_has_the_right_line() {
    let csv = format!("input,output\n{}a,b,c\n", "q,\"two\nlines\"\n".repeat(60_000));
    let got = told(csv.as_bytes(), "");
    assert!(got.starts_with("in.csv, line 120002: 3 fields"), "{got}");
}

#[test]
fn invalid_utf8_is_named_by_line_and_column() {
    let got = told(b"input,output\nq,a\nq,\"a\n\xe9\"\n", "");
    let start = "in.csv, line 4: column 'output' is not UTF-8 (byte 0xe9); convert the file";
    assert!(got.starts_with(start), "{got}");
    let scratch = Scratch::new();
    scratch.write("in.jsonl", b"{\"input\":\"q\",\"output\":\"a\"}\n{\"input\":\"\xff\"}\n");
    let got = scratch.failure("in.jsonl -o out.parquet", 1);
    assert!(got.starts_with("in.jsonl, line 2: not UTF-8 (byte 0xff)"), "{got}");
}

#[test]
fn empty_inputs_are_told() {
    assert_eq!(told(b"", ""), "in.csv: is empty");
    assert_eq!(told(b"input,output\n", ""), "in.csv: holds no rows");
    let scratch = Scratch::new();
    let output = scratch.pipe("-", b"");
    assert_eq!(output.status.code(), Some(1));
    let got = stderr(&output);
    assert_eq!(got, "ft-prep: error: standard input: is empty\n");
    scratch.write("in.json", "[]");
    let got = scratch.failure("in.json -o out.parquet", 1);
    assert_eq!(got, "in.json: holds no rows");
}

#[test]
fn when_every_row_is_dropped_that_is_an_error() {
    let got = told(b"input,output\nq,\n,a\n", "");
    assert_eq!(got, "in.csv: no row is left: 2 rows read, 0 kept, 2 dropped (empty question 1, empty answer 1)");
}

#[test]
fn broken_json_is_named_by_its_line() {
    let scratch = Scratch::new();
    let good = "{\"input\":\"q\",\"output\":\"a\"}\n";
    scratch.write("in.jsonl", format!("{good}{{\"input\" 1}}\n"));
    let got = scratch.failure("in.jsonl -o out.parquet", 1);
    assert_eq!(got, "in.jsonl, line 2: not JSON: expected `:` (column 10)");
    scratch.write("in.jsonl", format!("{good}[1]\n"));
    let got = scratch.failure("in.jsonl -o out.parquet", 1);
    assert_eq!(got, "in.jsonl, line 2: expected an object, found a list");
    scratch.write("in.json", format!("[{good}, {{\"input\":"));
    let got = scratch.failure("in.json -o out.parquet", 1);
    assert_eq!(got, "in.json, line 2, column 3: the object that begins here is never closed");
    scratch.write("in.json", format!("[{good}"));
    let got = scratch.failure("in.json -o out.parquet", 1);
    assert!(got.ends_with("the array is cut short: no closing ']'"), "{got}");
}

#[test]
fn broken_messages_are_named_by_their_line() {
    let scratch = Scratch::new();
    scratch.write("in.jsonl", "{\"messages\":[{\"role\":\"user\"}]}\n{\"messages\":[{\"content\":\"x\"}]}\n");
    let got = scratch.failure("in.jsonl -o out.parquet", 1);
    assert_eq!(got, "in.jsonl, line 2: message 1 of 'messages' has no 'role' (or 'from')");
    scratch.write("in.jsonl", "{\"messages\":\"hello\"}\n");
    let got = scratch.failure("in.jsonl -o out.parquet", 1);
    assert!(got.contains("expected a list of messages"), "{got}");
}

#[test]
fn a_truncated_parquet_is_told_apart_from_a_foreign_one() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "input,output\nq,a\n");
    scratch.examples("in.csv -o whole.parquet", "whole.parquet");
    let whole = fs::read(scratch.path("whole.parquet")).unwrap();
    scratch.write("cut.parquet", &whole[..whole.len() - 10]);
    let got = scratch.failure("cut.parquet -o out.parquet", 1);
    let start = "cut.parquet: is a truncated Parquet file: its ";
    assert!(got.starts_with(start), "{got}");
    let piped = scratch.pipe("- -o out.parquet", &whole[..whole.len() - 10]);
    let got = stderr(&piped);
    assert!(got.contains("standard input: is a truncated Parquet file"), "{got}");
    scratch.write("foreign.parquet", "hello");
    let got = scratch.failure("foreign.parquet -o out.parquet", 1);
    let expected = "foreign.parquet: is named Parquet, but does not begin with 'PAR1'";
    assert_eq!(got, expected);
}

#[test]
fn damaged_compression_is_told() {
    let scratch = Scratch::new();
    let zstd = zstd::encode_all(long_csv().as_bytes(), 1).unwrap();
    scratch.write("in.csv.zst", &zstd[..zstd.len() / 2]);
    let got = scratch.failure("in.csv.zst -o out.parquet", 1);
    let start = "cannot read 'in.csv.zst': its zstd data is cut short or damaged";
    assert!(got.starts_with(start), "{got}");
}

#[test]
fn what_cannot_be_opened_is_told() {
    let scratch = Scratch::new();
    let got = scratch.failure("absent.csv -o out.parquet", 1);
    assert!(got.starts_with("cannot read 'absent.csv': No such file"), "{got}");
    fs::create_dir(scratch.path("folder")).unwrap();
    let got = scratch.failure("folder -o out.parquet", 1);
    assert!(got.starts_with("cannot read 'folder': it is a folder without a file that ends in csv"), "{got}");
    scratch.write("in.csv", "input,output\nq,a\n");
    let got = scratch.failure("in.csv -o no/such/out.parquet", 1);
    assert!(got.starts_with("cannot write 'no/such/out.parquet'"), "{got}");
}

#[test]
fn an_unknown_format_asks_for_one() {
    let scratch = Scratch::new();
    scratch.write("notes.txt", "hello\nworld\n");
    let got = scratch.failure("notes.txt -o out.parquet", 1);
    assert!(got.starts_with("notes.txt: neither its name nor its content tells the format"), "{got}");
    let got = scratch.failure("notes.txt --format xml -o out.parquet", 2);
    assert!(got.contains("[possible values: csv, tsv, jsonl,"), "{got}");
}

/// Far more than a pipe holds.
fn long_csv() -> String {
    let row = |i: u64| format!("{i},{:x}\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rows: String = (0..60_000).map(row).collect();
    format!("input,output\n{rows}")
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let scratch = Scratch::new();
    scratch.write("in.csv", long_csv());
    let got = scratch.failure("in.csv -o /dev/full", 1);
    assert!(got.starts_with("cannot write '/dev/full': No space left on device"), "{got}");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = scratch.command("in.csv -q -o -").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let got = stderr(&output);
    let start = "ft-prep: error: cannot write 'standard output': No space left on device";
    assert!(got.starts_with(start), "{got}");
}

#[test]
fn a_result_that_nobody_takes_is_an_error() {
    let scratch = Scratch::new();
    scratch.write("in.csv", long_csv());
    let mut child = scratch.command("in.csv -q -o -").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let told = stderr(&output);
    assert!(told.starts_with("ft-prep: error: cannot write 'standard output': Broken pipe"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_report_over_an_input_or_the_output_is_refused() {
    let scratch = Scratch::new();
    let csv = "input,output\nq,a\n";
    scratch.write("in.csv", csv);
    fs::create_dir(scratch.path("sub")).unwrap();
    fs::hard_link(scratch.path("in.csv"), scratch.path("hard.csv")).unwrap();
    for line in [
        "in.csv --report in.csv -o o.parquet",
        "in.csv --report hard.csv -o o.parquet",
        "in.csv --report sub/../in.csv -o o.parquet",
        "in.csv -o in.csv",
        "hard.csv -o in.csv",
        "in.csv --report o.parquet -o o.parquet",
        "in.csv --report sub/train.parquet --test-size 1 -o sub",
        "in.csv --report - -o -",
    ] {
        let got = scratch.failure(line, 2);
        assert!(got.contains("would take the place of"), "{line}: {got}");
    }
    assert_eq!(fs::read(scratch.path("in.csv")).unwrap(), csv.as_bytes());
    assert!(!scratch.path("o.parquet").exists() && !scratch.path("sub/train.parquet").exists());
}

#[test]
#[cfg(unix)]
fn the_mode_of_a_replaced_output_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    scratch.write("in.csv", "input,output\nq,a\n").write("out.parquet", "old").write("report.json", "old");
    for name in ["out.parquet", "report.json"] {
        fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    scratch.examples("in.csv -o out.parquet --report report.json", "out.parquet");
    for name in ["out.parquet", "report.json"] {
        assert_eq!(fs::metadata(scratch.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[cfg(unix)]
fn make_fifo(scratch: &Scratch, name: &str) {
    assert!(Command::new("mkfifo").arg(scratch.path(name)).status().unwrap().success());
}

#[test]
#[cfg(unix)]
fn a_named_pipe_is_an_output_and_an_input() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "input,output\nq,a\n");
    make_fifo(&scratch, "pipe");
    let whole = scratch.examples("in.csv -o whole.parquet", "whole.parquet");
    let mut writer = scratch.command("in.csv -q -o pipe").stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(scratch.examples("pipe --messages-column messages -o got.parquet", "got.parquet"), whole);
    assert!(writer.wait().unwrap().success());
}

#[test]
#[cfg(unix)]
fn the_first_signal_ends_the_wait_for_the_other_end_of_a_named_pipe() {
    for line in ["in.csv -o pipe", "pipe -o out.parquet"] {
        let scratch = Scratch::new();
        scratch.write("in.csv", "input,output\nq,a\n");
        make_fifo(&scratch, "pipe");
        let mut child = scratch.command(line).args(["-q"]).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let began = Instant::now();
        while !handles_interrupts(&pid) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Long enough to be in the open.
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "{line}: it does not wait");
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{line}");
        assert!(stderr(&output).contains("interrupted"), "{line}: {}", stderr(&output));
        assert!(!scratch.path("out.parquet").exists());
    }
}

#[test]
fn messages_for_machines_are_json() {
    let scratch = Scratch::new();
    let output = scratch.run("absent.csv --log-format json -o out.parquet");
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["tool"], "ft-prep");
    let message = line["message"].as_str().unwrap();
    assert!(message.starts_with("cannot read 'absent.csv'"), "{message}");
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let scratch = Scratch::new();
    let got = scratch.failure("", 2);
    assert!(got.contains("<INPUT>...") && got.ends_with("see 'ft-prep --help'"), "{got}");
    scratch.write("a.csv", "q,a\n1,2\n");
    let got = scratch.failure("a.csv --input-column q -o x", 2);
    assert_eq!(got, "--input-column needs --output-column");
    let got = scratch.failure("- - -o x", 2);
    assert_eq!(got, "standard input can be read only once");
}

/// Whether a process has its own way with SIGINT already, as Linux tells it; elsewhere it has had the time for it.
#[cfg(unix)]
fn handles_interrupts(pid: &str) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        std::thread::sleep(Duration::from_millis(300));
        return true;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|signals| signals >> 1 & 1 == 1)
}

#[test]
#[cfg(unix)]
fn a_signal_ends_it_with_130_also_while_it_waits() {
    let scratch = Scratch::new();
    let mut child = scratch.command("- -o out.parquet").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let began = Instant::now();
    while !handles_interrupts(&pid) && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(stderr(&output), "ft-prep: error: interrupted\n");
    assert_eq!(fs::read_dir(scratch.path(".")).unwrap().count(), 0);
}

/// `>&-`: Rust opens /dev/null there, which takes everything.
#[test]
fn a_standard_output_that_is_closed_takes_no_result() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "prompt,completion\na,b\n");
    let closed = |line: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(scratch.path("")).args([
            "-c",
            &format!("exec \"$0\" {line} >&-"),
            env!("CARGO_BIN_EXE_ft-prep"),
        ]);
        shell.output().unwrap()
    };
    for line in ["in.csv -q -o -", "--completions bash", "--version"] {
        let output = closed(line);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {told}");
        assert!(told.contains("standard output is closed"), "{line}: {told}");
    }
    assert!(closed("in.csv -q -o out.parquet").status.success(), "nothing goes to stdout");
}

#[test]
fn absurdly_many_threads_are_refused() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "prompt,completion\na,b\n");
    for threads in ["4097", "4000000000", "0", "18446744073709551616"] {
        let told = scratch.failure(&format!("in.csv -o out.parquet --threads {threads}"), 2);
        assert!(told.contains("expected a number of threads from 1 to 4096"), "{told}");
    }
}
