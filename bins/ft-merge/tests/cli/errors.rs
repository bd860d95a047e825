//! Bad input: one line that names the file, the tensor, what was expected and what was found.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{copy, failure, reference, run, run_with, tensors, write_tensors};

/// A model and an adapter to be spoiled.
struct Case {
    home: TempDir,
    model: PathBuf,
    adapter: PathBuf,
}

impl Case {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let case = reference("llama-s0");
        let model = copy(&case.join("model"), &home.path().join("model"));
        let adapter = copy(&case.join("adapter_final"), &home.path().join("adapter"));
        Self { home, model, adapter }
    }

    /// The line of the failure; nothing may be left where the result would be, nor beside it.
    fn refused(&self) -> String {
        let out = self.home.path().join("results/merged");
        let output = run(&[&"--model", &self.model, &"--adapter", &self.adapter, &"-o", &out]);
        let (line, code) = failure(&output);
        assert_eq!(code, 1, "{line}");
        let left = fs::read_dir(out.parent().unwrap()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left");
        assert!(line.starts_with("ft-merge: error: "), "{line}");
        line
    }

    fn weights(&self) -> PathBuf {
        self.model.join("model.safetensors")
    }
}

fn expect(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "'{part}' is not in: {line}");
    }
}

/// Puts `to` in the place of `from`, which has the same length, in a file's bytes.
fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_missing_tensor_is_named() {
    let case = Case::new();
    let mut all = tensors(&case.weights());
    all.remove("model.layers.1.mlp.up_proj.weight");
    write_tensors(&case.weights(), &all);
    expect(&case.refused(), &["has no tensor 'model.layers.1.mlp.up_proj.weight'", "[128, 64]"]);
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let case = Case::new();
    let mut all = tensors(&case.weights());
    let tensor = all.get_mut("model.layers.1.mlp.up_proj.weight").unwrap();
    tensor.shape = vec![64, 128];
    write_tensors(&case.weights(), &all);
    let line = case.refused();
    expect(&line, &["model.safetensors", "model.layers.1.mlp.up_proj.weight", "[64, 128], expected [128, 64]"]);
}

#[test]
fn an_adapter_of_another_model_is_refused_with_both_shapes() {
    let case = Case::new();
    let file = case.adapter.join("adapter_model.safetensors");
    let mut all = tensors(&file);
    let tensor = all.get_mut("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight").unwrap();
    tensor.shape = vec![4, 64];
    tensor.values.truncate(256);
    write_tensors(&file, &all);
    expect(&case.refused(), &["does not fit", "layers.0.mlp.down_proj.lora_A.weight", "[4, 64], expected [4, 128]"]);
}

#[test]
fn an_adapter_with_more_layers_than_the_model_is_refused() {
    let case = Case::new();
    let file = case.adapter.join("adapter_model.safetensors");
    let mut all = tensors(&file);
    for kind in ["lora_A", "lora_B"] {
        let tensor = all[&format!("base_model.model.model.layers.1.mlp.up_proj.{kind}.weight")].clone();
        all.insert(format!("base_model.model.model.layers.2.mlp.up_proj.{kind}.weight"), tensor);
    }
    write_tensors(&file, &all);
    expect(&case.refused(), &["'model.layers.2.mlp.up_proj'", "layers are 0 to 1"]);
}

#[test]
fn an_adapter_with_half_a_pair_is_refused() {
    let case = Case::new();
    let file = case.adapter.join("adapter_model.safetensors");
    let mut all = tensors(&file);
    all.remove("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight");
    write_tensors(&file, &all);
    expect(
        &case.refused(),
        &["adapter_model.safetensors", "no tensor 'base_model.model.model.layers.1.mlp.up_proj.lora_B.weight'"],
    );
}

#[test]
fn an_adapter_that_is_not_finite_is_refused() {
    let case = Case::new();
    let file = case.adapter.join("adapter_model.safetensors");
    let mut all = tensors(&file);
    all.get_mut("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight").unwrap().values[5] = f32::NAN;
    write_tensors(&file, &all);
    expect(&case.refused(), &["NaN", "layers.1.mlp.up_proj.lora_B.weight"]);
}

