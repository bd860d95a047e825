//! What an optimizer is told once.

use std::path::PathBuf;
use std::str::FromStr;

use super::kind::OptimizerKind;
use crate::error::{Error, Result};

/// What does not change from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerConfig {
    pub kind: OptimizerKind,
    /// The learning rate that the schedule multiplies. Only the embeddings' own rate of LoRA+ asks for it.
    pub learning_rate: f64,
    /// AdamW's decay of the first moment; Lion's share of the momentum in a step.
    pub beta1: f64,
    /// The decay of AdamW's second moment, and of Lion's momentum.
    pub beta2: f64,
    /// Added to the root of AdamW's second moment.
    pub eps: f64,
    /// Of the tensors that decay: all but biases and the weights of norms.
    pub weight_decay: f64,
    /// What `optim_args` may say for SGD.
    pub sgd: SgdOptions,
    /// Other learning rates for `B`.
    pub loraplus: Option<LoraPlus>,
    /// Where the paged kinds keep their file, which has no name and goes away with the process.
    pub page_folder: PathBuf,
}

impl Default for OptimizerConfig {
    /// torch's defaults, but for the decay, which is the caller's.
    fn default() -> Self {
        Self {
            kind: OptimizerKind::default(),
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            sgd: SgdOptions::default(),
            loraplus: None,
            page_folder: PathBuf::from("."),
        }
    }
}

/// LoRA+ (Hayou et al., "LoRA+: Efficient Low Rank Adaptation of Large Models", 2024), in the groups of peft's
/// `create_loraplus_optimizer`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraPlus {
    /// How much faster `B` and all vectors learn than `A`.
    pub ratio: f64,
    /// The learning rate of adapted embeddings, before the schedule.
    pub embedding: f64,
}

impl LoraPlus {
    /// peft's rate for embeddings.
    pub const EMBEDDING: f64 = 1e-6;
}

/// `optim_args` of SGD; by default there is no momentum, as with transformers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SgdOptions {
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
}

impl FromStr for SgdOptions {
    type Err = Error;

    /// `momentum=0.9,nesterov=true`.
    fn from_str(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = || Error::Optimizer(format!("sgd does not understand '{part}' of optim_args; {EXPECTED}"));
            let number = || value.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0).ok_or_else(wrong);
            match key.trim() {
                "momentum" => options.momentum = number()?,
                "dampening" => options.dampening = number()?,
                "nesterov" => options.nesterov = matches!(value.trim().to_lowercase().as_str(), "true" | "1" | "yes"),
                _ => return Err(wrong()),
            }
        }
        if options.nesterov && (options.momentum == 0.0 || options.dampening != 0.0) {
            let told = "sgd needs a momentum above 0 and a dampening of 0 for nesterov=true of optim_args";
            return Err(Error::Optimizer(told.into()));
        }
        Ok(options)
    }
}

const EXPECTED: &str = "expected momentum=NUMBER, dampening=NUMBER, nesterov=true|false, separated by commas";
