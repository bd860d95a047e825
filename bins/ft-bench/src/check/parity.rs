//! Whole training runs against what transformers and peft found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;
use ft_model::layers::{LayerSource, Resident};
use ft_model::lora::{Adapter, Kind};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;
use ft_model::{Architecture, Checkpoint};
use serde_json::Value;

use super::inputs::On;

/// The largest error of each kind.
#[derive(Debug, Default)]
pub struct Errors {
    pub logits: f64,
    pub loss: f64,
    pub gradient: f64,
    pub adapter: f64,
    pub final_logits: f64,
    pub losses: Vec<f64>,
    pub seconds: f64,
}

/// The models of a folder whose names begin with one of `only`, if any is named, and whose architecture is known.
pub fn folders(root: &Path, only: &[String]) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root).with_context(|| format!("cannot read '{}'", root.display()))?;
    let mut dirs = Vec::new();
    for entry in entries {
        let dir = entry?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = only.is_empty() || only.iter().any(|begin| name.starts_with(begin.as_str()));
        if wanted && dir.join("meta.json").is_file() {
            dirs.push(dir);
        }
    }
    dirs.sort();
    // What the programs refuse is refused here too: an architecture or a setting that is not implemented.
    dirs.retain(|dir| {
        match Checkpoint::open(&dir.join("model")).and_then(|_| Adapter::load(&dir.join("adapter_init"))) {
            Ok(_) => true,
            Err(reason) => {
                tracing::warn!("'{}' is left out: {reason}", dir.display());
                false
            }
        }
    });
    Ok(dirs)
}

/// Trains the model of `dir` there as its `meta.json` says.
pub fn run(dir: &Path, on: &On) -> Result<Errors> {
    let started = Instant::now();
    let data = candle_core::safetensors::load(dir.join("data.safetensors"), &Device::Cpu)?;
    let meta: Value = serde_json::from_slice(&std::fs::read(dir.join("meta.json"))?)?;
    let checkpoint = Checkpoint::open(&dir.join("model"))?;
    let arch = checkpoint.architecture().clone();
    let source = Resident::load_on(&on.device, &checkpoint, DType::F32, |_| {})?;
    let rows = sequences(&data)?;
    let batch = Batch::new(&rows);
    let mut errors = Errors::default();
    let plain = Decoder { compute: on.compute, arch: &arch, source: &source, adapter: None };
    errors.logits = apart(&data, "logits", &plain.logits(&batch)?, &batch)?;
    let adapter = train(dir, on, &meta, &arch, &source, &batch, &mut errors)?;
    let expected = Adapter::load(&dir.join("adapter_final"))?;
    let first = candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu)?;
    for (found, expected) in adapter.trainable().zip(expected.trainable()) {
        // A bias that nothing feels has only noise for a gradient, and AdamW makes full steps of it.
        let felt = match (found.kind, first.get(&found.name())) {
            (Kind::Saved, Some(gradient)) if found.tensor.rank() == 1 => felt(gradient)?,
            _ => found.tensor.ones_like()?,
        };
        errors.adapter = errors.adapter.max(share(&(found.tensor * &felt)?, &(expected.tensor * &felt)?)?);
    }
    let placed = expected.on(&on.device)?;
    let trained = Decoder { compute: on.compute, arch: &arch, source: &source, adapter: Some(&placed) };
    errors.final_logits = apart(&data, "final_logits", &trained.logits(&batch)?, &batch)?;
    errors.seconds = started.elapsed().as_secs_f64();
    Ok(errors)
}

/// The steps that `meta.json` has losses of; the adapter after them.
fn train(
    dir: &Path,
    on: &On,
    meta: &Value,
    arch: &Architecture,
    source: &dyn LayerSource,
    batch: &Batch,
    errors: &mut Errors,
) -> Result<Adapter> {
    let mut adapter = Adapter::load(&dir.join("adapter_init"))?;
    adapter.check(arch)?;
    let number = |key: &str, default: f64| meta["settings"][key].as_f64().unwrap_or(default);
    let config = OptimizerConfig { weight_decay: number("weight_decay", 0.0), ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(&adapter, config)?;
    let first = candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu)?;
    for (number_of, expected) in meta["losses"].as_array().context("meta.json has no losses")?.iter().enumerate() {
        let step = Step { compute: on.compute, ..Step::alone(arch, source, u64::MAX) };
        let found = step.run(&adapter, std::slice::from_ref(batch))?;
        let expected = expected.as_f64().context("a loss of meta.json is no number")?;
        errors.loss = errors.loss.max((found.loss - expected).abs());
        errors.losses.push(found.loss);
        if number_of == 0 {
            for (trained, gradient) in adapter.trainable().zip(&found.gradients) {
                let name = trained.name();
                let expected = first.get(&name).with_context(|| format!("there is no gradient of '{name}'"))?;
                errors.gradient = errors.gradient.max(share(gradient, expected)?);
            }
        }
        optimizer.update(&mut adapter, &found.gradients, number("lr", 1e-3), 0.0, step.ranks)?;
    }
    Ok(adapter)
}

/// The rows without their padding, which stands on the right.
fn sequences(data: &HashMap<String, Tensor>) -> Result<Vec<Sequence>> {
    let rows = |name: &str| -> Result<Vec<Vec<i64>>> {
        let tensor = data.get(name).with_context(|| format!("data.safetensors has no '{name}'"))?;
        Ok(tensor.to_dtype(DType::I64)?.to_vec2()?)
    };
    let (ids, labels, mask) = (rows("input_ids")?, rows("labels")?, rows("attention_mask")?);
    let all = ids.iter().zip(&labels).zip(&mask);
    Ok(all
        .map(|((ids, labels), mask)| {
            let length = mask.iter().filter(|&&m| m == 1).count();
            Sequence {
                input_ids: ids[..length].iter().map(|&id| id as u32).collect(),
                labels: labels[..length].iter().map(|&label| label as i32).collect(),
            }
        })
        .collect())
}

/// The largest difference to an expected `[rows, length, width]`, over the largest expected value; `found` is
/// `[tokens, width]`.
fn apart(data: &HashMap<String, Tensor>, name: &str, found: &Tensor, batch: &Batch) -> Result<f64> {
    let expected = data.get(name).with_context(|| format!("data.safetensors has no '{name}'"))?.to_dtype(DType::F32)?;
    let found = found.to_device(&Device::Cpu)?;
    let (mut difference, mut largest) = (0.0f64, 0.0f64);
    for (i, span) in batch.starts.windows(2).enumerate() {
        let length = span[1] - span[0];
        let expected = expected.get(i)?.narrow(0, 0, length)?;
        let found = found.narrow(0, span[0], length)?;
        difference = difference.max(largest_of(&(&expected - found)?)?);
        largest = largest.max(largest_of(&expected)?);
    }
    Ok(difference / largest)
}

fn largest_of(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?))
}

/// `‖found − expected‖ / ‖expected‖`; where nothing is expected, `‖found‖`.
fn share(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let norm = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt()) };
    let (difference, size) = (norm(&(found - expected)?)?, norm(expected)?);
    Ok(if size == 0.0 { difference } else { difference / size })
}

/// 1 where a gradient is more than rounding, else 0.
fn felt(gradient: &Tensor) -> Result<Tensor> {
    let floor = largest_of(gradient)? * 1e-5;
    Ok(gradient.abs()?.ge(floor)?.to_dtype(DType::F32)?)
}
