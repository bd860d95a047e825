//! What the tests share.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of the reference values.
pub fn reference(name: &str) -> PathBuf {
    workspace().join("testdata/reference").join(name)
}

/// A file of the small tokenizer.
pub fn tokenizer(name: &str) -> PathBuf {
    workspace().join("testdata/tokenizer").join(name)
}

/// SmolLM2 as its package has it.
pub fn smollm2() -> PathBuf {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR").map_or_else(|| workspace().join(".cache/models"), PathBuf::from);
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "{} is missing: 'make test' fetches it", file.display());
    file
}

/// Runs `ft-merge` with `input` on its standard input.
pub fn run_with(arguments: &[&dyn AsRef<OsStr>], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ft-merge"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub fn run(arguments: &[&dyn AsRef<OsStr>]) -> Output {
    run_with(arguments, b"")
}

/// Runs it, expects success, and returns what it said.
pub fn succeed(arguments: &[&dyn AsRef<OsStr>]) -> String {
    said(&run(arguments))
}

/// What a successful run said on stderr.
pub fn said(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(output.stdout.is_empty());
    text
}

/// The one line that a failed run says, and its exit code.
pub fn failure(output: &Output) -> (String, i32) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "it did not fail");
    let line = text.trim_end().to_owned();
    let code = output.status.code().unwrap();
    assert!(code == 2 || !line.contains('\n'), "more than one line: {text}");
    (line, code)
}

/// A tensor as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// All tensors of a safetensors file, widened.
pub fn tensors(path: &Path) -> BTreeMap<String, Stored> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::BF16 => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
                Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
                other => panic!("{other:?}"),
            };
            (name.to_owned(), Stored { dtype: view.dtype(), shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// The metadata of a safetensors file.
pub fn metadata(path: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
    head.metadata().clone().unwrap_or_default().into_iter().collect()
}

/// A file name and what it holds, of every file in a folder.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

/// A copy of a folder's files, to be spoiled.
pub fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in contents(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
    to.to_path_buf()
}

/// Writes tensors of f32 as a safetensors file.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, t)| (name.clone(), t.shape.clone(), t.values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| {
        (name.as_str(), safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
