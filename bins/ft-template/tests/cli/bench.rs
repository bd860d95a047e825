//! A scratch folder with a model, an input and the program to run.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, UInt32Type};
use ft_io::{Source, Target};
use ft_table::schema::{examples_schema, message_fields, message_item};
use ft_table::{ParquetWriter, read_parquet};
use tempfile::TempDir;

/// One conversation: roles and texts.
pub type Rows = Vec<(String, String)>;

pub fn chat(turns: &[(&str, &str)]) -> Rows {
    turns.iter().map(|(r, c)| ((*r).to_owned(), (*c).to_owned())).collect()
}

pub fn question(question: &str, answer: &str) -> Rows {
    chat(&[("user", question), ("assistant", answer)])
}

pub struct Bench {
    folder: TempDir,
}

/// What a run said.
pub struct Outcome {
    pub ok: bool,
    pub code: i32,
    pub stderr: String,
}

/// An output file.
pub struct Table {
    pub text: Vec<String>,
    pub ids: Vec<Vec<u32>>,
    pub labels: Vec<Vec<i32>>,
    pub length: Vec<u32>,
    pub reference: Vec<Option<String>>,
    /// The learned tokens of each row as text.
    pub learned: Vec<String>,
    pub metadata: HashMap<String, String>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        fs::create_dir(&model).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tokenizer");
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            fs::copy(source.join(name), model.join(name)).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// Writes `in.parquet`.
    pub fn input(&self, rows: &[Rows]) {
        parquet(&self.path("in.parquet"), rows, None);
    }

    pub fn command(&self, model: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-template"));
        command.current_dir(self.folder.path()).args(["--model", model]).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with("model", args)
    }

    pub fn run_with(&self, model: &str, args: &[&str]) -> Outcome {
        let out = self.command(model, args).output().unwrap();
        Outcome {
            ok: out.status.success(),
            code: out.status.code().unwrap(),
            stderr: String::from_utf8(out.stderr).unwrap(),
        }
    }

    pub fn rows(&self, name: &str) -> Table {
        let table = read_parquet(&Source::Path(self.path(name))).unwrap();
        let metadata = table.metadata().clone();
        let batches: Vec<RecordBatch> = table.batches(None).unwrap().map(Result::unwrap).collect();
        let tokenizer = ft_text::TextModel::open(&self.model()).unwrap().tokenizer;
        let mut out = Table {
            text: vec![],
            ids: vec![],
            labels: vec![],
            length: vec![],
            reference: vec![],
            learned: vec![],
            metadata,
        };
        for batch in batches {
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            out.text.extend(column("text").as_string::<i32>().iter().map(|t| t.unwrap().to_owned()));
            out.reference.extend(column("reference").as_string::<i32>().iter().map(owned));
            out.length.extend(column("length").as_primitive::<UInt32Type>().values());
            for row in 0..batch.num_rows() {
                let ids = column("input_ids").as_list::<i32>().value(row);
                out.ids.push(ids.as_primitive::<UInt32Type>().values().to_vec());
                let labels = column("labels").as_list::<i32>().value(row);
                let labels = labels.as_primitive::<Int32Type>().values().to_vec();
                let learned: Vec<u32> = labels.iter().filter_map(|&l| u32::try_from(l).ok()).collect();
                out.learned.push(tokenizer.decode(&learned, false).unwrap());
                out.labels.push(labels);
            }
        }
        out
    }
}

/// Writes conversations as ft-prep does, with a column `reference` if given.
pub fn parquet(path: &Path, rows: &[Rows], references: Option<&[&str]>) {
    let mut messages = ListBuilder::new(StructBuilder::from_fields(message_fields(), 0)).with_field(message_item());
    for row in rows {
        for (role, content) in row {
            let item = messages.values();
            item.field_builder::<StringBuilder>(0).unwrap().append_value(role);
            item.field_builder::<StringBuilder>(1).unwrap().append_value(content);
            item.append(true);
        }
        messages.append(true);
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(messages.finish())];
    let kept = references.map(|texts| {
        columns.push(Arc::new(StringArray::from_iter_values(texts)));
        Field::new("reference", DataType::Utf8, true)
    });
    let schema = examples_schema(kept);
    let mut writer = ParquetWriter::create(&Target::Path(path.into()), schema.clone(), &[]).unwrap();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.finish().unwrap();
}

/// Writes a table of any columns.
pub fn table(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut writer = ParquetWriter::create(&Target::Path(path.into()), batch.schema(), &[]).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

/// A column of texts.
pub fn texts<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<StringArray>())
}
