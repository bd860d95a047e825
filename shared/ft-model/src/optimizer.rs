//! Optimizers over an adapter's tensors: which rule moves each tensor, at what rate, and what is remembered of it.
//!
//! Every tensor moves by itself, element by element, so a state that lies in a file and is taken through in pieces
//! gives the same bits as one in memory.

mod config;
mod file;
mod groups;
mod kind;
mod pages;
mod slots;

pub use config::{LoraPlus, OptimizerConfig, SgdOptions};
pub use groups::Rates;
pub use kind::OptimizerKind;

use std::sync::Arc;

use candle_core::Tensor;
use ft_kernels::optim::{scale_in_place, sum_of_squares};
use ft_kernels::tensor::{with_slice, with_slice_mut};

use crate::error::{Error, Result};
use crate::lora::Adapter;
use groups::Group;
use pages::PageFile;
use slots::State;

/// An optimizer and its memory.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// Steps taken.
    step: u64,
    /// In the order of [`Adapter::trainable`].
    tensors: Vec<Trained>,
}

/// One trained tensor.
#[derive(Debug)]
struct Trained {
    /// Its name, as the adapter's file has it.
    name: String,
    shape: Vec<usize>,
    group: Group,
    state: State,
}

impl Optimizer {
    /// No step taken, all moments zero.
    ///
    /// # Errors
    /// If a paged kind cannot make its file in [`OptimizerConfig::page_folder`].
    pub fn new(adapter: &Adapter, config: OptimizerConfig) -> Result<Self> {
        let bytes = |name: &str, tensor: &Tensor| slots::bytes(&config, name, tensor.elem_count());
        let pages = if config.kind.is_paged() {
            let bytes = adapter.trainable().map(|trained| bytes(&trained.name(), trained.tensor)).sum();
            Some(Arc::new(PageFile::create(&config.page_folder, bytes)?))
        } else {
            None
        };
        let mut offset = 0;
        let tensors = adapter.trainable().map(|trained| {
            let (name, shape) = (trained.name(), trained.tensor.dims().to_vec());
            let pages = pages.as_ref().map(|pages| (Arc::clone(pages), offset));
            let state = State::new(&config, &name, trained.tensor.elem_count(), pages);
            offset += bytes(&name, trained.tensor);
            Trained { group: Group::of(&name, trained.tensor, &config), name, shape, state }
        });
        let tensors = tensors.collect();
        Ok(Self { config, step: 0, tensors })
    }

    /// What was asked for.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The learning rate and the decay of each tensor, by name, where the schedule gives `lr`.
    pub fn rates(&self, lr: f64) -> impl Iterator<Item = (&str, Rates)> {
        self.tensors.iter().map(move |trained| (trained.name.as_str(), trained.group.rates(lr, &self.config)))
    }

    /// Clips the gradients to `max_grad_norm` (0 is no clipping), takes one step and returns the norm of
    /// the gradients before clipping. The adapter's tensors change in place. `lr` is what the schedule gives for
    /// this step.
    ///
    /// # Errors
    /// If a gradient is not finite; nothing has changed then. If the file of a paged kind cannot be read or written;
    /// the adapter is then between two steps.
    pub fn update(&mut self, adapter: &mut Adapter, gradients: &[Tensor], lr: f64, max_grad_norm: f64) -> Result<f64> {
        let norm = gradient_norm(gradients)?;
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "the gradient's norm", value: norm });
        }
        // As torch's clip_grad_norm_: never longer than asked, with 1e-6 against a division by zero.
        let factor = max_grad_norm / (norm + 1e-6);
        let clip = (max_grad_norm > 0.0 && factor < 1.0).then_some(factor as f32);
        self.step += 1;
        for ((trained, gradient), own) in adapter.trainable().zip(gradients).zip(&mut self.tensors) {
            let rule = slots::Rule::new(&self.config, own.group.rates(lr, &self.config), self.step);
            with_slice_mut(gradient, |gradient| {
                if let Some(factor) = clip {
                    scale_in_place(gradient, factor);
                }
                with_slice_mut(trained.tensor, |tensor| own.state.take(rule, tensor, gradient))
            })???;
        }
        Ok(norm)
    }
}

/// The norm of all the gradients together, summed in f64 in the order of the tensors.
fn gradient_norm(gradients: &[Tensor]) -> Result<f64> {
    let mut total = 0.0;
    for gradient in gradients {
        total += with_slice(gradient, sum_of_squares)?;
    }
    Ok(total.sqrt())
}

#[cfg(test)]
mod tests;
