//! How the frozen matrices are kept.

use std::str::FromStr;

use candle_core::DType;
use ft_kernels::quant::Kind;

/// A floating-point type that the frozen matrices are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadIn {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes, f32's exponents.
    Bf16,
    /// Two bytes, more digits.
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

impl FromStr for LoadIn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" | "float32" => Ok(Self::F32),
            "bf16" | "bfloat16" => Ok(Self::Bf16),
            "f16" | "float16" => Ok(Self::F16),
            _ => Err("expected f32, bf16 or f16".into()),
        }
    }
}

/// [`LoadIn`], and the ways that need fewer bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadAs {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes, f32's exponents.
    Bf16,
    /// Two bytes, more digits.
    F16,
    /// Q8_0: one byte a number, a scale for each 32.
    EightBit,
    /// Half a byte a number, a scale for each 64.
    FourBit,
    /// As the model's file has them: a GGUF's own blocks.
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

impl From<LoadIn> for LoadAs {
    fn from(float: LoadIn) -> Self {
        match float {
            LoadIn::F32 => Self::F32,
            LoadIn::Bf16 => Self::Bf16,
            LoadIn::F16 => Self::F16,
        }
    }
}

impl FromStr for LoadAs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "8bit" | "int8" => Ok(Self::EightBit),
            "4bit" => Ok(Self::FourBit),
            "as-is" | "as_is" | "auto" => Ok(Self::AsIs),
            _ => text
                .parse::<LoadIn>()
                .map(Self::from)
                .map_err(|_| "expected f32, bf16, f16, 8bit, 4bit or as-is".into()),
        }
    }
}

/// candle's name of a type.
pub fn dtype(load_in: LoadIn) -> DType {
    match load_in {
        LoadIn::F32 => DType::F32,
        LoadIn::Bf16 => DType::BF16,
        LoadIn::F16 => DType::F16,
    }
}

/// How [`LoadAs::FourBit`] holds a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourBitOptions {
    /// What the 16 codes stand for.
    pub kind: Kind,
    /// Whether the blocks' scales are kept in 8 bits.
    pub double: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for load_as in [LoadAs::F32, LoadAs::Bf16, LoadAs::F16, LoadAs::EightBit, LoadAs::FourBit, LoadAs::AsIs] {
            assert_eq!(load_as.name().parse(), Ok(load_as));
        }
        assert_eq!("float32".parse(), Ok(LoadIn::F32));
        assert!("f64".parse::<LoadAs>().unwrap_err().contains("as-is"));
    }
}
