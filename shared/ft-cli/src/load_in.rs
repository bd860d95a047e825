//! `--load-in`: how the frozen matrices are kept.

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
    /// One byte a number, a scale a row
    #[value(name = "8bit", alias = "int8")]
    EightBit,
    /// Half a byte a number, a scale a block
    #[value(name = "4bit")]
    FourBit,
    /// As the model's file has them
    #[value(name = "as-is")]
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
