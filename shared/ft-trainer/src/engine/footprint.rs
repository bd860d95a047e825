//! What this rank holds and what it sends: sums of the lengths of its buffers, as they were.

use ft_model::optimizer::Optimizer;
use ft_model::step::StepResult;
use serde_json::{Value, json};

use crate::engine::setup::Setup;
use crate::error::Result;

/// Counted over the steps that this process took.
#[derive(Debug, Default)]
pub struct Footprint {
    steps: u64,
    /// Of one step, the largest.
    gradients: u64,
    partial_sums: u64,
    /// Of all steps.
    gathered: u64,
    sent: Sent,
}

/// Bytes sent to others, by what for.
#[derive(Debug, Default)]
struct Sent {
    frozen: u64,
    gradients: u64,
    adapter: u64,
    /// Losses, norms, how the step is dealt out.
    small: u64,
}

/// The counters before a step.
#[derive(Debug)]
pub struct Before {
    all: u64,
    frozen: u64,
    gathered: u64,
    adapter: u64,
}

impl Before {
    /// As the counters are now.
    pub fn step(setup: &Setup, optimizer: &Optimizer) -> Self {
        let sharded = setup.source.sharded_bytes();
        Self {
            all: setup.ranks.traffic().total(),
            frozen: sharded.map_or(0, |bytes| bytes.sent),
            gathered: sharded.map_or(0, |bytes| bytes.gathered),
            adapter: optimizer.sent_bytes(),
        }
    }
}

impl Footprint {
    /// A step was taken since.
    pub fn stepped(&mut self, before: &Before, setup: &Setup, optimizer: &Optimizer, found: &StepResult) {
        let now = Before::step(setup, optimizer);
        let (frozen, adapter) = (now.frozen - before.frozen, now.adapter - before.adapter);
        self.steps += 1;
        let elements: usize = found.gradients.iter().map(candle_core::Tensor::elem_count).sum();
        self.gradients = self.gradients.max((elements * size_of::<f32>()) as u64);
        self.partial_sums = self.partial_sums.max(found.partial_bytes);
        self.gathered += now.gathered - before.gathered;
        self.sent.frozen += frozen;
        self.sent.gradients += found.sent_bytes;
        self.sent.adapter += adapter;
        self.sent.small += (now.all - before.all).saturating_sub(frozen + found.sent_bytes + adapter);
    }

    /// What `run.json` calls `memory_per_rank`: an object a rank. All ranks ask together.
    ///
    /// # Errors
    /// If another rank fails.
    pub fn of_all(&self, setup: &Setup, optimizer: &Optimizer) -> Result<Vec<Value>> {
        let own = self.own(setup, optimizer).to_string();
        let all = ft_dist::gather_strings(&*setup.ranks, &own)?;
        Ok(all.iter().map(|text| serde_json::from_str(text)).collect::<serde_json::Result<_>>()?)
    }

    fn own(&self, setup: &Setup, optimizer: &Optimizer) -> Value {
        let Sent { frozen, gradients, adapter, small } = self.sent;
        let traffic = setup.ranks.traffic();
        json!({
            "rank": setup.ranks.rank(),
            "frozen_bytes": setup.source.held_bytes(),
            "largest_gathered_bytes": setup.source.sharded_bytes().map_or(0, |bytes| bytes.largest_unit),
            "gathered_bytes_per_step": self.a_step(self.gathered),
            "gradient_bytes": self.gradients,
            "gradient_peak_bytes": self.partial_sums,
            "moment_bytes": optimizer.state_bytes(),
            "adapter_bytes": setup.adapter.parameters() * size_of::<f32>(),
            "sent_bytes_per_step": {
                "frozen": self.a_step(frozen),
                "gradients": self.a_step(gradients),
                "adapter": self.a_step(adapter),
                "small": self.a_step(small),
            },
            "sent_bytes": {
                "all_gather": traffic.all_gather,
                "all_to_all": traffic.all_to_all,
                "broadcast": traffic.broadcast,
            },
        })
    }

    /// The mean, which is whole where all steps are alike.
    fn a_step(&self, all: u64) -> Value {
        match self.steps {
            0 => json!(0),
            steps if all.is_multiple_of(steps) => json!(all / steps),
            steps => json!(all as f64 / steps as f64),
        }
    }
}
