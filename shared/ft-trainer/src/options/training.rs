//! The steps: how many, how long, how far. The names and defaults of transformers' `TrainingArguments`.

use ft_model::optimizer::{OptimizerKind, SgdOptions};
use serde_json::{Map, Value};

/// The optimizer's steps.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    /// Peak learning rate.
    pub learning_rate: f64,
    pub lr_scheduler_type: SchedulerType,
    /// What the schedule needs besides.
    pub lr_scheduler_kwargs: Map<String, Value>,
    /// Share of the steps over which the learning rate rises from 0.
    pub warmup_ratio: f64,
    /// Steps over which the learning rate rises from 0; below 1 a share of them. Above 0 it wins over `warmup_ratio`.
    pub warmup_steps: f64,
    /// Times to go through the training rows.
    pub num_train_epochs: f64,
    /// Steps to take, whatever the epochs.
    pub max_steps: Option<u64>,
    /// Weight of the routers' auxiliary loss, which is not implemented: 0 for mixtures of experts.
    pub router_aux_loss_coef: f64,
    /// Sequences in a micro-batch of a rank.
    pub per_device_train_batch_size: u32,
    /// Sequences in an evaluation batch of a rank.
    pub per_device_eval_batch_size: u32,
    /// Micro-batches of a rank in an optimizer step.
    pub gradient_accumulation_steps: u32,
    pub optim: OptimizerKind,
    /// What [`OptimizerKind::Sgd`] needs besides.
    pub sgd: SgdOptions,
    pub weight_decay: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// The gradients' L2 norm is clipped to this; 0 disables clipping.
    pub max_grad_norm: f64,
    /// NEFTune's alpha: noise on the embeddings while training.
    pub neftune_noise_alpha: Option<f64>,
    /// LoRA+: how many times A's learning rate B's is.
    pub loraplus_lr_ratio: Option<f64>,
    /// Seed of the initial adapter, the order of the rows and dropout.
    pub seed: u64,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            learning_rate: 2e-4,
            lr_scheduler_type: SchedulerType::Linear,
            lr_scheduler_kwargs: Map::new(),
            warmup_ratio: 0.0,
            warmup_steps: 0.0,
            num_train_epochs: 3.0,
            max_steps: None,
            router_aux_loss_coef: 0.0,
            per_device_train_batch_size: 8,
            per_device_eval_batch_size: 8,
            gradient_accumulation_steps: 1,
            optim: OptimizerKind::AdamwTorch,
            sgd: SgdOptions::default(),
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            neftune_noise_alpha: None,
            loraplus_lr_ratio: None,
            seed: 42,
        }
    }
}

impl TrainingOptions {
    /// Sequences in an optimizer step of `world` ranks.
    pub fn sequences_a_step(&self, world: usize) -> usize {
        // More than can be counted is as much as all that there is.
        let micro =
            (self.per_device_train_batch_size as usize).saturating_mul(self.gradient_accumulation_steps as usize);
        micro.saturating_mul(world)
    }
}

ft_io::named_values! {
    /// `lr_scheduler_type`: how the learning rate goes on after the warm-up.
    pub enum SchedulerType {
        /// A straight line, to 0
        Linear = ["linear"],
        /// Half a cosine, to 0 (num_cycles)
        Cosine = ["cosine"],
        /// Several half cosines, each from the peak to 0 (num_cycles)
        CosineWithRestarts = ["cosine_with_restarts"],
        /// Half a cosine, to min_lr or to min_lr_rate of the peak
        CosineWithMinLr = ["cosine_with_min_lr"],
        /// As cosine_with_min_lr, but the warm-up does not begin at 0 (warmup_lr_rate)
        CosineWarmupWithMinLr = ["cosine_warmup_with_min_lr"],
        /// A power of a straight line (power), to lr_end
        Polynomial = ["polynomial"],
        /// The peak in every step, without a warm-up
        Constant = ["constant"],
        /// The peak in every step after the warm-up
        ConstantWithWarmup = ["constant_with_warmup"],
        /// DeepSpeed's WarmupLR: the peak in every step, after a warm-up by the logarithm of the step
        ConstantWithLogWarmup = ["constant_with_log_warmup"],
        /// DeepSpeed's WarmupDecayLR: a straight line to 0, after such a warm-up
        LinearWithLogWarmup = ["linear_with_log_warmup"],
        /// 1 / √step (timescale)
        InverseSqrt = ["inverse_sqrt"],
        /// The peak, then down over num_decay_steps to min_lr_ratio of it
        WarmupStableDecay = ["warmup_stable_decay"],
    }
}