#[test]
fn an_adapter_that_changes_the_mathematics_is_refused_by_its_key() {
    let case = Case::new();
    replace(&case.adapter.join("adapter_config.json"), r#""use_dora": false"#, r#""use_mora":  true"#);
    expect(&case.refused(), &["adapter_config.json", "'use_mora' is true", "not implemented"]);
}

#[test]
fn an_adapter_without_its_magnitudes_is_refused() {
    let case = Case::new();
    replace(&case.adapter.join("adapter_config.json"), r#""use_dora": false"#, r#""use_dora":  true"#);
    expect(&case.refused(), &["adapter_model.safetensors", "no lora_magnitude_vector", "its use_dora asks for one"]);
}

#[test]
fn a_cut_file_is_told() {
    let case = Case::new();
    let bytes = fs::read(case.weights()).unwrap();
    fs::write(case.weights(), &bytes[..bytes.len() - 100]).unwrap();
    expect(&case.refused(), &["model.safetensors", "cut short"]);
    fs::write(case.weights(), &bytes[..100]).unwrap();
    expect(&case.refused(), &["model.safetensors", "cut short"]);
    fs::write(case.weights(), b"").unwrap();
    expect(&case.refused(), &["model.safetensors", "0 bytes"]);
    let case = Case::new();
    let file = case.adapter.join("adapter_model.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    expect(&case.refused(), &["adapter_model.safetensors", "cut short"]);
}

#[test]
fn a_hole_between_tensors_is_told() {
    let case = Case::new();
    let bytes = fs::read(case.weights()).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut head: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    // The last tensor moves on by eight bytes, which are there.
    let (name, last) =
        head.as_object_mut().unwrap().iter_mut().max_by_key(|(_, info)| info["data_offsets"][1].as_u64()).unwrap();
    let name = name.clone();
    for end in 0..2 {
        let moved = last["data_offsets"][end].as_u64().unwrap() + 8;
        last["data_offsets"][end] = moved.into();
    }
    let text = head.to_string();
    let mut spoiled = (text.len() as u64).to_le_bytes().to_vec();
    spoiled.extend(text.into_bytes());
    spoiled.extend(&bytes[8 + len..]);
    spoiled.extend([0; 8]);
    fs::write(case.weights(), spoiled).unwrap();
    expect(&case.refused(), &["model.safetensors", "a hole of 8 bytes", &name]);
}

#[test]
fn what_is_no_model_is_told() {
    let case = Case::new();
    fs::remove_file(case.model.join("config.json")).unwrap();
    expect(&case.refused(), &["config.json", "expected a Hugging Face model folder or a GGUF file"]);
    let mut case = Case::new();
    case.model = case.home.path().join("nowhere");
    expect(&case.refused(), &["nowhere"]);
    fs::write(&case.model, "this is text, not a model").unwrap();
    expect(&case.refused(), &["nowhere", "GGUF"]);
}

#[test]
fn what_is_no_adapter_is_told() {
    let mut case = Case::new();
    case.adapter.clone_from(&case.model);
    expect(&case.refused(), &["holds a model, not an adapter", "adapter_config.json"]);
    case.adapter = reference("llama-s0").join("adapter_final/adapter_config.json");
    expect(&case.refused(), &["adapter_config.json"]);
}

#[test]
fn an_empty_pipe_is_told() {
    let case = Case::new();
    let out = case.home.path().join("out");
    let output = run_with(&[&"--model", &case.model, &"--adapter", &"-", &"-o", &out], b"");
    let (line, code) = failure(&output);
    assert_eq!(code, 1);
    expect(&line, &["standard input", "0 bytes"]);
}

#[test]
fn a_number_that_the_type_cannot_hold_is_told() {
    let case = Case::new();
    let mut all = tensors(&case.weights());
    all.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().values[64 * 3 + 7] = 1e5;
    write_tensors(&case.weights(), &all);
    let out = case.home.path().join("out");
    let output = run(&[&"--model", &case.model, &"--dtype", &"f16", &"-o", &out]);
    let (line, code) = failure(&output);
    assert_eq!(code, 1);
    expect(&line, &["'model.layers.1.mlp.up_proj.weight'", "100000 at [3, 7]", "f16 cannot hold", "bf16"]);
    assert!(!out.exists());
}

#[test]
fn the_base_is_never_written_over() {
    let case = Case::new();
    let before = fs::read(case.weights()).unwrap();
    let output = run(&[&"--model", &case.model, &"--overwrite", &"-o", &case.model]);
    expect(&failure(&output).0, &["which is read (--model)"]);
    assert_eq!(fs::read(case.weights()).unwrap(), before);
}

#[test]
fn wrong_usage_has_its_own_code() {
    let case = Case::new();
    let out = case.home.path().join("out");
    let twice = run(&[&"--model", &case.model, &"--adapter", &"-", &"--adapter", &"-", &"-o", &out]);
    let (line, code) = failure(&twice);
    assert_eq!(code, 2, "{line}");
    expect(&line, &["given once"]);
    let size = run(&[&"--model", &case.model, &"--max-shard-size", &"5XB", &"-o", &out]);
    let (line, code) = failure(&size);
    assert_eq!(code, 2, "{line}");
    expect(&line, &["5XB", "GiB"]);
}

/// Every file below a folder with its content, to see that nothing was lost.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(tree(&path)) } else { all.push((path.clone(), fs::read(&path).unwrap())) }
    }
    all.sort();
    all
}

#[test]
fn overwrite_never_deletes_what_holds_an_input() {
    let case = Case::new();
    let home = case.home.path();
    fs::write(home.join("notes.txt"), "mine").unwrap();
    fs::create_dir(home.join("other")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(home, home.join("other/link")).unwrap();
    let before: Vec<_> = ["model", "adapter"].map(|name| tree(&home.join(name))).into();
    for out in ["model", "adapter", "", "other/..", "model/../model", "other/link", "other/link/adapter"] {
        let out = home.join(out);
        let output = run(&[&"--model", &case.model, &"--adapter", &case.adapter, &"--overwrite", &"-o", &out]);
        let (line, code) = failure(&output);
        assert_eq!(code, 2, "{line}");
        expect(&line, &["--output", "would take the place of", "which is read"]);
    }
    let after: Vec<_> = ["model", "adapter"].map(|name| tree(&home.join(name))).into();
    assert_eq!(after, before);
    assert_eq!(fs::read(home.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn overwrite_never_deletes_the_working_folder_home_or_the_root() {
    let case = Case::new();
    let work = case.home.path().join("work/deep");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("notes.txt"), "mine").unwrap();
    for out in [".", "..", "/", "~"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ft-merge"));
        let folder = if out == "~" { work.parent().unwrap().as_os_str() } else { std::ffi::OsStr::new(out) };
        let here = if out == "~" { Path::new("/") } else { &work };
        command.current_dir(here).env("HOME", &work).args(["--overwrite", "-o"]).arg(folder);
        let (line, code) = failure(&command.arg("--model").arg(&case.model).output().unwrap());
        assert_eq!(code, 2, "{line}");
        expect(&line, if out == "/" { &["'/'"] } else { &["is never replaced"] });
    }
    assert_eq!(tree(&case.home.path().join("work")).len(), 1);
}

#[test]
fn overwrite_never_replaces_a_model_that_is_no_result() {
    let case = Case::new();
    let other = copy(&case.model, &case.home.path().join("other"));
    let before = tree(&other);
    let output = run(&[&"--model", &case.model, &"--adapter", &case.adapter, &"--overwrite", &"-o", &other]);
    let (line, code) = failure(&output);
    assert_eq!(code, 1, "{line}");
    expect(&line, &["was not written by this program", "name another folder"]);
    assert_eq!(tree(&other), before);
}
