//! What a run computes with, made of what was set up.

use std::path::Path;

use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::{DropoutKey, NeftuneKey};
use ft_model::optimizer::{LoraPlus, Optimizer, OptimizerConfig};
use ft_model::step::Step;
use serde_json::json;

use crate::engine::setup::Setup;
use crate::error::{Error, Result};
use crate::json::{Entry, entry, rounded};
use crate::options::{Offload, Options, Sharding};
use crate::plan::sampler::Sampler;

/// What a training step's random numbers depend on.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    pub seed: u64,
    pub step: u64,
    /// `neftune_noise_alpha`
    pub neftune: Option<f64>,
}

impl Setup {
    /// Who deals the rows out to steps.
    ///
    /// # Errors
    /// If the rows make no step.
    pub fn sampler(&self, options: &Options) -> Result<Sampler> {
        Sampler::new(options, &self.train.lengths(), self.train.rows(), self.ranks.world())
    }

    /// The optimizer before its first step; the paged kinds keep their file in `output`, or where temporary files are.
    ///
    /// # Errors
    /// If its file cannot be made, or it has none where one is asked for.
    pub fn optimizer(&self, options: &Options, output: Option<&Path>) -> Result<Optimizer> {
        let t = &options.training;
        let mut kind = t.optim;
        if options.memory.offload_optimizer_device == Offload::Disk {
            kind = kind.paged().ok_or_else(|| {
                Error::Options(format!("--offload-optimizer-device disk: {kind} has no moments in a file"))
            })?;
        }
        let config = OptimizerConfig {
            kind,
            learning_rate: t.learning_rate,
            beta1: t.adam_beta1,
            beta2: t.adam_beta2,
            eps: t.adam_epsilon,
            weight_decay: t.weight_decay,
            sgd: t.sgd,
            loraplus: t.loraplus_lr_ratio.map(|ratio| LoraPlus { ratio, embedding: LoraPlus::EMBEDDING }),
            page_folder: output.unwrap_or(&options.temporary_folder).to_path_buf(),
        };
        let (world, rank) = match self.sharding {
            Sharding::None => (1, 0),
            Sharding::Zero1 | Sharding::Zero2 | Sharding::Zero3 => (self.ranks.world(), self.ranks.rank()),
        };
        Ok(Optimizer::among(&self.adapter, config, world, rank)?)
    }

    /// How a step is computed; without `draws` as in evaluation.
    pub fn step(&self, draws: Option<Draws>) -> Step<'_> {
        let p = self.adapter.config.lora_dropout;
        let dropout = draws.filter(|_| p > 0.0).map(|Draws { seed, step, .. }| DropoutKey { p, seed, step });
        let noise = |Draws { seed, step, neftune }| neftune.map(|alpha| NeftuneKey { alpha, seed, step });
        Step {
            compute: self.compute,
            arch: &self.arch,
            source: &*self.source,
            ranks: &*self.ranks,
            cut: self.cut.as_ref(),
            loss_scale: 1.0,
            activation_memory: self.activation_memory,
            dropout,
            neftune: draws.and_then(noise),
        }
    }

    /// Floating-point operations a token, as transformers counts them: six a parameter, without the embedding.
    pub fn flops_a_token(&self) -> f64 {
        let embedding = self.arch.vocab_size * self.arch.hidden_size;
        6.0 * (self.arch.parameters() - embedding + self.adapter.parameters()) as f64
    }

    /// The figures of the data and of what is made of it.
    pub fn figures(&self, sampler: &Sampler, options: &Options) -> Entry {
        let epoch = sampler.first_epoch();
        let lengths = self.train.lengths();
        entry(json!({
            "train_rows": lengths.len(),
            "train_tokens": self.train.tokens(),
            "train_labels": self.train.labels(),
            "longest_row": lengths.iter().max(),
            "eval_rows": self.eval.as_ref().map(|eval| eval.sequences.len()),
            "eval_tokens": self.eval.as_ref().map(crate::data::dataset::Dataset::tokens),
            "sequences_an_epoch": epoch.items,
            "packing_efficiency": epoch.packing_efficiency.map(|share| rounded(share, 4)),
            "tokens_an_epoch": epoch.tokens,
            "padding_of_peers": rounded(epoch.padding(), 4),
            "steps_an_epoch": epoch.steps_an_epoch,
            "sequences_a_step": options.training.sequences_a_step(self.ranks.world()),
            "trainable_parameters": self.adapter.parameters(),
            "parameters": self.arch.parameters(),
        }))
    }
}

/// The micro-batches, each cut to the memory that there is.
pub fn pieces(step: &Step<'_>, sequences: &[Sequence], micro_batches: &[Vec<usize>]) -> Vec<Batch> {
    let of = |rows: &Vec<usize>| rows.iter().map(|&r| &sequences[r]).collect::<Vec<_>>();
    micro_batches.iter().flat_map(|rows| step.cut(&of(rows))).collect()
}
