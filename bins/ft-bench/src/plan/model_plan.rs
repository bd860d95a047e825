//! A model held in one way, and the plans of its runs.

use ft_model::layers::WeightFormat;
use ft_model::memory_plan::{RankPlan, Ranks};

/// The plan of one way to run a model.
pub struct Planned {
    /// How it is asked for.
    pub sharding: &'static str,
    pub ranks: Ranks,
    /// Of each rank.
    pub each: Vec<RankPlan>,
    /// What the largest would need if nothing were kept for backward.
    pub checkpointed: u64,
}

/// A model held in one way, and its plans.
pub struct ModelPlan {
    pub model: String,
    pub load_in: WeightFormat,
    /// Tokens in a sequence.
    pub length: usize,
    pub parameters: usize,
    pub trainable: usize,
    /// Of the whole model.
    pub frozen: u64,
    pub plans: Vec<Planned>,
}

impl Planned {
    /// The rank that needs most.
    pub fn largest(&self) -> Option<&RankPlan> {
        self.each.iter().max_by_key(|rank| (rank.total_bytes(), std::cmp::Reverse(rank.rank)))
    }

    /// The most that a rank sends in a step.
    pub fn most_sent(&self) -> Option<&RankPlan> {
        self.each.iter().max_by_key(|rank| (rank.sent_bytes_per_step.total(), std::cmp::Reverse(rank.rank)))
    }
}
