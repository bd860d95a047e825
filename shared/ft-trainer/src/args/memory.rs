//! Where the memory goes.

use clap::ValueEnum;

use super::Precision;

/// Where the memory goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Keep the frozen matrices as f32, bf16, f16, 8bit (Q8_0), 4bit (--bnb-4bit-quant-type) or as-is (a GGUF's own
    /// blocks); products widen them as they go [default: f32, or what --precision, --load-in-8bit, --load-in-4bit say]
    #[arg(long, aliases = ["dtype", "torch-dtype"], value_name = "TYPE")]
    pub load_in: Option<ft_model::layers::LoadAs>,
    /// --load-in 8bit
    #[arg(long)]
    pub load_in_8bit: bool,
    /// --load-in 4bit
    #[arg(long)]
    pub load_in_4bit: bool,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Where the frozen weights are until a layer is computed: with the device, in the host's memory, or on disk; with
    /// --sharding zero3 each rank's own part
    #[arg(long, value_name = "WHERE", value_enum, default_value = "none")]
    pub offload_param_device: Offload,
    /// Where the optimizer's moments are: in the host's memory, or in a file of the output folder
    #[arg(long, value_name = "WHERE", value_enum, default_value = "none")]
    pub offload_optimizer_device: Offload,
    /// Bytes (or 512MB, 2GB) of activations kept for backward; the rest is computed twice [default: a quarter
    /// of the memory that is free]
    #[arg(long, value_name = "BYTES", value_parser = ft_io::bytes)]
    pub activation_memory: Option<u64>,
    /// Keep no activations: --activation-memory 0
    #[arg(long, alias = "activation-checkpointing")]
    pub gradient_checkpointing: bool,
}

/// `--offload-param-device`, `--offload-optimizer-device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Offload {
    /// Where it belongs
    None,
    /// In the host's memory
    Cpu,
    /// On disk
    #[value(alias = "nvme")]
    Disk,
}

impl MemoryArgs {
    /// How the frozen matrices are kept: what `--load-in` says, else what its short forms or the precision that is
    /// computed in say.
    pub fn load_in(&self, precision: Precision) -> ft_model::layers::LoadAs {
        use ft_model::layers::LoadAs;
        let said = [(self.load_in_8bit, LoadAs::EightBit), (self.load_in_4bit, LoadAs::FourBit)];
        let implied = said.iter().find(|(said, _)| *said).map(|(_, load_as)| *load_as);
        self.load_in.or(implied).unwrap_or(precision.load_as())
    }
}
