//! A scratch folder with a small model, inputs and the program to run.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, StringArray, UInt32Builder};
use candle_core::{Device, Tensor};
use ft_io::{Source, Target};
use ft_table::{ParquetWriter, read_parquet};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the tests' tokens are made of: ids, labels, reference.
#[derive(Clone, Default)]
pub struct Row {
    pub ids: Vec<u32>,
    pub labels: Vec<i32>,
    pub reference: Option<String>,
}

impl Row {
    pub fn prompt(ids: &[u32], reference: &str) -> Self {
        Self { ids: ids.to_vec(), labels: vec![-100; ids.len()], reference: Some(reference.into()) }
    }

    pub fn labelled(ids: &[u32], labels: &[i32]) -> Self {
        Self { ids: ids.to_vec(), labels: labels.to_vec(), reference: None }
    }
}

/// What a run said.
pub struct Outcome {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// The figures on standard output.
    #[track_caller]
    pub fn figures(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// The one line of a failure.
    #[track_caller]
    pub fn failure(&self) -> &str {
        assert_ne!(self.code, 0, "it went well");
        assert!(self.stdout.is_empty(), "figures of a failure");
        let warnings = |line: &&str| line.starts_with("ft-eval: warning: ");
        let lines: Vec<&str> = self.stderr.lines().skip_while(warnings).collect();
        let [line] = lines[..] else { panic!("{}", self.stderr) };
        line.strip_prefix("ft-eval: error: ").unwrap_or_else(|| panic!("{}", self.stderr))
    }
}

pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// A folder with `model`, whose weights are random and whose tokenizer is that of `testdata`.
    pub fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let model = bench.path("model");
        fs::create_dir(&model).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            fs::copy(testdata("tokenizer").join(name), model.join(name)).unwrap();
        }
        write_model(&model);
        bench
    }

    /// Sets all numbers of one of the model's tensors, all others being as they were first.
    pub fn spoil(&self, tensor: &str, value: f32) {
        write_model(&self.path("model"));
        self.change("model", tensor, value);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `task` on `model`, quietly; `-` is empty.
    pub fn run(&self, task: &str, args: &[&str]) -> Outcome {
        self.run_on(task, Path::new("model"), args, b"")
    }

    pub fn run_on(&self, task: &str, model: &Path, args: &[&str], stdin: &[u8]) -> Outcome {
        let mut command = self.command(task);
        command.arg("--model").arg(model).args(args);
        ran(command, stdin)
    }

    /// Runs `task` with these arguments and no others.
    pub fn run_bare(&self, task: &str, args: &[&str]) -> Outcome {
        let mut command = self.command(task);
        command.args(args);
        ran(command, b"")
    }

    /// The program about to run `task` in the bench, quietly.
    pub fn command(&self, task: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ft-eval"));
        command.current_dir(self.folder.path()).args(["--quiet", task]);
        command
    }

    /// Makes `name` a copy of the model.
    pub fn copy_model(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        for file in fs::read_dir(self.path("model")).unwrap().map(|entry| entry.unwrap().path()) {
            fs::copy(&file, self.path(name).join(file.file_name().unwrap())).unwrap();
        }
    }

    /// Sets all numbers of one tensor of the model `name`.
    pub fn change(&self, name: &str, tensor: &str, value: f32) {
        let file = self.path(name).join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        let found = &tensors[tensor];
        let changed = Tensor::full(value, found.dims(), &Device::Cpu).unwrap();
        tensors.insert(tensor.to_owned(), changed);
        candle_core::safetensors::save(&tensors, file).unwrap();
    }

    /// Writes rows as ft-template does, with the fingerprint of a tokenizer if given.
    pub fn tokens(&self, name: &str, rows: &[Row], tokenizer: Option<&str>) {
        let pair = tokenizer.map(|t| ("ft.tokenizer_sha256", t));
        self.tokens_with(name, rows, &pair.into_iter().collect::<Vec<_>>());
    }

    /// The same with any metadata.
    pub fn tokens_with(&self, name: &str, rows: &[Row], metadata: &[(&str, &str)]) {
        let mut ids = ListBuilder::new(UInt32Builder::new());
        let mut labels = ListBuilder::new(Int32Builder::new());
        for row in rows {
            ids.append_value(row.ids.iter().copied().map(Some));
            labels.append_value(row.labels.iter().copied().map(Some));
        }
        let references = rows.iter().map(|row| row.reference.as_deref());
        let columns: [(&str, ArrayRef, bool); 3] = [
            ("input_ids", Arc::new(ids.finish()), false),
            ("labels", Arc::new(labels.finish()), false),
            ("reference", Arc::new(references.collect::<StringArray>()), true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let metadata: Vec<_> = metadata.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let target = Target::Path(self.path(name));
        let mut writer = ParquetWriter::create(&target, batch.schema(), &metadata).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }

    /// Eight prompts of different lengths.
    pub fn prompts(&self, name: &str) {
        let prompt = |i: u32| (0..3 + i % 5).map(|t| 3 + (i * 37 + t * 11) % 390).collect::<Vec<u32>>();
        let rows: Vec<Row> = (0..8).map(|i| Row::prompt(&prompt(i), "an answer")).collect();
        self.tokens(name, &rows, None);
    }

    pub fn rows(&self, name: &str) -> RecordBatch {
        let table = read_parquet(&Source::Path(self.path(name))).unwrap();
        table.batches(None).unwrap().next().unwrap().unwrap()
    }
}

/// Runs a command to its end.
fn ran(mut command: Command, stdin: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A run that fails early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let out = child.wait_with_output().unwrap();
    Outcome { code: out.status.code().unwrap(), stdout: out.stdout, stderr: String::from_utf8(out.stderr).unwrap() }
}

/// A file of the tree's test data.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

/// The real model, which `make test` fetches.
pub fn smollm2() -> PathBuf {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models");
    let folder = std::env::var_os("FT_TEST_MODEL_DIR").map_or(cache, PathBuf::from);
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "{} is missing: 'make test' fetches it", file.display());
    file.canonicalize().unwrap()
}

/// Two layers of 32 columns, with weights that are always the same.
fn write_model(folder: &Path) {
    let (hidden, inner, vocabulary) = (32, 48, 400);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": vocabulary, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut state = 7u32;
    let mut matrix = |rows: usize, columns: usize| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..rows * columns).map(|_| 0.4 * next()).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let ones = || Tensor::ones(hidden, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut tensors = HashMap::from([
        ("model.embed_tokens.weight".to_owned(), matrix(vocabulary, hidden)),
        ("model.norm.weight".to_owned(), ones()),
    ]);
    for layer in 0..2 {
        let shapes = [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", hidden / 2, hidden),
            ("self_attn.v_proj", hidden / 2, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ];
        for (name, rows, columns) in shapes {
            tensors.insert(format!("model.layers.{layer}.{name}.weight"), matrix(rows, columns));
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.insert(format!("model.layers.{layer}.{name}.weight"), ones());
        }
    }
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}
