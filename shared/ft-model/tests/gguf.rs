//! Every file of `testdata/gguf`, which llama.cpp's converter made, against the folder that it was made from.

mod common;

use std::path::PathBuf;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use common::{Reference, testdata};
use ft_kernels::Compute;
use ft_model::Architecture;
use ft_model::arch::{Family, RopeScaling};
use ft_model::batch::Batch;
use ft_model::checkpoint::{Checkpoint, Format};
use ft_model::decoder::Decoder;
use ft_model::layers::Resident;
use serde_json::Value;

/// All files, with the reference's name and, where they are not in f32, the ending that says what they are in.
fn files() -> Vec<(PathBuf, String, bool)> {
    let dir = std::fs::read_dir(testdata().join("gguf")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = dir.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort();
    assert_eq!(files.len(), 35, "files are missing");
    files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let plain = name.strip_suffix(".q8_0").map(str::to_owned);
            (path, plain.clone().unwrap_or(name), plain.is_some())
        })
        .collect()
}

fn folder(name: &str) -> Checkpoint {
    Checkpoint::open(&testdata().join("reference").join(name).join("model")).unwrap()
}

/// What the file cannot say, or says in f32, as the file has it.
fn as_the_file_says(name: &str, mut arch: Architecture) -> Architecture {
    // llama.cpp has one name for all three, and none for what is stretched with a sequence.
    if arch.family == Family::InternLm3 {
        arch.ropes[0].scaling = RopeScaling::None;
    }
    if matches!(arch.family, Family::Mistral | Family::InternLm3) {
        arch.family = Family::Llama;
    }
    if arch.family == Family::Hunyuan {
        // The converter writes the stretched base in f32, and the longest context that there is.
        arch.ropes[0].theta = (arch.ropes[0].theta as f32).to_string().parse().unwrap();
        arch.max_position_embeddings = 262_144;
    }
    // Dropout inside the base is none of its matters; the references ask for none.
    assert!(arch.base_dropout.is_empty(), "{name}");
    // Nothing here has what no file says: a window in one of these families, another interval, mscale.
    let says = ["gemma", "olmo3", "cohere2", "exaone4"].iter().any(|family| name.starts_with(family));
    assert!(arch.layers.iter().all(|layer| layer.sliding_window.is_none()) || says, "{name}");
    arch.raw = Value::Null;
    arch
}

#[test]
fn the_architecture_is_the_folders() {
    for (path, name, _) in files() {
        let mut found = Checkpoint::open(&path).unwrap().architecture().clone();
        found.raw = Value::Null;
        let expected = as_the_file_says(&name, folder(&name).architecture().clone());
        // Everything at once, since a file says nothing about the rest; the first difference is the message.
        assert_eq!(format!("{found:#?}"), format!("{expected:#?}"), "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_files_hold_scalings_of_every_kind() {
    let scaling = |name: &str| Checkpoint::open(&testdata().join("gguf").join(name)).unwrap().architecture().clone();
    let full = |name: &str| scaling(name).ropes.last().unwrap().scaling.clone();
    assert!(matches!(full("llama3_rope-s5.gguf"), RopeScaling::Llama3 { .. }));
    assert!(matches!(full("llama_yarn_rope-s6.gguf"), RopeScaling::Yarn { .. }));
    assert!(matches!(full("llama_linear_rope-s3.gguf"), RopeScaling::Linear { .. }));
    assert!(matches!(full("gemma3_text-s20.gguf"), RopeScaling::Linear { .. }));
    assert!(matches!(full("phi3_longrope-s16.gguf"), RopeScaling::LongRope { .. }));
    assert!(matches!(full("olmo3-s75.gguf"), RopeScaling::Yarn { .. }));
    assert!(matches!(full("exaone4-s79.gguf"), RopeScaling::Llama3 { .. }));
}

/// What the file makes of a folder's values: rounded to its type, and Gemma's norms to what is left of them when 1 is
/// added and taken away again.
fn as_stored(values: &Tensor, format: Format, plus_one: bool) -> Vec<f32> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    match format {
        Format::F32 if plus_one => flat(values).into_iter().map(|x| (x + 1.0) - 1.0).collect(),
        Format::F32 => flat(values),
        Format::F16 => flat(&values.to_dtype(DType::F16).unwrap().to_dtype(DType::F32).unwrap()),
        Format::Blocks(kind) => {
            let packed = QTensor::quantize(values, kind).unwrap();
            flat(&packed.dequantize(&Device::Cpu).unwrap())
        }
        other => panic!("no reference file has {other}"),
    }
}

#[test]
fn every_tensor_is_the_folders_bit_by_bit() {
    for (path, name, quantised) in files() {
        let (file, folder) = (Checkpoint::open(&path).unwrap(), folder(&name));
        assert_eq!(file.names(), folder.names(), "{name}");
        let mut blocks = 0;
        for tensor in file.names() {
            assert_eq!(file.shape(&tensor).unwrap(), folder.shape(&tensor).unwrap(), "{name} {tensor}");
            let format = file.stored_dtype(&tensor).unwrap();
            blocks += usize::from(format == Format::Blocks(GgmlDType::Q8_0));
            let plus_one = file.architecture().norm_plus_one && tensor.ends_with("norm.weight");
            let expected = as_stored(&folder.tensor(&tensor, DType::F32).unwrap(), format, plus_one);
            let mut found = vec![f32::NAN; expected.len()];
            file.read_f32(&tensor, &mut found).unwrap();
            let same = found.iter().zip(&expected).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same, "{name} {tensor} ({format}): {found:?} {expected:?}");
            // By rows, in another type, as the programs read them.
            let stored = file.stored(&tensor).unwrap();
            for first in (0..stored.rows()).step_by(stored.granule()) {
                let mut rows = vec![half::bf16::ZERO; stored.granule() * stored.columns().max(1)];
                stored.read_rows(first, &mut rows).unwrap();
                let start = first * stored.columns().max(1);
                let narrow = expected[start..start + rows.len()].iter().map(|x| half::bf16::from_f32(*x));
                assert!(narrow.eq(rows), "{name} {tensor} row {first}");
            }
        }
        assert_eq!(blocks > 5, quantised, "{name}: {blocks} tensors of blocks");
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for (path, name, quantised) in files() {
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut reference = Reference::open(testdata().join("reference").join(&name));
        if quantised {
            // transformers' own of the widened weights.
            let of_blocks = candle_core::safetensors::load(path.with_extension("safetensors"), &Device::Cpu).unwrap();
            let moved = (&of_blocks["logits"] - &reference.data["logits"]).unwrap();
            assert!(common::max_abs(&moved) > 1e-3, "{name}: the logits do not show what Q8_0 rounds");
            reference.data.extend(of_blocks);
        }
        let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
        let all = Batch::new(&reference.sequences());
        let decoder =
            Decoder { compute: Compute::cpu(), arch: checkpoint.architecture(), source: &source, adapter: None };
        let error = reference.error("logits", &decoder.logits(&all).unwrap(), &all);
        println!("{:32} logits {error:.1e}", path.file_name().unwrap().to_string_lossy());
        assert!(error < 1e-4, "{name}: {error}");
    }
}
