//! What products are computed in.

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use ft_kernels::device;
use ft_model::layers::LoadAs;

/// Mixed precision. What is learned, its gradients and the optimizer's memory are f32 in all of them.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Precision")]
pub struct PrecisionArgs {
    /// What the products of frozen matrices are made in; auto is f32 on a CPU, and on a GPU bf16, or fp16 where it has
    /// no bf16. A CPU keeps the matrices in bf16 or fp16, and computes in f32
    #[arg(long, alias = "mixed-precision", value_name = "TYPE", value_enum, default_value = "auto")]
    pub precision: Precision,
    /// --precision bf16
    #[arg(long)]
    pub bf16: bool,
    /// --precision fp16: the loss is scaled while gradients are formed
    #[arg(long)]
    pub fp16: bool,
    /// On a GPU, products of f32 with 10 bits behind the point; alone it is --precision tf32
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub tf32: Option<bool>,
}

/// `--precision`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// As the device can
    Auto,
    /// Four bytes a number
    #[value(aliases = ["no", "fp32", "float32"])]
    F32,
    /// f32 in memory; a GPU multiplies with 10 bits behind the point
    Tf32,
    /// Two bytes a number, f32's exponents
    #[value(alias = "bfloat16")]
    Bf16,
    /// Two bytes a number, more digits; the loss is scaled
    #[value(aliases = ["f16", "float16"])]
    Fp16,
}

impl Precision {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        }
    }

    /// The type of two bytes, where it is one.
    pub fn half(self) -> Option<DType> {
        match self {
            Self::Auto | Self::F32 | Self::Tf32 => None,
            Self::Bf16 => Some(DType::BF16),
            Self::Fp16 => Some(DType::F16),
        }
    }

    /// How the frozen matrices are kept if nobody says otherwise.
    pub fn load_as(self) -> LoadAs {
        match self {
            Self::Auto | Self::F32 | Self::Tf32 => LoadAs::F32,
            Self::Bf16 => LoadAs::Bf16,
            Self::Fp16 => LoadAs::F16,
        }
    }

    /// Whether the loss is scaled while gradients are formed.
    pub fn scales_loss(self) -> bool {
        self == Self::Fp16
    }
}

impl PrecisionArgs {
    /// What is asked for: what `--precision` says, else what its short forms say.
    pub fn asked(&self) -> Precision {
        match self.precision {
            Precision::Auto if self.bf16 => Precision::Bf16,
            Precision::Auto if self.fp16 => Precision::Fp16,
            Precision::Auto if self.tf32 == Some(true) => Precision::Tf32,
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
        let short = [(self.bf16, Precision::Bf16), (self.fp16, Precision::Fp16)];
        match short.into_iter().find(|(given, means)| *given && ![Precision::Auto, *means].contains(&said)) {
            Some((_, means)) => Err(format!("--precision {} and --{} exclude each other", said.name(), means.name())),
            None if said == Precision::Tf32 && self.tf32 == Some(false) => {
                Err("--precision tf32 and --tf32 false exclude each other".into())
            }
            None => Ok(()),
        }
    }

    /// What is computed in on this device, never `Auto`; and tells the operators.
    ///
    /// # Errors
    /// If the device cannot.
    pub fn begin(&self, on: &Device) -> Result<Precision> {
        let found = chosen(self.asked(), device::compute_capability(on))?;
        device::allow_tf32(self.tf32 == Some(true) || found == Precision::Tf32);
        device::multiply_in(found.half());
        self.tell(found, on);
        Ok(found)
    }

    /// What follows from it, where it was asked for or is not f32.
    fn tell(&self, found: Precision, on: &Device) {
        let (name, by_itself) = (found.name(), if self.asked() == found { "" } else { " (--precision auto)" });
        match (found.half(), on.is_cpu()) {
            (Some(_), true) => tracing::info!("{name}: on a CPU every product and sum is f32"),
            (Some(_), false) => {
                tracing::info!("{name}{by_itself}: products of frozen matrices; everything else is f32");
            }
            (None, _) => {}
        }
        if self.tf32 == Some(true) || found == Precision::Tf32 {
            let effect =
                if on.is_cpu() { "without effect on a CPU, where products are f32" } else { "products of f32" };
            tracing::info!("tf32: {effect}");
        }
    }
}

/// The precision that is asked for on a GPU of this compute capability, or on a CPU, which has none.
fn chosen(asked: Precision, capability: Option<(u32, u32)>) -> Result<Precision> {
    let old = capability.filter(|(major, _)| *major < 8);
    Ok(match (asked, capability, old) {
        (Precision::Auto, None, _) => Precision::F32,
        (Precision::Auto, Some(_), None) => Precision::Bf16,
        (Precision::Auto, Some(_), Some(_)) => Precision::Fp16,
        (Precision::Bf16 | Precision::Tf32, _, Some((major, minor))) => bail!(
            "--precision {} needs a GPU of compute capability 8.0, found {major}.{minor}; take --precision fp16 or f32",
            asked.name()
        ),
        (said, _, _) => said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_device_can() {
        let auto = |capability| chosen(Precision::Auto, capability).unwrap();
        assert_eq!(auto(None), Precision::F32);
        assert_eq!([auto(Some((8, 0))), auto(Some((9, 0)))], [Precision::Bf16; 2]);
        assert_eq!([auto(Some((7, 5))), auto(Some((6, 1)))], [Precision::Fp16; 2]);
    }

    #[test]
    fn what_the_device_cannot_is_refused_with_what_it_can() {
        for asked in [Precision::Bf16, Precision::Tf32] {
            assert_eq!(chosen(asked, None).unwrap(), asked);
            assert_eq!(chosen(asked, Some((8, 6))).unwrap(), asked);
            let told = chosen(asked, Some((7, 5))).unwrap_err().to_string();
            assert!(told.contains("compute capability 8.0, found 7.5; take --precision fp16 or f32"), "{told}");
        }
        assert_eq!(chosen(Precision::Fp16, Some((7, 0))).unwrap(), Precision::Fp16);
        assert_eq!(chosen(Precision::F32, Some((6, 0))).unwrap(), Precision::F32);
    }
}
