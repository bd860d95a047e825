//! Which tensors decay and how fast each one learns.

use candle_core::Tensor;

use super::config::OptimizerConfig;

/// The learning rate of one tensor in one step, and its decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub lr: f64,
    pub weight_decay: f64,
}

/// What a tensor's name and shape say about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    speed: Speed,
    decays: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    /// As the schedule says.
    Plain,
    /// LoRA+: by its ratio.
    Fast,
    /// LoRA+: adapted embeddings.
    Embedding,
}

impl Group {
    /// The group of the tensor of this name in peft's file.
    pub fn of(name: &str, tensor: &Tensor, config: &OptimizerConfig) -> Self {
        if config.loraplus.is_none() {
            return Self { speed: Speed::Plain, decays: !is_bias(name) && !is_norm(name) };
        }
        let speed = if name.contains("lora_embedding_") {
            Speed::Embedding
        } else if name.contains("lora_B") || tensor.rank() == 1 {
            Speed::Fast
        } else {
            Speed::Plain
        };
        // peft spares the biases only: the norms that it spares are those of type LayerNorm, and RMSNorm is not one.
        Self { speed, decays: !is_bias(name) }
    }

    /// Its rates where the schedule gives `lr`.
    pub fn rates(self, lr: f64, config: &OptimizerConfig) -> Rates {
        let lr = match (self.speed, config.loraplus) {
            (Speed::Fast, Some(plus)) => lr * plus.ratio,
            // Both have their share of the schedule.
            (Speed::Embedding, Some(plus)) if config.learning_rate > 0.0 => {
                plus.embedding * (lr / config.learning_rate)
            }
            _ => lr,
        };
        Rates { lr, weight_decay: if self.decays { config.weight_decay } else { 0.0 } }
    }
}

/// Trainer's `get_decay_parameter_names` leaves out names with `bias` …
fn is_bias(name: &str) -> bool {
    name.to_lowercase().contains("bias")
}

/// … and with `layernorm`, `rmsnorm`, or a part that is `norm` or ends with `_norm`.
fn is_norm(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("layernorm")
        || name.contains("rmsnorm")
        || name.split('.').any(|part| part == "norm" || part.ends_with("_norm"))
}
