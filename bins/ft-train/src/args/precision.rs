//! What products are computed in.

use clap::builder::BoolishValueParser;
use ft_cli::named_value;
use ft_io::NamedValue;
use ft_trainer::options::MixedPrecision;

/// Mixed precision. What is learned, its gradients and the optimizer's memory are f32 in all of them.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Precision")]
pub struct PrecisionArgs {
    /// Mixed precision: the type of matrix products with frozen weights. LoRA weights, gradients and optimizer states are
    /// always f32. A CPU stores frozen weights in bf16 or fp16 and computes in f32
    #[arg(long, alias = "mixed-precision", value_name = "TYPE", default_value = "auto",
        value_parser = named_value::<MixedPrecision>())]
    pub precision: MixedPrecision,
    /// --precision bf16
    #[arg(long)]
    pub bf16: bool,
    /// --precision fp16, with dynamic loss scaling
    #[arg(long)]
    pub fp16: bool,
    /// Use TF32 (10 bits of mantissa) for f32 matrix products on a GPU; alone it is --precision tf32
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub tf32: Option<bool>,
}

impl PrecisionArgs {
    /// What is asked for: what `--precision` says, else what its short forms say.
    pub fn asked(&self) -> MixedPrecision {
        match self.precision {
            MixedPrecision::Auto if self.bf16 => MixedPrecision::Bf16,
            MixedPrecision::Auto if self.fp16 => MixedPrecision::Fp16,
            MixedPrecision::Auto if self.tf32 == Some(true) => MixedPrecision::Tf32,
            said => said,
        }
    }

    /// Two arguments that contradict each other.
    ///
    /// # Errors
    /// Names both.
    pub fn check(&self) -> Result<(), String> {
        if self.bf16 && self.fp16 {
            return Err("--bf16 and --fp16 exclude each other".into());
        }
        let said = self.precision;
        let short = [(self.bf16, MixedPrecision::Bf16), (self.fp16, MixedPrecision::Fp16)];
        match short.into_iter().find(|(given, means)| *given && ![MixedPrecision::Auto, *means].contains(&said)) {
            Some((_, means)) => Err(format!("--precision {} and --{} exclude each other", said.name(), means.name())),
            None if said == MixedPrecision::Tf32 && self.tf32 == Some(false) => {
                Err("--precision tf32 and --tf32 false exclude each other".into())
            }
            None => Ok(()),
        }
    }
}
