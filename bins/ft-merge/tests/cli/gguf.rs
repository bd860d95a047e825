//! GGUF files that are damaged, hostile, or of types that cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{failure, run, succeed, tensors};

/// A value of the metadata: its kind's number in the format, and its bytes.
type Value = (u32, Vec<u8>);

/// A tensor: its name, its shape as the format has it, its type's number, its place and its bytes.
#[derive(Clone)]
struct Part {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
    bytes: Vec<u8>,
}

/// A small Llama as a GGUF file.
#[derive(Clone)]
struct File {
    version: u32,
    metadata: Vec<(String, Value)>,
    parts: Vec<Part>,
}

fn whole(n: u32) -> Value {
    (4, n.to_le_bytes().to_vec())
}

fn text(text: &str) -> Value {
    (8, [(text.len() as u64).to_le_bytes().to_vec(), text.as_bytes().to_vec()].concat())
}

impl File {
    /// Two layers of 64 columns, all numbers 0.01.
    fn new() -> Self {
        let float = |x: f32| (6, x.to_le_bytes().to_vec());
        let mut metadata = vec![("general.architecture".to_owned(), text("llama"))];
        for (key, value) in [
            ("block_count", whole(2)),
            ("context_length", whole(128)),
            ("embedding_length", whole(64)),
            ("feed_forward_length", whole(96)),
            ("attention.head_count", whole(4)),
            ("attention.layer_norm_rms_epsilon", float(1e-5)),
        ] {
            metadata.push((format!("llama.{key}"), value));
        }
        let mut this = Self { version: 3, metadata, parts: Vec::new() };
        this.add("token_embd.weight", &[64, 40]);
        for layer in 0..2 {
            for (name, shape) in [
                ("attn_norm", &[64][..]),
                ("attn_q", &[64, 64]),
                ("attn_k", &[64, 64]),
                ("attn_v", &[64, 64]),
                ("attn_output", &[64, 64]),
                ("ffn_norm", &[64]),
                ("ffn_gate", &[64, 96]),
                ("ffn_up", &[64, 96]),
                ("ffn_down", &[96, 64]),
            ] {
                this.add(&format!("blk.{layer}.{name}.weight"), shape);
            }
        }
        this.add("output_norm.weight", &[64]);
        this
    }

