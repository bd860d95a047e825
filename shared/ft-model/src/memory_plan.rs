//! What a run will hold and send on each rank, told by the model's shape alone: nothing is loaded.
//!
//! What is exact here (all but the activations) is made of the functions that the engine itself cuts by.

mod frozen;
mod ranks;
mod step;

pub use frozen::Frozen;
pub use ranks::{Ranks, Stage};
pub use step::StepShape;

use ft_dist::forest_shape;
use serde::Serialize;

use crate::arch::Architecture;
use crate::decoder::Touched;
use crate::error::Result;
use crate::lora::{LoraConfig, TrainedShape};
use crate::optimizer::{Cut, OptimizerConfig, state_bytes};

/// A run as far as memory and traffic depend on it.
#[derive(Debug)]
pub struct MemoryPlan<'a> {
    arch: &'a Architecture,
    frozen: &'a Frozen,
    optimizer: &'a OptimizerConfig,
    trained: Vec<TrainedShape>,
    touched: Touched,
    step: StepShape,
}

/// What one rank will hold and send, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RankPlan {
    pub rank: usize,
    /// Frozen weights that lie there all the time.
    pub frozen_bytes: u64,
    /// The largest layer, or matrix of the vocabulary, that comes together from all ranks.
    pub largest_gathered_bytes: u64,
    /// The most that is together at a time: one unit and the next one on its way, or all where they are kept.
    pub gathered_bytes: u64,
    /// What comes together in an optimizer step, the rank's own part included.
    pub gathered_bytes_per_step: u64,
    /// The unit that computes, where it is a copy: put together from gathered bytes, or expanded from few bits.
    pub computing_bytes: u64,
    /// The gradients after the sum.
    pub gradient_bytes: u64,
    /// The most that partial sums of them take between two pieces of a step.
    pub gradient_peak_bytes: u64,
    /// What the optimizer remembers.
    pub moment_bytes: u64,
    pub adapter_bytes: u64,
    /// About what lies between forward and backward, and the largest working buffers.
    pub activation_bytes: u64,
    pub sent_bytes_per_step: Sent,
}

/// Bytes that a rank sends to others in an optimizer step, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Its part of frozen weights, to those who gather them.
    pub frozen: u64,
    /// Partial sums of gradients, to who adds them; and the whole sums, where everybody gets all.
    pub gradients: u64,
    /// The part of the adapter that it has moved.
    pub adapter: u64,
    /// Losses, norms, how the step is dealt out.
    pub small: u64,
}

impl Sent {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.frozen + self.gradients + self.adapter + self.small
    }
}

impl RankPlan {
    /// All that is there at the step's worst moment.
    pub fn total_bytes(&self) -> u64 {
        let gradients = self.gradient_peak_bytes.max(self.gradient_bytes);
        self.frozen_bytes
            + self.gathered_bytes
            + self.computing_bytes
            + gradients
            + self.moment_bytes
            + self.adapter_bytes
            + self.activation_bytes
    }
}

impl<'a> MemoryPlan<'a> {
    /// A run with this adapter on this model.
    ///
    /// # Errors
    /// If the adapter does not fit the model.
    pub fn new(
        arch: &'a Architecture,
        frozen: &'a Frozen,
        lora: &LoraConfig,
        optimizer: &'a OptimizerConfig,
        step: StepShape,
    ) -> Result<Self> {
        let trained = lora.trained_shapes(arch)?;
        let touched = Touched::of(arch, trained.iter().map(|shape| shape.of.as_str()));
        Ok(Self { arch, frozen, optimizer, trained, touched, step })
    }

    /// The number of trained parameters.
    pub fn trainable(&self) -> usize {
        self.trained.iter().map(TrainedShape::elements).sum()
    }

    /// Of one rank.
    pub fn rank(&self, ranks: Ranks, rank: usize) -> RankPlan {
        // One rank has nothing to share.
        let stage = if ranks.world == 1 { Stage::None } else { ranks.stage };
        let ranks = Ranks { stage, ..ranks };
        let shared = |from: Stage| if stage >= from { ranks.world } else { 1 };
        let of = |world: usize| if world == 1 { 0 } else { rank };
        let lengths = || self.trained.iter().map(TrainedShape::elements);
        let cut = Cut::new(lengths(), shared(Stage::Zero1));
        let names = self.trained.iter().map(|shape| shape.name.as_str());
        let moments = state_bytes(self.optimizer, names, &cut, of(cut.world()));
        let gradients = if stage >= Stage::Zero2 { cut.runs()[rank].len() } else { self.trainable() };
        let adapter_bytes = (self.trainable() * size_of::<f32>()) as u64;
        let pass = self.frozen.pass(&self.touched.training_pass(self.arch), ranks, rank);
        let passes = self.step.passes() as u64;
        RankPlan {
            rank,
            frozen_bytes: self.frozen.held(ranks, rank),
            largest_gathered_bytes: if stage == Stage::Zero3 { self.frozen.largest_unit() } else { 0 },
            gathered_bytes: pass.at_once,
            gathered_bytes_per_step: passes * pass.gathered,
            computing_bytes: self.frozen.computing(stage),
            gradient_bytes: (gradients * size_of::<f32>()) as u64,
            gradient_peak_bytes: adapter_bytes * self.step.most_partial_sums(rank) as u64,
            moment_bytes: moments.iter().sum(),
            adapter_bytes,
            activation_bytes: self.step.activation_bytes(self.arch),
            sent_bytes_per_step: Sent { frozen: passes * pass.sent, ..self.sent(ranks, rank, &cut) },
        }
    }

    /// All but the frozen weights.
    fn sent(&self, ranks: Ranks, rank: usize, cut: &Cut) -> Sent {
        let Ranks { world, stage, .. } = ranks;
        if world == 1 {
            return Sent::default();
        }
        let others = world as u64 - 1;
        let sequences = self.step.sequences();
        let first = rank * sequences;
        let nodes = forest_shape(first..first + sequences).len();
        let gradients = if stage >= Stage::Zero2 {
            ft_dist::reduce_scatter_bytes(nodes, &cut.runs(), rank)
        } else {
            ft_dist::all_reduce_bytes(nodes, self.trainable(), world, rank)
        };
        // Three words for the rank, three a sequence; a word for each block's squares.
        let mut small = 24 * (1 + sequences as u64);
        let mut adapter = 0;
        if cut.world() > 1 {
            small += 8 * cut.blocks(rank) as u64;
            adapter = (cut.runs()[rank].len() * size_of::<f32>()) as u64 * others;
        }
        Sent { frozen: 0, gradients, adapter, small: small * others }
    }
}

#[cfg(test)]
mod tests;
