//! What the tests share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrow::array::{Array, AsArray, RecordBatch};
use ft_io::Source;
use ft_table::{TableReader, read_parquet};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A scratch folder in which the program runs.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    /// The program with these words as arguments.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-prep"));
        command.current_dir(self.0.path());
        command.args(line.split_whitespace());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs with `input` on a pipe.
    pub fn pipe(&self, line: &str, input: &[u8]) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The program may stop reading early; that is its right.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs, expects success, and gives the examples of `file`.
    pub fn examples(&self, line: &str, file: &str) -> Vec<Conversation> {
        let output = self.run(line);
        assert!(output.status.success(), "{}", stderr(&output));
        examples(&self.path(file))
    }

    /// Runs, expects failure with `code`, and gives the one line on stderr.
    pub fn failure(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        let errors: Vec<_> = told.lines().filter(|l| l.contains(": error: ")).collect();
        assert_eq!(errors.len(), 1, "{told}");
        assert_eq!(told.lines().last(), Some(errors[0]), "{told}");
        errors[0].strip_prefix("ft-prep: error: ").unwrap().to_owned()
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Messages as `role: content`.
pub type Conversation = Vec<String>;

/// All examples of a Parquet file.
pub fn examples(path: &Path) -> Vec<Conversation> {
    batches(path).iter().flat_map(conversations).collect()
}

pub fn batches(path: &Path) -> Vec<RecordBatch> {
    let table = read_parquet(&Source::Path(path.into())).unwrap();
    table.batches(None).unwrap().map(Result::unwrap).collect()
}

fn conversations(batch: &RecordBatch) -> Vec<Conversation> {
    let lists = batch.column_by_name("messages").unwrap().as_list::<i32>().clone();
    let conversation = |i: usize| {
        let messages = lists.value(i);
        let messages = messages.as_struct();
        let roles = messages.column_by_name("role").unwrap().as_string::<i32>();
        let contents = messages.column_by_name("content").unwrap().as_string::<i32>();
        (0..roles.len()).map(|m| format!("{}: {}", roles.value(m), contents.value(m))).collect()
    };
    (0..lists.len()).map(conversation).collect()
}

/// Text columns of a file, all rows.
pub fn text_column(path: &Path, column: &str) -> Vec<Option<String>> {
    let cells = |batch: &RecordBatch| -> Vec<Option<String>> {
        let column = batch.column_by_name(column).unwrap();
        let column = column.as_string::<i32>();
        column.iter().map(|cell| cell.map(str::to_owned)).collect()
    };
    batches(path).iter().flat_map(cells).collect()
}

/// All rows of a file with all their columns; what is null is left out.
pub fn rows(path: &Path) -> Vec<Value> {
    let mut reader = TableReader::open(&Source::Path(path.into()), None).unwrap();
    let columns = reader.columns().to_vec();
    let mut all = Vec::new();
    while let Some(rows) = reader.next_rows().unwrap() {
        for row in 0..rows.len() {
            let cell = |column: &String| (column.clone(), rows.value(row, column).into_owned());
            all.push(without_nulls(Value::Object(columns.iter().map(cell).collect::<Map<_, _>>())));
        }
    }
    all
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let some = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(some.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
