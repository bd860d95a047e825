//! `--load-in`: how the frozen matrices are kept.

use clap::ArgAction;
use clap::builder::BoolishValueParser;

/// The type that the frozen matrices are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadIn {
    #[default]
    #[value(alias = "float32")]
    F32,
    #[value(alias = "bfloat16")]
    Bf16,
    #[value(alias = "float16")]
    F16,
}

impl LoadIn {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// [`LoadIn`], and the ways that need fewer bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadAs {
    /// Four bytes a number
    #[default]
    #[value(alias = "float32")]
    F32,
    /// Two bytes, f32's exponents
    #[value(alias = "bfloat16")]
    Bf16,
    /// Two bytes, more digits
    #[value(alias = "float16")]
    F16,
    /// Q8_0: one byte a number, a scale for each 32
    #[value(name = "8bit", alias = "int8")]
    EightBit,
    /// Half a byte a number, a scale for each 64
    #[value(name = "4bit")]
    FourBit,
    /// As the model's file has them: a GGUF's own blocks
    #[value(name = "as-is", aliases = ["as_is", "auto"])]
    AsIs,
}

impl LoadAs {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::EightBit => "8bit",
            Self::FourBit => "4bit",
            Self::AsIs => "as-is",
        }
    }

    /// The floating-point type; none where fewer bits are asked for.
    pub fn float(self) -> Option<LoadIn> {
        match self {
            Self::F32 => Some(LoadIn::F32),
            Self::Bf16 => Some(LoadIn::Bf16),
            Self::F16 => Some(LoadIn::F16),
            Self::EightBit | Self::FourBit | Self::AsIs => None,
        }
    }
}

/// How `--load-in 4bit` holds a number, under bitsandbytes' names.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FourBitArgs {
    /// The sixteen values of --load-in 4bit
    #[arg(long, value_name = "TYPE", value_enum, default_value = "nf4")]
    pub bnb_4bit_quant_type: QuantType,
    /// Keep the scales of --load-in 4bit in 8 bits, as QLoRA does
    #[arg(long, alias = "use-bnb-nested-quant", value_name = "BOOL", num_args = 0..=1, default_value = "true",
        default_missing_value = "true", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub bnb_4bit_use_double_quant: bool,
}

/// `--bnb-4bit-quant-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QuantType {
    /// Values at the quantiles of a normal distribution
    Nf4,
    /// Values of a float of four bits
    Fp4,
}
