//! Where the memory goes.

use clap::ValueEnum;
use clap::builder::BoolishValueParser;

/// Where the memory goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Keep the frozen matrices in this type; products widen them as they go [default: f32, or what --bf16, --fp16,
    /// --load-in-8bit, --load-in-4bit say]
    #[arg(long, aliases = ["dtype", "torch-dtype"], value_name = "TYPE", value_enum)]
    pub load_in: Option<ft_cli::LoadAs>,
    /// --load-in 8bit
    #[arg(long)]
    pub load_in_8bit: bool,
    /// --load-in 4bit
    #[arg(long)]
    pub load_in_4bit: bool,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs,
    /// Leave the frozen weights in the model's file and read one layer at a time
    #[arg(long, value_name = "WHERE", value_enum, default_value = "none")]
    pub offload_param_device: Offload,
    /// Bytes (or 512MB, 2GB) of activations kept for backward; the rest is computed twice [default: a quarter
    /// of the memory that is free]
    #[arg(long, value_name = "BYTES", value_parser = ft_cli::bytes)]
    pub activation_memory: Option<u64>,
    /// Keep no activations: --activation-memory 0
    #[arg(long, alias = "activation-checkpointing")]
    pub gradient_checkpointing: bool,
    /// Keep the frozen matrices in bf16; computing is in f32
    #[arg(long)]
    pub bf16: bool,
    /// Keep the frozen matrices in f16; computing is in f32
    #[arg(long)]
    pub fp16: bool,
    /// Products of a GPU with 10 bits behind the point (TF32); those of a CPU stay f32
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub tf32: Option<bool>,
}

/// `--offload-param-device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Offload {
    /// In memory
    None,
    /// On disk, mapped
    Disk,
}

impl MemoryArgs {
    /// Whether the loss is scaled while gradients are formed.
    pub fn scales_loss(&self) -> bool {
        self.fp16
    }

    /// How the frozen matrices are kept: what `--load-in` says, else what its short forms or the mixed precisions of
    /// others say. Nothing multiplies in half precision here, so `bf16` and `fp16` choose the storage alone.
    pub fn load_in(&self) -> ft_cli::LoadAs {
        use ft_cli::LoadAs;
        let said = [
            (self.load_in_8bit, LoadAs::EightBit),
            (self.load_in_4bit, LoadAs::FourBit),
            (self.bf16, LoadAs::Bf16),
            (self.fp16, LoadAs::F16),
        ];
        let implied = said.iter().find(|(said, _)| *said).map(|(_, load_as)| *load_as);
        self.load_in.or(implied).unwrap_or_default()
    }
}
