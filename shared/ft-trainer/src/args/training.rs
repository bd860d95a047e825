//! The steps: how many, how long, how far.

use clap::ValueEnum;

use super::values::{Object, not_negative, probability, share};

/// The run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Peak learning rate
    #[arg(long, value_name = "LR", default_value_t = 2e-5, value_parser = not_negative)]
    pub learning_rate: f64,
    /// How the learning rate goes on after the warm-up
    #[arg(long, value_name = "TYPE", value_enum, default_value = "linear")]
    pub lr_scheduler_type: SchedulerType,
    /// What the schedule needs besides: {"num_cycles": 2}, {"min_lr": 1e-6}, {"num_decay_steps": 10} …
    #[arg(long, value_name = "JSON")]
    pub lr_scheduler_kwargs: Option<Object>,
    /// Share of the steps over which the learning rate rises from 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub warmup_ratio: f64,
    /// Steps over which the learning rate rises from 0 (below 1: a share); wins over --warmup-ratio
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative)]
    pub warmup_steps: f64,
    /// Times to go through the training rows
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = not_negative)]
    pub num_train_epochs: f64,
    /// Steps to take, whatever the epochs; 0 and -1 leave it to the epochs
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub max_steps: i64,
    /// Weight of the routers' auxiliary loss, which is not implemented: it has to be 0 for mixtures of experts, and means
    /// nothing for other models
    #[arg(long, value_name = "COEF", hide = true)]
    pub router_aux_loss_coef: Option<f64>,
    /// Sequences in a micro-batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_train_batch_size: u32,
    /// Sequences in an evaluation batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Micro-batches in an optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub gradient_accumulation_steps: u32,
    /// The optimizer
    #[arg(long, value_name = "OPTIMIZER", value_enum, default_value = "adamw_torch")]
    pub optim: Optim,
    /// What the optimizer needs besides: name=value, with commas between them (momentum=0.9)
    #[arg(long, value_name = "ARGS")]
    pub optim_args: Option<String>,
    /// Decoupled weight decay (sgd: added to the gradient, as torch does)
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = not_negative)]
    pub weight_decay: f64,
    /// Decay of the first moment
    #[arg(long, value_name = "BETA", default_value_t = 0.9, value_parser = probability)]
    pub adam_beta1: f64,
    /// Decay of the second moment
    #[arg(long, value_name = "BETA", default_value_t = 0.999, value_parser = probability)]
    pub adam_beta2: f64,
    /// AdamW's epsilon
    #[arg(long, value_name = "EPS", default_value_t = 1e-8, value_parser = not_negative)]
    pub adam_epsilon: f64,
    /// Clip gradients to this L2 norm; 0 disables
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = not_negative)]
    pub max_grad_norm: f64,
    /// Noise on the embeddings while training (NEFTune)
    #[arg(long, value_name = "ALPHA", value_parser = not_negative)]
    pub neftune_noise_alpha: Option<f64>,
    /// How many times A's learning rate B's is (LoRA+)
    #[arg(long, value_name = "RATIO", value_parser = not_negative)]
    pub loraplus_lr_ratio: Option<f64>,
    /// Seed of the initial adapter, the order of the rows and dropout
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
}

impl TrainingArgs {
    /// Sequences in an optimizer step of `world` ranks.
    pub fn sequences_a_step(&self, world: usize) -> usize {
        self.per_device_train_batch_size as usize * self.gradient_accumulation_steps as usize * world
    }
}

/// `--lr-scheduler-type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SchedulerType {
    /// A straight line, to 0
    Linear,
    /// Half a cosine, to 0 (num_cycles)
    Cosine,
    /// Several half cosines, each from the peak to 0 (num_cycles)
    CosineWithRestarts,
    /// Half a cosine, to min_lr or to min_lr_rate of the peak
    CosineWithMinLr,
    /// As cosine_with_min_lr, but the warm-up does not begin at 0 (warmup_lr_rate)
    CosineWarmupWithMinLr,
    /// A power of a straight line (power), to lr_end
    Polynomial,
    /// As it is, without a warm-up
    Constant,
    /// As it is, after the warm-up
    ConstantWithWarmup,
    /// DeepSpeed's WarmupLR: as it is, after a warm-up by the logarithm of the step
    ConstantWithLogWarmup,
    /// DeepSpeed's WarmupDecayLR: a straight line to 0, after such a warm-up
    LinearWithLogWarmup,
    /// 1 / √step (timescale)
    InverseSqrt,
    /// As it is, then down over num_decay_steps to min_lr_ratio of the peak
    WarmupStableDecay,
}

/// `--optim`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Optim {
    /// AdamW, moments in f32
    #[value(name = "adamw_torch", aliases = ["adamw_torch_fused", "adamw_hf"])]
    AdamW,
    /// AdamW, moments in blocks of 8 bits
    #[value(name = "adamw_8bit", alias = "adamw_bnb_8bit")]
    AdamW8bit,
    /// AdamW, moments in a mapped file
    #[value(name = "paged_adamw_32bit", alias = "paged_adamw")]
    PagedAdamW,
    /// AdamW, moments of 8 bits in a mapped file
    #[value(name = "paged_adamw_8bit")]
    PagedAdamW8bit,
    /// Gradient descent (momentum, nesterov, dampening in --optim-args)
    #[value(name = "sgd")]
    Sgd,
    /// Lion
    #[value(name = "lion", alias = "lion_32bit")]
    Lion,
}
