//! Optimizers over an adapter's tensors: which rule moves each tensor, at what rate, and what is remembered of it.
//!
//! Every tensor moves by itself, element by element, so a state that lies in a file and is taken through in pieces
//! gives the same bits as one in memory.

mod config;
mod cut;
mod file;
mod groups;
mod kind;
mod slots;

pub use config::{LoraPlus, OptimizerConfig, SgdOptions};
pub use cut::Cut;
pub use groups::Rates;
pub use kind::OptimizerKind;

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use ft_dist::Communicator;
use ft_kernels::optim::{scale_in_place, squares_of_blocks};
use ft_kernels::tensor::{with_slice, with_slice_mut};

use crate::error::{Error, Result};
use crate::lora::Adapter;
use crate::pages::PageFile;
use crate::spans::timed;
use groups::Group;
use slots::TensorState;

/// An optimizer and its memory.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// Steps taken.
    step: u64,
    /// Who moves what; all of it is this rank's where it is not shared.
    cut: Cut,
    /// This rank's place in the cut.
    place: usize,
    /// In the order of [`Adapter::trainable`].
    tensors: Vec<Trained>,
    /// Bytes of moved elements that this rank sent to the others.
    sent: u64,
}

/// One trained tensor.
#[derive(Debug)]
struct Trained {
    /// Its name, as the adapter's file has it.
    name: String,
    shape: Vec<usize>,
    /// The elements that this rank moves.
    part: Range<usize>,
    group: Group,
    /// What is remembered of them.
    state: TensorState,
}

impl Optimizer {
    /// No step taken, all moments zero.
    ///
    /// # Errors
    /// If a paged kind cannot make its file in [`OptimizerConfig::page_folder`].
    pub fn new(adapter: &Adapter, config: OptimizerConfig) -> Result<Self> {
        Self::among(adapter, config, 1, 0)
    }

