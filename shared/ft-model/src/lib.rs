//! Architectures, weights, adapters, and the decoder's forward and backward.

pub mod arch;
pub mod batch;
pub mod block;
pub mod checkpoint;
pub mod decoder;
pub mod device;
pub mod error;
pub mod export;
mod finite;
pub mod generate;
pub mod gradients;
pub mod head;
pub mod layers;
mod layout;
pub mod lora;
pub mod memory_plan;
mod norms;
pub mod optimizer;
mod pages;
pub mod projection;
pub mod safetensors;
pub mod sink;
pub mod spans;
pub mod step;
mod step_options;
pub mod trainable;
pub mod trained;

pub use arch::Architecture;
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use layers::{LayerSource, LayerWeights, Mapped, PackedFormat, Quantised, Resident, WeightFormat};
pub use lora::{Adapter, LoraConfig, LoraPair};
