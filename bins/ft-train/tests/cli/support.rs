//! What the tests share.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, UInt32Builder};
use arrow::datatypes::{DataType, Field};
use ft_io::Target;
use ft_table::ParquetWriter;
use serde_json::Value;
use tempfile::TempDir;

/// Ids in the vocabulary of [`model`], and positions that it takes.
pub const VOCABULARY: u32 = 320;
pub const POSITIONS: usize = 128;

/// A llama of three layers without a tokenizer.
pub fn model() -> PathBuf {
    reference("llama-s1").join("model")
}

/// A folder of reference values.
pub fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name)
}

/// A scratch folder in which the program runs.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With `rows.parquet`: [`rows`] of 18 rows.
    pub fn with_rows() -> Self {
        let scratch = Self::new();
        scratch.tokens("rows.parquet", &rows(18));
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn tokens(&self, name: &str, rows: &[Row]) {
        write_tokens(&self.path(name), rows, &[]);
    }

    /// The program with these words as arguments; `MODEL` is [`model`].
    pub fn command(&self, line: &str) -> Command {
        let model = model();
        let words = line.split_whitespace().map(|word| match word {
            "MODEL" => model.as_os_str(),
            word => word.as_ref(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-train"));
        command.current_dir(self.0.path()).args(words).stdin(Stdio::null());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Trains on `rows.parquet` into the folder `out`, expects success, and gives stderr.
    pub fn train(&self, out: &str, line: &str) -> String {
        let output = self.run(&with_base(&format!("--output-dir {out} {line}")));
        let told = stderr(&output);
        assert!(output.status.success(), "{line}: {told}");
        assert!(output.stdout.is_empty(), "nothing on stdout");
        told
    }

    /// [`Self::train`]'s adapter, as bytes.
    pub fn trained(&self, out: &str, line: &str) -> Vec<u8> {
        self.train(out, line);
        self.adapter(out)
    }

    pub fn adapter(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("adapter_model.safetensors")).unwrap()
    }

    pub fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap()
    }

    /// The objects of `OUT/metrics.jsonl`.
    pub fn metrics(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The value of `key` in every entry of `OUT/metrics.jsonl` that has it.
    pub fn series(&self, out: &str, key: &str) -> Vec<f64> {
        self.metrics(out).iter().filter_map(|entry| entry.get(key)?.as_f64()).collect()
    }

    /// Runs, expects failure with `code`, and gives the one error on stderr.
    pub fn failure(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        let errors: Vec<_> = told.lines().filter(|l| l.contains("error: ")).collect();
        assert_eq!(errors.len(), 1, "{told}");
        assert_eq!(told.lines().last(), Some(errors[0]), "the error is the last word: {told}");
        errors[0].strip_prefix("ft-train: error: ").unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    /// A copy of [`model`] as the folder `name`, to be damaged.
    pub fn copy_model(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        fs::create_dir(&to).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(model().join(file), to.join(file)).unwrap();
        }
        to
    }
}

/// A process that does not outlive the test, however that ends.
pub struct Child(std::process::Child);

impl Child {
    pub fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl std::ops::Deref for Child {
    type Target = std::process::Child;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Child {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `line` and what it leaves open of what runs have in common; they take a fraction of a second.
pub fn with_base(line: &str) -> String {
    const BASE: &str = "--model MODEL/--train rows.parquet/--max-steps 6/--per-device-train-batch-size 4/--lora-r 4/\
                        --learning-rate 1e-2/--logging-steps 1";
    let given: Vec<&str> = line.split_whitespace().collect();
    let open = BASE.split('/').filter(|option| !given.contains(&option.split(' ').next().unwrap_or_default()));
    // The options first: the last word of `line` may be a flag whose value is optional.
    open.chain([line]).collect::<Vec<_>>().join(" ")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// How many lines of a file are whole; none where there is no file.
pub fn lines(path: &Path) -> u64 {
    fs::read_to_string(path).unwrap_or_default().matches('\n').count() as u64
}

/// What lies in a folder; nothing where there is none.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Ids and labels.
pub type Row = (Vec<u32>, Vec<i32>);

/// Rows that can be learned: each counts upwards, from 3 to 20 tokens, the first two without a label.
pub fn rows(count: u32) -> Vec<Row> {
    let row = |i: u32| {
        let length = 3 + (i * 7) % 18;
        let ids: Vec<u32> = (0..length).map(|t| (i * 31 + t * 2) % VOCABULARY).collect();
        let labels = ids.iter().enumerate().map(|(t, &id)| if t < 2 { -100 } else { id as i32 }).collect();
        (ids, labels)
    };
    (0..count).map(row).collect()
}

pub fn write_tokens(path: &Path, rows: &[Row], metadata: &[(&str, &str)]) {
    let item = |data_type| Field::new_list_field(data_type, false);
    let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
    let mut labels = ListBuilder::new(Int32Builder::new()).with_field(item(DataType::Int32));
    for (row_ids, row_labels) in rows {
        ids.append_value(row_ids.iter().copied().map(Some));
        labels.append_value(row_labels.iter().copied().map(Some));
    }
    let columns: [(&str, ArrayRef); 2] = [("input_ids", Arc::new(ids.finish())), ("labels", Arc::new(labels.finish()))];
    write_columns(path, &columns, metadata);
}

pub fn write_columns(path: &Path, columns: &[(&str, ArrayRef)], metadata: &[(&str, &str)]) {
    let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
    let metadata: Vec<_> = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut writer = ParquetWriter::create(&Target::Path(path.into()), batch.schema(), &metadata).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

/// The metadata and the tensors' values of a safetensors file.
pub fn read_safetensors(bytes: &[u8]) -> (HashMap<String, String>, HashMap<String, Vec<u8>>) {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let tensors = tensors.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    (metadata.metadata().clone().unwrap_or_default(), tensors)
}

/// Rewrites a safetensors file's header and data.
pub fn rewrite_safetensors(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>, &mut Vec<u8>)) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut data = bytes[8 + length..].to_vec();
    change(&mut header, &mut data);
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat()).unwrap();
}