    /// As [`Self::new`], where each of `world` ranks moves and remembers its own part of the elements (ZeRO's first
    /// stage: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020,
    /// section 5.1); this is rank `rank`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn among(adapter: &Adapter, config: OptimizerConfig, world: usize, rank: usize) -> Result<Self> {
        let cut = Cut::new(adapter.trainable().map(|trained| trained.tensor.elem_count()), world);
        let mut tensors = Vec::with_capacity(cut.tensors());
        let mut offset = 0;
        let pages = if config.kind.is_paged() {
            let bytes =
                state_bytes(&config, adapter.trainable().map(|trained| trained.name()), &cut, rank).iter().sum();
            Some(Arc::new(PageFile::create(&config.page_folder, "the optimizer's pages", bytes)?))
        } else {
            None
        };
        for (i, trained) in adapter.trainable().enumerate() {
            let (name, shape, part) = (trained.name(), trained.tensor.dims().to_vec(), cut.part(i, rank));
            let pages = pages.as_ref().map(|pages| (Arc::clone(pages), offset));
            let state = TensorState::new(&config, &name, cut.length(i), part.len(), pages);
            offset += state.bytes();
            tensors.push(Trained { group: Group::of(&name, trained.tensor, &config), name, shape, part, state });
        }
        Ok(Self { config, step: 0, cut, place: rank, tensors, sent: 0 })
    }

    /// What was asked for.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Who moves what.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The bytes that this rank remembers, in memory or in its file.
    pub fn state_bytes(&self) -> u64 {
        self.tensors.iter().map(|trained| trained.state.bytes()).sum()
    }

    /// The bytes that this rank sent to the others so far for them to have what it moved.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// The learning rate and the decay of each tensor, by name, where the schedule gives `lr`.
    pub fn rates(&self, lr: f64) -> impl Iterator<Item = (&str, Rates)> {
        self.tensors.iter().map(move |trained| (trained.name.as_str(), trained.group.rates(lr, &self.config)))
    }

    /// Clips the gradients to `max_grad_norm` (0 is no clipping), takes one step and returns the norm of
    /// the gradients before clipping. The adapter's tensors change in place, on every rank. `lr` is what the schedule
    /// gives for this step; `gradients` holds for each tensor all elements, or those that this rank moves.
    ///
    /// # Errors
    /// If a gradient is not finite; nothing has changed then. If the file of a paged kind cannot be read or written, or
    /// another rank fails; the adapter is then between two steps.
    pub fn update(
        &mut self,
        adapter: &mut Adapter,
        gradients: &[Tensor],
        lr: f64,
        max_grad_norm: f64,
        ranks: &dyn Communicator,
    ) -> Result<f64> {
        let _timed = timed!("optimizer");
        let norm = self.gradient_norm(gradients, ranks)?;
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "the gradient's norm", value: norm, sequence: None });
        }
        // As torch's clip_grad_norm_: never longer than asked, with 1e-6 against a division by zero.
        let factor = max_grad_norm / (norm + 1e-6);
        let clip = (max_grad_norm > 0.0 && factor < 1.0).then_some(factor as f32);
        self.step += 1;
        for ((trained, gradient), own) in adapter.trainable().zip(gradients).zip(&mut self.tensors) {
            let rule = slots::Rule::new(&self.config, own.group.rates(lr, &self.config), self.step);
            let within = within(gradient, &own.part);
            with_slice_mut(gradient, |gradient| {
                let gradient = &mut gradient[within];
                if let Some(factor) = clip {
                    scale_in_place(gradient, factor);
                }
                with_slice_mut(trained.tensor, |tensor| own.state.take(rule, &mut tensor[own.part.clone()], gradient))
            })???;
        }
        self.share(adapter, ranks)?;
        Ok(norm)
    }

    /// The norm of all the gradients together: the squares of each block of elements, summed in f64 in the order of
    /// the blocks, whoever has them.
    fn gradient_norm(&self, gradients: &[Tensor], ranks: &dyn Communicator) -> Result<f64> {
        let mut sums: Vec<f64> = Vec::new();
        for (gradient, own) in gradients.iter().zip(&self.tensors) {
            let within = within(gradient, &own.part);
            sums.extend(with_slice(gradient, |gradient| squares_of_blocks(&gradient[within]))?);
        }
        if self.cut.world() > 1 {
            let counts: Vec<usize> = (0..self.cut.world()).map(|rank| self.cut.blocks(rank)).collect();
            sums = ft_dist::gather_uneven(ranks, &sums, &counts)?;
        }
        Ok(sums.iter().sum::<f64>().sqrt())
    }

    /// Hands the elements that this rank has moved to the others, and takes theirs.
    fn share(&mut self, adapter: &Adapter, ranks: &dyn Communicator) -> Result<()> {
        if self.cut.world() == 1 {
            return Ok(());
        }
        let mut own: Vec<f32> = Vec::new();
        for (trained, ours) in adapter.trainable().zip(&self.tensors) {
            with_slice(trained.tensor, |tensor| own.extend_from_slice(&tensor[ours.part.clone()]))?;
        }
        let counts: Vec<usize> = self.cut.runs().into_iter().map(|run| run.len()).collect();
        let before = ranks.traffic().total();
        let all: Vec<f32> = ft_dist::gather_uneven(ranks, &own, &counts)?;
        self.sent += ranks.traffic().total() - before;
        let mut rest = all.as_slice();
        for trained in adapter.trainable() {
            let (values, after) = rest.split_at(trained.tensor.elem_count());
            with_slice_mut(trained.tensor, |tensor| tensor.copy_from_slice(values))?;
            rest = after;
        }
        Ok(())
    }
}

/// The bytes that rank `rank` remembers of each tensor, by the tensors' names in the order of the cut.
pub fn state_bytes(
    config: &OptimizerConfig,
    names: impl IntoIterator<Item = impl AsRef<str>>,
    cut: &Cut,
    rank: usize,
) -> Vec<u64> {
    let names = names.into_iter().enumerate();
    names.map(|(i, name)| slots::bytes(config, name.as_ref(), cut.length(i), cut.part(i, rank).len())).collect()
}

/// Where in a gradient the elements `part` of its tensor are: the gradient has all of them, or these alone.
fn within(gradient: &Tensor, part: &Range<usize>) -> Range<usize> {
    if gradient.elem_count() == part.len() { 0..part.len() } else { part.clone() }
}

#[cfg(test)]
mod tests;