    fn add(&mut self, name: &str, shape: &[u64]) {
        let count = shape.iter().product::<u64>() as usize;
        let bytes: Vec<u8> = std::iter::repeat_n(0.01f32, count).flat_map(f32::to_le_bytes).collect();
        let offset = self.parts.last().map_or(0, |last| (last.offset + last.bytes.len() as u64).next_multiple_of(32));
        self.parts.push(Part { name: name.into(), shape: shape.to_vec(), kind: 0, offset, bytes });
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.into(), value));
    }

    fn part(&mut self, name: &str) -> &mut Part {
        self.parts.iter_mut().find(|part| part.name == name).unwrap()
    }

    fn length(&self, n: u64) -> Vec<u8> {
        if self.version == 1 { (n as u32).to_le_bytes().to_vec() } else { n.to_le_bytes().to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let string = |text: &str| [self.length(text.len() as u64), text.as_bytes().to_vec()].concat();
        let mut bytes = [b"GGUF".to_vec(), self.version.to_le_bytes().to_vec()].concat();
        bytes.extend(self.length(self.parts.len() as u64));
        bytes.extend(self.length(self.metadata.len() as u64));
        for (key, (kind, value)) in &self.metadata {
            bytes.extend([string(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        for part in &self.parts {
            bytes.extend([string(&part.name), (part.shape.len() as u32).to_le_bytes().to_vec()].concat());
            part.shape.iter().for_each(|size| bytes.extend(self.length(*size)));
            bytes.extend([part.kind.to_le_bytes().to_vec(), part.offset.to_le_bytes().to_vec()].concat());
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        let start = bytes.len();
        // A place that is a lie has no bytes.
        for part in self.parts.iter().filter(|part| part.offset < 1 << 30) {
            bytes.resize(bytes.len().max(start + part.offset as usize), 0);
            bytes.extend(&part.bytes);
        }
        bytes
    }
}

/// What ft-merge says of a file, which it must not take.
fn refused(file: &File) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    fs::write(&path, file.bytes()).unwrap();
    let (line, code) = failure(&run(&[&"--model", &path, &"-o", &home.path().join("out")]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("model.gguf"), "{line}");
    line
}

fn expect(change: impl FnOnce(&mut File), words: &str) {
    let mut file = File::new();
    change(&mut file);
    let line = refused(&file);
    assert!(line.contains(words), "{line}, expected {words}");
}

#[test]
fn versions_2_and_3_are_read_alike() {
    let home = tempfile::tempdir().unwrap();
    let mut weights: Vec<BTreeMap<_, _>> = Vec::new();
    for version in [2, 3] {
        let (path, out) = (home.path().join(format!("{version}.gguf")), home.path().join(format!("{version}")));
        fs::write(&path, File { version, ..File::new() }.bytes()).unwrap();
        succeed(&[&"--model", &path, &"-o", &out]);
        weights.push(tensors(&out.join("model.safetensors")));
    }
    assert_eq!(weights[0], weights[1]);
    expect(|file| file.version = 9, "version 9; expected 1, 2 or 3");
}

#[test]
fn an_alignment_of_zero_is_a_word_not_a_panic() {
    expect(|file| file.set("general.alignment", whole(0)), "'general.alignment' is 0, expected a power of two");
    expect(|file| file.set("general.alignment", whole(48)), "'general.alignment' is 48, expected a power of two");
    expect(|file| file.set("general.alignment", text("x")), "'general.alignment' is \"x\", expected a power of two");
}

#[test]
fn more_blocks_than_tensors_are_refused_before_memory_is_asked_for() {
    expect(
        |file| file.set("llama.block_count", whole(1_000_000_000)),
        "'llama.block_count' is 1000000000, expected at most 20",
    );
    expect(
        |file| {
            file.set("llama.expert_used_count", whole(2));
            file.set("llama.expert_count", whole(1_000_000_000));
        },
        "'llama.expert_count' is 1000000000, expected at most 0",
    );
    expect(|file| file.set("llama.embedding_length", (10, (1u64 << 39).to_le_bytes().to_vec())), "parameters together");
}

#[test]
fn tensors_that_share_bytes_are_named() {
    expect(
        |file| {
            let place = file.part("blk.0.attn_q.weight").offset;
            file.part("blk.1.attn_q.weight").offset = place + 32;
        },
        "the tensor 'blk.1.attn_q.weight' begins at byte",
    );
    expect(|file| file.part("output_norm.weight").offset = u64::MAX - 4, "'output_norm.weight' ends outside the file");
}

#[test]
fn a_tensor_of_rotary_factors_is_no_larger_than_a_head() {
    expect(
        |file| file.add("rope_freqs.weight", &[100_000]),
        "'rope_freqs.weight' has 100000 elements, expected at most 65536",
    );
}

#[test]
fn tensors_and_keys_that_occur_twice_are_named() {
    expect(
        |file| {
            let again = file.part("output_norm.weight").clone();
            file.parts.push(again);
        },
        "the tensor 'output_norm.weight' occurs twice",
    );
    expect(|file| file.metadata.push(("llama.block_count".into(), whole(2))), "'llama.block_count' occurs twice");
}

#[test]
fn types_that_cannot_be_read_are_named() {
    for (kind, name) in [(39, "MXFP4"), (23, "IQ4_XS"), (19, "IQ1_S"), (9, "Q8_1"), (77, "type 77")] {
        expect(
            |file| file.part("blk.0.attn_q.weight").kind = kind,
            &format!("'blk.0.attn_q.weight' is stored as {name}"),
        );
    }
    expect(|file| file.part("blk.0.attn_q.weight").shape = vec![1; 9], "'blk.0.attn_q.weight': it has 9 dimensions");
}

#[test]
fn a_long_list_of_metadata_takes_about_its_own_memory() {
    let count = 20_000_000u64;
    let mut file = File::new();
    let list = [0u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec(), vec![7; count as usize]].concat();
    file.set("general.list", (9, list));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    fs::write(&path, file.bytes()).unwrap();
    let limited = |kilobytes: u64| {
        let line = format!(
            "ulimit -v {kilobytes}; exec '{}' --model '{}' -o '{}' --threads 1 --overwrite",
            env!("CARGO_BIN_EXE_ft-merge"),
            path.display(),
            home.path().join("out").display()
        );
        std::process::Command::new("bash").args(["-c", &line]).output().unwrap()
    };
    // Each element as a value of its own would take 32 bytes and more.
    let output = limited(400_000);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (path, bytes) = (home.path().join("model.gguf"), File::new().bytes());
    for len in [0, 3, 4, 8, 20, 60, 300, 900, 1500, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        let (line, code) = failure(&run(&[&"--model", &path, &"-o", &Path::new("/nowhere")]));
        assert!(code == 1 && line.contains("model.gguf") && !line.contains("panicked"), "{len}: {line}");
    }
}
