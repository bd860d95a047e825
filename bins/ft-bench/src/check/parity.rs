//! Whole training runs against what transformers and peft found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;
use ft_model::layers::{LayerSource, Resident};
use ft_model::lora::{Adapter, TrainedKind};
use ft_model::step::StepResult;
use ft_model::{Architecture, Checkpoint};
use ft_trainer::Error;
use ft_trainer::data::dataset::Dataset;
use ft_trainer::engine::setup::Setup;
use ft_trainer::options::{
    EvaluationOptions, Interval, LogOptions, MemoryOptions, Options, RowOptions, SaveStrategy, SchedulerType,
    TrainingOptions,
};
use ft_trainer::run::Observer;
use ft_trainer::run::trainer::{Outlets, Trainer};
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
    let Setup { arch, source, adapter, .. } = train(dir, on, &meta, (arch, Box::new(source)), rows, &mut errors)?;
    let expected = Adapter::load(&dir.join("adapter_final"))?;
    let first = candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu)?;
    for (found, expected) in adapter.trainable().zip(expected.trainable()) {
        // A bias that nothing feels has only noise for a gradient, and AdamW makes full steps of it.
        let felt = match (found.kind, first.get(&found.name())) {
            (TrainedKind::Saved, Some(gradient)) if found.tensor.rank() == 1 => felt(gradient)?,
            _ => found.tensor.ones_like()?,
        };
        errors.adapter = errors.adapter.max(share(&(found.tensor * &felt)?, &(expected.tensor * &felt)?)?);
    }
    let placed = expected.on(&on.device)?;
    let trained = Decoder { compute: on.compute, arch: &arch, source: &*source, adapter: Some(&placed) };
    errors.final_logits = apart(&data, "final_logits", &trained.logits(&batch)?, &batch)?;
    errors.seconds = started.elapsed().as_secs_f64();
    Ok(errors)
}

/// Takes the steps that `meta.json` has losses of, each on all rows; the adapter is then that after them.
fn train(
    dir: &Path,
    on: &On,
    meta: &Value,
    (arch, source): (Architecture, Box<dyn LayerSource>),
    rows: Vec<Sequence>,
    errors: &mut Errors,
) -> Result<Setup> {
    let mut adapter = Adapter::load(&dir.join("adapter_init"))?;
    adapter.check(&arch)?;
    adapter.config.lora_dropout = 0.0;
    let losses = meta["losses"].as_array().context("meta.json has no losses")?;
    let losses = losses.iter().map(|loss| loss.as_f64().context("a loss of meta.json is no number"));
    let number = |key: &str, default: f64| meta["settings"][key].as_f64().unwrap_or(default);
    let mut against = Against {
        losses: losses.collect::<Result<_>>()?,
        names: adapter.trainable().map(|trained| trained.name()).collect(),
        gradients: candle_core::safetensors::load(dir.join("grads_step0.safetensors"), &Device::Cpu)?,
        errors,
    };
    let options = Options {
        training: TrainingOptions {
            learning_rate: number("lr", 1e-3),
            lr_scheduler_type: SchedulerType::Constant,
            weight_decay: number("weight_decay", 0.0),
            max_grad_norm: 0.0,
            max_steps: Some(against.losses.len() as u64),
            per_device_train_batch_size: u32::try_from(rows.len())?,
            ..TrainingOptions::default()
        },
        rows: RowOptions { shuffle: false, ..RowOptions::default() },
        log: LogOptions { logging_strategy: Interval::No, ..LogOptions::default() },
        evaluation: EvaluationOptions { save_strategy: SaveStrategy::No, ..EvaluationOptions::default() },
        memory: MemoryOptions { activation_memory: Some(u64::MAX), ..MemoryOptions::default() },
        ..Options::default()
    };
    let mut setup = Setup::of_parts(&options, arch, source, adapter, Dataset::of("data.safetensors", rows));
    setup.compute = on.compute;
    let mut trainer = Trainer::new(&options, setup, &mut (), Instant::now())?;
    trainer.take_steps(&mut Outlets { observer: &mut against, checkpoints: &mut () })?;
    Ok(trainer.setup)
}

/// Holds each step's loss, and the first one's gradients, against what was found elsewhere.
struct Against<'a> {
    losses: Vec<f64>,
    /// Of what is trained.
    names: Vec<String>,
    gradients: HashMap<String, Tensor>,
    errors: &'a mut Errors,
}

impl Observer for Against<'_> {
    fn computed(&mut self, step: u64, found: &StepResult) -> ft_trainer::Result<()> {
        let expected = self.losses[step as usize - 1];
        self.errors.loss = self.errors.loss.max((found.loss - expected).abs());
        self.errors.losses.push(found.loss);
        if step > 1 {
            return Ok(());
        }
        for (name, gradient) in self.names.iter().zip(&found.gradients) {
            let lacking = || Error::caller(format!("there is no gradient of '{name}'"));
            let expected = self.gradients.get(name).ok_or_else(lacking)?;
            self.errors.gradient = self.errors.gradient.max(share(gradient, expected).map_err(Error::caller)?);
        }
        Ok(())
    }
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
