//! Low-rank adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021), in memory
//! and in peft's files.
//!
//! An adapted linear layer computes `x·Wᵀ + scaling · (x·Aᵀ)·Bᵀ`; merged, its weight is
//! `W + scaling · B·A`. With DoRA each row of that has a trained length; beside the pairs, biases and whole modules
//! of the base may be trained.

mod adapter;
mod apart;
mod check;
mod combine;
mod config;
mod dense;
mod ends;
mod expert_names;
mod fitted;
mod found;
mod init;
mod keys;
mod known;
mod modules;
mod olora;
mod parameters;
pub mod pissa;
pub(crate) mod placed;
mod principal;
mod read;
mod saved;
mod shapes;
mod targets;
mod unconverted;
mod vocabulary;
mod write;

pub use adapter::{Adapter, LoraPair, SavedTensor, Trainable};
pub use combine::{Combination, Combine, Majority};
pub use config::{Layers, LoraConfig};
pub use ends::{End, EndPair, OnEnd};
pub use keys::TrainedKind;
pub use shapes::TrainedShape;
pub use targets::Targets;
pub use vocabulary::{Low, PairGradients, add_by_token};

#[cfg(test)]
mod tests;
