//! What README and docs tell a user to type, as it stands there: on the real model and a few of the real rows, or, in
//! [`pages`], on a small one.

mod pages;
mod small_model;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ft_model::Checkpoint;
use serde_json::Value;

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The lines of a page that its marker promises to run.
fn lines(page: &str, test: &str) -> String {
    block(page, &format!("the test {test} runs these lines -->"), "```sh\n")
}

/// The first block that begins with `fence` after `mark`.
fn block(page: &str, mark: &str, fence: &str) -> String {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let (_, after) = text.split_once(mark).unwrap_or_else(|| panic!("{page}: {mark}"));
    let (_, block) = after.split_once(fence).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// The folder of the built programs, all of which `cargo test --workspace` and `make test` build first.
fn programs() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_ft-train")).parent().unwrap().to_path_buf();
    for program in ["ft-prep", "ft-template", "ft-train", "ft-merge", "ft-eval", "ft-bench"] {
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

/// Runs lines in a folder, where they find the programs and nothing to download; gives stdout and stderr.
fn run(folder: &Path, lines: &str) -> (String, String) {
    let path = std::env::join_paths(
        std::iter::once(programs()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("bash");
    let shell = shell.args(["-e", "-o", "pipefail", "-c", lines]).env("PATH", path.unwrap()).current_dir(folder);
    let shell = shell.stdin(Stdio::null());
    let output = shell.env("HF_HUB_CACHE", folder.join("hub")).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{lines}\n{told}");
    assert!(!told.contains("error") && !told.contains("warning"), "{told}");
    (String::from_utf8(output.stdout).unwrap(), told)
}

/// The model under its name on the hub, in the cache that [`run`] looks into.
fn cache(folder: &Path) {
    let repository = folder.join("hub/models--HuggingFaceTB--SmolLM2-135M-Instruct");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::create_dir_all(repository.join("snapshots")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    symlink(model(), folder.join(MODEL)).unwrap();
    let to = repository.join("snapshots").join(commit);
    run(folder, &format!("ft-merge -q --model {MODEL} --dtype bf16 -o {}", to.display()));
}

#[test]
fn readme_quick_start() {
    let scratch = tempfile::tempdir().unwrap();
    cache(scratch.path());
    let questions = (0..24).map(|i| format!("\"What is {i} plus {i}?\",\"It is {}.\"\n", 2 * i));
    fs::write(scratch.path().join("questions.csv"), "question,answer\n".to_owned() + &questions.collect::<String>())
        .unwrap();
    let lines = lines("README.md", "readme_quick_start");
    assert!(lines.contains("--output-dir adapter\n"), "{lines}");
    // The epochs of a real run would last minutes.
    let lines = lines.replace("--output-dir adapter\n", "--output-dir adapter --max-steps 2\n");
    let (answer, _) = run(scratch.path(), &lines);
    assert!(!answer.trim().is_empty(), "the question is answered");
}

#[test]
fn docs_coming_from_trl() {
    let scratch = tempfile::tempdir().unwrap();
    cache(scratch.path());
    let page = "docs/coming-from.md";
    let chat = |i| {
        let (asked, said) = (format!("Who owes {i}?"), format!("Client {i} does."));
        serde_json::json!({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]})
    };
    let chats = (0..12).map(|i| chat(i).to_string() + "\n").collect::<String>();
    fs::write(scratch.path().join("chats.jsonl"), chats).unwrap();
    let recipe = block(page, "ft-train --config train.yaml", "```yaml\n");
    assert!(recipe.contains("num_train_epochs: 3"), "{recipe}");
    fs::write(scratch.path().join("train.yaml"), recipe.replace("num_train_epochs: 3", "max_steps: 1")).unwrap();
    run(scratch.path(), &lines(page, "docs_coming_from_trl"));
    assert!(scratch.path().join("out/adapter_model.safetensors").is_file());
}

#[test]
fn readme_pipeline() {
    let scratch = tempfile::tempdir().unwrap();
    symlink(model(), scratch.path().join(MODEL)).unwrap();
    for rows in ["taxes.jsonl", "finance_calc.jsonl"] {
        fs::copy(workspace().join("testdata/samples").join(rows), scratch.path().join(rows)).unwrap();
    }
    // As many steps as the README takes would last minutes; nothing else is changed.
    let lines = lines("README.md", "readme_pipeline");
    assert!(lines.contains("--max-steps 30"), "{lines}");
    let lines = lines.replace("--max-steps 30", "--max-steps 2 --per-device-train-batch-size 2");
    let (_, told) = run(scratch.path(), &lines);
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
