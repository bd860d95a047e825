//! Against checkpoints of transformers and bitsandbytes (`scripts/make_quant_reference.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::DType;
use half::bf16;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::{CONFIG_FILE, Checkpoint};
use crate::safetensors::Header;

const K: &str = "model.layers.0.self_attn.k_proj.weight";
const DOWN: &str = "model.layers.0.mlp.down_proj.weight";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/quant").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&testdata(name)).unwrap()
}

fn values(model: &Checkpoint, name: &str) -> Vec<f32> {
    model.tensor(name, DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn message<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("it was accepted") };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[test]
fn weights_are_those_of_bitsandbytes() {
    for (name, format, shown) in [
        ("nf4", Format::FourBit(Kind::Nf4), "nf4"),
        ("fp4", Format::FourBit(Kind::Fp4), "fp4"),
        ("int8", Format::ByteRows, "int8"),
    ] {
        let model = open(name);
        let path = testdata(name).join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
        for (tensor, shape) in [(K, [32, 64]), (DOWN, [64, 96])] {
            assert_eq!((model.shape(tensor).unwrap(), model.stored_dtype(tensor).unwrap()), (&shape[..], format));
            let ours = values(&model, tensor);
            let theirs: Vec<f32> = expected[tensor].flatten_all().unwrap().to_vec1().unwrap();
            // Zeros have either sign in bitsandbytes' FP4.
            assert_eq!(ours[ours.len() - theirs.len()..], theirs, "{name} {tensor}");
        }
        assert_eq!(format.to_string(), shown);
        assert!(model.architecture().raw.get(KEY).is_none());
    }
}

#[test]
fn rows_are_the_same_from_file_and_from_memory_and_in_any_pieces() {
    for name in ["nf4", "fp4", "int8"] {
        let model = open(name);
        for tensor in [K, DOWN] {
            let (all, stored) = (values(&model, tensor), model.stored(tensor).unwrap());
            let memory = stored.in_memory().unwrap();
            assert_eq!((memory.bytes(), memory.shape()), (stored.bytes(), stored.shape()));
            for stored in [stored, &memory] {
                assert_eq!(stored.granule(), 1);
                let columns = stored.columns();
                for (first, rows) in [(0, 1), (1, 1), (3, 4), (31, 1), (5, 20)] {
                    let mut part = vec![f32::NAN; rows * columns];
                    stored.read_rows(first, &mut part).unwrap();
                    assert_eq!(bits(&part), bits(&all[first * columns..][..part.len()]), "{name} {first} {rows}");
                    let mut narrow = vec![bf16::ZERO; rows * columns];
                    stored.read_rows(first, &mut narrow).unwrap();
                    assert_eq!(narrow, part.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>());
                }
            }
        }
    }
}

/// A tensor of a file that a test changes.
#[derive(Clone)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn entries(name: &str) -> Vec<Entry> {
    let bytes = std::fs::read(testdata(name).join("model.safetensors")).unwrap();
    let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let entry = |(name, view): (String, ::safetensors::tensor::TensorView<'_>)| Entry {
        name,
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.tensors().into_iter().map(entry).collect()
}

fn write(path: &Path, entries: &[Entry]) {
    let tensors: Vec<_> = entries.iter().map(|e| (e.name.clone(), e.dtype, e.shape.clone())).collect();
    let (_, mut bytes) = Header::build(&tensors, &BTreeMap::new());
    bytes.extend(entries.iter().flat_map(|entry| &entry.bytes));
    std::fs::write(path, bytes).unwrap();
}

fn folder(name: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::copy(testdata(name).join(CONFIG_FILE), home.path().join(CONFIG_FILE)).unwrap();
    home
}

/// What opening the checkpoint says after one of its tensors was changed, or taken out.
fn changed(name: &str, tensor: &str, change: impl FnOnce(&mut Entry) -> bool) -> String {
    let mut all = entries(name);
    let at = all.iter().position(|entry| entry.name == tensor).unwrap();
    if !change(&mut all[at]) {
        all.remove(at);
    }
    let home = folder(name);
    write(&home.path().join("model.safetensors"), &all);
    message(Checkpoint::open(home.path()))
}

/// Puts other words into a state's JSON.
fn state(entry: &mut Entry, from: &str, to: &str) -> bool {
    let text = String::from_utf8(entry.bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    entry.bytes = text.replace(from, to).into_bytes();
    entry.shape = vec![entry.bytes.len()];
    true
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    let missing = [
        ("nf4", K, ""),
        ("nf4", K, ".absmax"),
        ("nf4", K, ".quant_map"),
        ("nf4", K, ".nested_absmax"),
        ("nf4", K, ".nested_quant_map"),
        ("fp4", K, ".absmax"),
    ];
    for (model, weight, part) in missing {
        let told = changed(model, &format!("{weight}{part}"), |_| false);
        assert!(told.contains(&format!("there is no tensor '{weight}{part}'")), "{told}");
    }
    let told = changed("nf4", &format!("{K}{STATE}nf4"), |_| false);
    assert!(told.contains(K) && told.contains("U8") && told.contains("expected F32"), "{told}");
    let scales = "model.layers.0.self_attn.k_proj.SCB";
    let told = changed("int8", scales, |_| false);
    assert!(told.contains(K) && told.contains("I8"), "{told}");

    let state_of = format!("{K}{STATE}nf4");
    for (from, to, expected) in [
        ("[32, 64]", "[32, 63]", "has 1024 bytes, expected 1008"),
        ("[32, 64]", "[64, 32]", "has the shape [64, 32], expected [32, 64]"),
        ("\"blocksize\": 64", "\"blocksize\": 48", "blocks of 48, expected a power of two"),
        ("\"nested_blocksize\": 256", "\"nested_blocksize\": 128", "expected 256"),
        ("nested_offset", "other", "lacks 'nested_offset'"),
        ("{", "[", "no state of bitsandbytes"),
    ] {
        let told = changed("nf4", &state_of, |entry| state(entry, from, to));
        assert!(told.contains(expected) && told.contains(K), "{told}");
    }
    let told = changed("nf4", &format!("{K}.quant_map"), |entry| {
        entry.bytes[4] ^= 1;
        true
    });
    assert!(told.contains("not the table of nf4"), "{told}");
    let told = changed("int8", "model.layers.0.self_attn.k_proj.weight_format", |entry| {
        entry.bytes = vec![2];
        true
    });
    assert!(told.contains("weight_format' is [2], expected [0]"), "{told}");
    let told = changed("int8", scales, |entry| {
        (entry.shape, entry.bytes) = (vec![8], entry.bytes[..32].to_vec());
        true
    });
    assert!(told.contains("has 8 numbers, expected 32"), "{told}");
}

#[test]
fn shards_may_part_a_weight_from_its_scales() {
    let whole = open("nf4");
    let home = folder("nf4");
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (left, right): (Vec<_>, Vec<_>) = entries("nf4").into_iter().partition(|entry| entry.name.len() % 2 == 0);
    let weight_map: BTreeMap<_, _> =
        left.iter().map(|e| (&e.name, names[0])).chain(right.iter().map(|e| (&e.name, names[1]))).collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": weight_map});
    std::fs::write(home.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    write(&home.path().join(names[0]), &left);
    write(&home.path().join(names[1]), &right);
    let shards = Checkpoint::open(home.path()).unwrap();
    for name in whole.names() {
        assert_eq!(bits(&values(&shards, &name)), bits(&values(&whole, &name)), "{name}");
    }
}

#[test]
fn codes_that_pass_for_floats_are_codes() {
    let home = folder("nf4");
    let mut all = entries("nf4");
    for entry in all.iter_mut().filter(|entry| entry.shape.ends_with(&[1]) && entry.dtype == Dtype::U8) {
        (entry.dtype, entry.shape[0]) = (Dtype::BF16, entry.shape[0] / 2);
    }
    write(&home.path().join("model.safetensors"), &all);
    let model = Checkpoint::open(home.path()).unwrap();
    assert_eq!(bits(&values(&model, DOWN)), bits(&values(&open("nf4"), DOWN)));
}

#[test]
fn other_ways_to_quantise_are_refused() {
    for (config, expected) in [
        (json!({"quant_method": "gptq", "bits": 4}), "'quantization_config.quant_method' is 'gptq'"),
        (json!({"bits": 4}), "'quantization_config.quant_method' is missing"),
    ] {
        let home = folder("nf4");
        let path = home.path().join(CONFIG_FILE);
        let mut all: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        all[KEY] = config;
        std::fs::write(&path, all.to_string()).unwrap();
        let told = message(Checkpoint::open(home.path()));
        assert!(told.contains(expected) && told.contains("config.json"), "{told}");
    }
    // As older versions wrote it.
    let mut old = json!({"hidden_size": 4, "quantization_config": {"load_in_8bit": true}});
    take_config(&mut old).unwrap();
    assert_eq!(old, json!({"hidden_size": 4}));
}
