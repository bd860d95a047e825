//! Trains a LoRA adapter from Rust, and writes it as peft reads it:
//!
//!     cargo run --release -p ft-trainer --example train -- MODEL tokens.parquet OUT
//!
//! MODEL is a Hugging Face folder or a GGUF file, and tokens.parquet has input_ids and labels, as ft-template writes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use ft_dist::Solo;
use ft_io::progress::NoProgress;
use ft_model::lora::LoraConfig;
use ft_model::step::StepResult;
use ft_trainer::engine::setup::Setup;
use ft_trainer::options::{Options, TrainingOptions};
use ft_trainer::run::Observer;
use ft_trainer::run::trainer::{Outlets, Trainer};

/// Keeps each step's loss.
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn computed(&mut self, _step: u64, found: &StepResult) -> ft_trainer::Result<()> {
        self.0.push(found.loss);
        Ok(())
    }
}

/// Trains for `steps` steps, writes the adapter into the folder `out`, and returns the losses.
///
/// # Errors
/// What is wrong with the model or the tokens, or what cannot be written.
pub fn train(model: &Path, tokens: &Path, out: &Path, steps: u64) -> Result<Vec<f64>> {
    let training = TrainingOptions { learning_rate: 1e-3, max_steps: Some(steps), ..TrainingOptions::default() };
    let lora = LoraConfig::new(8, 16.0, "q_proj,v_proj");
    let options = Options { model: model.into(), train: tokens.into(), lora, training, ..Options::default() };
    let setup = Setup::new(&options, Arc::new(Solo), Arc::new(NoProgress))?;
    let mut losses = Losses(Vec::new());
    // The unit type keeps no checkpoints; `CheckpointFolder` does.
    let trainer = Trainer::new(&options, setup, &mut (), Instant::now())?;
    let outcome = trainer.run(&mut Outlets { observer: &mut losses, checkpoints: &mut () })?;
    outcome.setup.plain_adapter()?.save(out, &BTreeMap::new())?;
    Ok(losses.0)
}

#[allow(dead_code, reason = "the test calls train alone")]
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, out] = words.as_slice() else { anyhow::bail!("usage: train MODEL tokens.parquet OUT") };
    let losses = train(model.as_ref(), tokens.as_ref(), out.as_ref(), 20)?;
    println!("loss {:.4} after {} steps", losses.last().context("no step was taken")?, losses.len());
    Ok(())
}
