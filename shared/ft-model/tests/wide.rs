//! Models that are wider than one tile of any kernel, with rows longer than one piece, against what torch, transformers
//! and peft made of them (`scripts/make_wide_reference.py`, which says how weights come from their names).

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::{testdata, worse};
use ft_kernels::Compute;
use ft_model::Architecture;
use ft_model::batch::{Batch, Sequence};
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::Resident;
use ft_model::lora::{Adapter, LoraConfig};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;
use serde_json::Value;

/// Ten times the largest error that was found, of each quantity.
const LOGITS: f64 = 2.5e-5;
const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 6e-5;
const ADAPTER: f64 = 2e-5;

/// `hashed` of the script: number `i` of those that belong to `name`.
fn hashed(i: usize, name: &str) -> u32 {
    let seed = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut x = (i as u32).wrapping_add(seed);
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// `fill` of the script.
fn fill(shape: &[usize], name: &str) -> Tensor {
    let centre = if shape.len() == 1 && name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    let element = |i| ((hashed(i, name) >> 16) as f32 / 65536.0 - 0.5) / 8.0 + centre;
    let values: Vec<f32> = (0..shape.iter().product()).map(element).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A folder with the model, as its own config and the rule of its weights have it.
fn write_model(folder: &Path, config: &Value) {
    let arch = Architecture::from_config(config).unwrap();
    let tensors: HashMap<String, Tensor> =
        arch.tensors().into_iter().map(|of| (of.name.clone(), fill(&of.shape, &of.name))).collect();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

/// An adapter on all linear layers whose every tensor is filled by its name.
fn adapter(arch: &Architecture, reference: &Value) -> Adapter {
    let config = LoraConfig::new(8, reference["alpha"].as_f64().unwrap(), "all-linear");
    let mut adapter = Adapter::init(arch, config, 1).unwrap();
    for pair in adapter.modules_mut() {
        let name = |part: &str| format!("base_model.model.{}.lora_{part}.weight", pair.module);
        let (a, b) = (fill(pair.a.dims(), &name("A")), fill(pair.b.dims(), &name("B")));
        (pair.a, pair.b) = (a, b);
    }
    adapter
}

/// How far a tensor is from its samples, over the size that its elements have in the mean; and its norm likewise.
fn error(found: &Tensor, expected: &Value) -> f64 {
    let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
    let norm = expected["norm"].as_f64().unwrap();
    let size = norm / (found.len() as f64).sqrt();
    let squares: f64 = found.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let of_norm = (squares.sqrt() - norm).abs() / norm;
    let samples = expected["values"].as_array().unwrap();
    let every = expected["every"].as_u64().unwrap() as usize;
    assert_eq!(found.iter().step_by(every).count(), samples.len());
    let differences = found.iter().step_by(every).zip(samples);
    let squares: f64 = differences.map(|(&x, y)| (f64::from(x) - y.as_f64().unwrap()).powi(2)).sum();
    worse(of_norm, (squares / samples.len() as f64).sqrt() / size)
}

fn compare(name: &str) {
    let text = std::fs::read(testdata().join("wide").join(format!("{name}.json"))).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let home = tempfile::tempdir().unwrap();
    write_model(home.path(), &reference["config"]);
    let checkpoint = Checkpoint::open(home.path()).unwrap();
    let arch = checkpoint.architecture().clone();
    let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let lengths = reference["lengths"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize);
    let row = |(i, length): (usize, usize)| {
        let ids: Vec<u32> = (0..length).map(|at| hashed(at, &format!("row {i}")) % arch.vocab_size as u32).collect();
        Sequence { labels: ids.iter().map(|&id| id as i32).collect(), input_ids: ids }
    };
    let sequences: Vec<Sequence> = lengths.enumerate().map(row).collect();

    let plain = Decoder { compute: Compute::cpu(), arch: &arch, source: &source, adapter: None };
    let mut logits = 0.0;
    for (sequence, expected) in sequences.iter().zip(reference["logits"].as_array().unwrap()) {
        logits = worse(logits, error(&plain.logits(&Batch::new([sequence])).unwrap(), expected));
    }

    let mut adapter = adapter(&arch, &reference);
    let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
    let (mut loss, mut gradient) = (0.0, 0.0);
    for (number, expected) in reference["losses"].as_array().unwrap().iter().enumerate() {
        let step = Step::alone(&arch, &source, u64::MAX);
        let batches = step.cut(&sequences.iter().collect::<Vec<_>>());
        assert!(batches.len() > 1, "the rows are one piece");
        let found = step.run(&adapter, &batches).unwrap();
        loss = worse(loss, (found.loss - expected.as_f64().unwrap()).abs());
        if number == 0 {
            for (trained, found) in adapter.trainable().zip(&found.gradients) {
                gradient = worse(gradient, error(found, &reference["gradients"][trained.name()]));
            }
        }
        let rate = reference["lr"].as_f64().unwrap();
        optimizer.update(&mut adapter, &found.gradients, rate, 0.0, step.ranks).unwrap();
    }
    let errors = adapter.trainable().map(|found| error(found.tensor, &reference["adapter"][found.name()]));
    let trained = errors.fold(0.0, worse);
    println!("{name}: logits {logits:.1e}, losses {loss:.1e}, gradients {gradient:.1e}, adapter {trained:.1e}");
    assert!(logits < LOGITS, "{name}: logits {logits:.1e}");
    assert!(loss < LOSS, "{name}: losses {loss:.1e}");
    assert!(gradient < GRADIENT, "{name}: gradients {gradient:.1e}");
    assert!(trained < ADAPTER, "{name}: adapter {trained:.1e}");
}

#[test]
fn a_llama_beyond_one_tile_is_what_transformers_computes() {
    compare("llama");
}

#[test]
fn a_windowed_qwen2_beyond_one_tile_is_what_transformers_computes() {
    compare("qwen2");
}
