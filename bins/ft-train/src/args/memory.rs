//! Where the memory goes.

use ft_cli::named_value;
use ft_model::layers::WeightFormat;
use ft_trainer::options::{MemoryOptions, MixedPrecision, Offload};

/// Where the memory goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Keep the frozen matrices as f32, bf16, f16, 8bit (Q8_0), 4bit (--bnb-4bit-quant-type) or as-is (a GGUF's own
    /// blocks); products widen them as they go [default: f32, or what --precision, --load-in-8bit, --load-in-4bit say]
    #[arg(long, aliases = ["dtype", "torch-dtype"], value_name = "TYPE")]
    pub load_in: Option<ft_model::layers::WeightFormat>,
    /// --load-in 8bit
    #[arg(long)]
    pub load_in_8bit: bool,
    /// --load-in 4bit
    #[arg(long)]
    pub load_in_4bit: bool,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Offload the frozen weights, a layer at a time on its way to the device: none, cpu (host memory) or disk; with
    /// --sharding zero3 each rank's own shard
    #[arg(long, value_name = "WHERE", default_value = "none", value_parser = named_value::<Offload>())]
    pub offload_param_device: Offload,
    /// Offload the optimizer states: none, cpu (host memory) or disk (a file in the output folder)
    #[arg(long, value_name = "WHERE", default_value = "none", value_parser = named_value::<Offload>())]
    pub offload_optimizer_device: Offload,
    /// Memory for activations kept for the backward pass, in bytes or as 512MB, 2GB; what does not fit is recomputed
    /// [default: a quarter of the free memory]
    #[arg(long, value_name = "BYTES", value_parser = ft_io::bytes)]
    pub activation_memory: Option<u64>,
    /// Gradient checkpointing: recompute all activations in the backward pass (--activation-memory 0)
    #[arg(long, alias = "activation-checkpointing")]
    pub gradient_checkpointing: bool,
}

impl MemoryArgs {
    /// How the frozen matrices are kept, where `--load-in` or one of its short forms says it.
    pub fn asked(&self) -> Option<WeightFormat> {
        let said = [(self.load_in_8bit, WeightFormat::EIGHT_BIT), (self.load_in_4bit, WeightFormat::FOUR_BIT)];
        let implied = said.iter().find(|(said, _)| *said).map(|(_, format)| *format);
        let four_bit = &self.four_bit;
        let format = self.load_in.or(implied)?;
        Some(format.with_four_bit(four_bit.bnb_4bit_quant_type, four_bit.bnb_4bit_use_double_quant))
    }

    /// The same, or what the precision that is computed in says.
    pub fn load_in(&self, precision: MixedPrecision) -> WeightFormat {
        self.asked().unwrap_or(precision.weight_format())
    }

    /// What they mean.
    pub fn options(&self) -> MemoryOptions {
        MemoryOptions {
            load_in: self.asked(),
            offload_param_device: self.offload_param_device,
            offload_optimizer_device: self.offload_optimizer_device,
            activation_memory: if self.gradient_checkpointing { Some(0) } else { self.activation_memory },
        }
    }
}
