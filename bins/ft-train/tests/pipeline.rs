//! The README's pipeline, as it stands there, on the real model and a few of the real rows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ft_model::Checkpoint;
use serde_json::Value;

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The lines of the README that its marker promises to run.
fn lines() -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let (_, after) = readme.split_once("<!-- pipeline: the test readme_pipeline runs these lines -->").unwrap();
    let (_, block) = after.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// The folder of the built programs, all of which `cargo test --workspace` and `make test` build first.
fn programs() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_ft-train")).parent().unwrap().to_path_buf();
    for program in ["ft-prep", "ft-template", "ft-train", "ft-merge"] {
        let file = folder.join(program);
        assert!(file.is_file(), "{} is missing: build it with 'cargo build --release --bins'", file.display());
    }
    folder
}

fn model() -> PathBuf {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR").map_or_else(|| workspace().join(".cache/models"), PathBuf::from);
    let file = folder.join(MODEL);
    assert!(file.is_file(), "{} is missing: 'make test' fetches it", file.display());
    file.canonicalize().unwrap()
}

#[test]
fn readme_pipeline() {
    let scratch = tempfile::tempdir().unwrap();
    symlink(model(), scratch.path().join(MODEL)).unwrap();
    for rows in ["taxes.jsonl", "finance_calc.jsonl"] {
        fs::copy(workspace().join("testdata/samples").join(rows), scratch.path().join(rows)).unwrap();
    }
    // As many steps as the README takes would last minutes; nothing else is changed.
    let lines = lines();
    assert!(lines.contains("--max-steps 30"), "{lines}");
    let lines = lines.replace("--max-steps 30", "--max-steps 2 --per-device-train-batch-size 2");

    let path = std::env::join_paths(
        std::iter::once(programs()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("bash");
    let output = shell
        .args(["-e", "-o", "pipefail", "-c", &lines])
        .env("PATH", path.unwrap())
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("error") && !told.contains("warning"), "{told}");
    assert!(told.contains("ft-train: {\"loss\":"), "it trained: {told}");
    check_merged(&scratch.path().join("merged"));
}

/// A Hugging Face folder whose adapted matrices differ from the model's, and whose others do not.
fn check_merged(merged: &Path) {
    for file in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        let text = fs::read(merged.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let _: Value = serde_json::from_slice(&text).unwrap();
    }
    assert_eq!(ft_text::fingerprint(merged).unwrap(), ft_text::fingerprint(&model()).unwrap());
    let (after, before) = (Checkpoint::open(merged).unwrap(), Checkpoint::open(&model()).unwrap());
    assert_eq!(after.names().len(), before.names().len());
    let difference = |name: &str| {
        let read = |checkpoint: &Checkpoint| {
            let mut values = vec![0.0; checkpoint.shape(name).unwrap().iter().product()];
            checkpoint.read_f32(name, &mut values).unwrap();
            values
        };
        let (after, before) = (read(&after), read(&before));
        after.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max)
    };
    let down = difference("model.layers.29.mlp.down_proj.weight");
    assert!(down > 0.0 && down < 0.1, "two steps change a matrix a little: {down}");
    let norm = difference("model.norm.weight");
    assert!(norm < 1e-2, "what has no adapter is only rounded: {norm}");
}
