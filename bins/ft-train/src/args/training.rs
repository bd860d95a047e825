//! The steps: how many, how long, how far.

use clap::ValueEnum;
use ft_cli::named_value;
use ft_model::optimizer::OptimizerKind;
use ft_trainer::options::SchedulerType;

use super::values::{Object, not_negative, probability, share};

/// The run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Peak learning rate
    #[arg(long, value_name = "LR", default_value_t = 2e-4, value_parser = not_negative)]
    pub learning_rate: f64,
    /// Learning-rate schedule after the warm-up
    #[arg(long, value_name = "TYPE", default_value = "linear", value_parser = named_value::<SchedulerType>())]
    pub lr_scheduler_type: SchedulerType,
    /// Parameters of the schedule, as JSON: {"num_cycles": 2}, {"min_lr": 1e-6}, {"num_decay_steps": 10} …
    #[arg(long, value_name = "JSON")]
    pub lr_scheduler_kwargs: Option<Object>,
    /// Warm-up: fraction of all steps over which the learning rate rises linearly from 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub warmup_ratio: f64,
    /// Warm-up: steps over which the learning rate rises linearly from 0 (below 1: a fraction of all steps); overrides
    /// --warmup-ratio
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative)]
    pub warmup_steps: f64,
    /// Epochs: passes over the training rows; may be a fraction
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = not_negative)]
    pub num_train_epochs: f64,
    /// Optimizer steps to take; overrides --num-train-epochs; 0 and -1: as many as the epochs make
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub max_steps: i64,
    /// Weight of the routers' auxiliary loss, which is not implemented: it has to be 0 for mixtures of experts, and means
    /// nothing for other models
    #[arg(long, value_name = "COEF", hide = true)]
    pub router_aux_loss_coef: Option<f64>,
    /// Sequences in a micro-batch on each rank
    #[arg(long, visible_alias = "batch-size", value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_train_batch_size: u32,
    /// Sequences in an evaluation batch on each rank
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Micro-batches whose gradients are accumulated before an optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub gradient_accumulation_steps: u32,
    /// The optimizer
    #[arg(long, value_name = "OPTIMIZER", value_enum, default_value = "adamw_torch")]
    pub optim: Optim,
    /// Parameters of --optim sgd, as name=value with commas between them: momentum=0.9,nesterov=true
    #[arg(long, value_name = "ARGS")]
    pub optim_args: Option<String>,
    /// Weight decay, decoupled as in AdamW (sgd: L2, added to the gradient as torch does)
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = not_negative)]
    pub weight_decay: f64,
    /// beta1 of AdamW and Lion: decay of the running mean of the gradient
    #[arg(long, value_name = "BETA", default_value_t = 0.9, value_parser = probability)]
    pub adam_beta1: f64,
    /// beta2 of AdamW and Lion: decay of the running mean of the squared gradient
    #[arg(long, value_name = "BETA", default_value_t = 0.999, value_parser = probability)]
    pub adam_beta2: f64,
    /// Epsilon of AdamW: added to the denominator for numerical stability
    #[arg(long, value_name = "EPS", default_value_t = 1e-8, value_parser = not_negative)]
    pub adam_epsilon: f64,
    /// Clip gradients to this L2 norm; 0 disables clipping
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = not_negative)]
    pub max_grad_norm: f64,
    /// NEFTune: alpha of the uniform noise that is added to the embeddings while training
    #[arg(long, value_name = "ALPHA", value_parser = not_negative)]
    pub neftune_noise_alpha: Option<f64>,
    /// LoRA+: the learning rate of the B matrices divided by that of the A matrices
    #[arg(long, value_name = "RATIO", value_parser = not_negative)]
    pub loraplus_lr_ratio: Option<f64>,
    /// Random seed: initial adapter weights, order of the rows, dropout
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
}

impl TrainingArgs {
    /// Sequences in an optimizer step of `world` ranks.
    pub fn sequences_a_step(&self, world: usize) -> usize {
        // More than can be counted is as much as all that there is.
        let micro =
            (self.per_device_train_batch_size as usize).saturating_mul(self.gradient_accumulation_steps as usize);
        micro.saturating_mul(world)
    }
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
    /// Stochastic gradient descent (momentum, nesterov, dampening in --optim-args)
    #[value(name = "sgd")]
    Sgd,
    /// Lion
    #[value(name = "lion", alias = "lion_32bit")]
    Lion,
}

impl Optim {
    /// What the engine calls it.
    pub fn kind(self) -> OptimizerKind {
        match self {
            Self::AdamW => OptimizerKind::AdamwTorch,
            Self::AdamW8bit => OptimizerKind::Adamw8bit,
            Self::PagedAdamW => OptimizerKind::PagedAdamw32bit,
            Self::PagedAdamW8bit => OptimizerKind::PagedAdamw8bit,
            Self::Sgd => OptimizerKind::Sgd,
            Self::Lion => OptimizerKind::Lion32bit,
        }
    }
}
