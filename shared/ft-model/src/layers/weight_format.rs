//! The form that frozen matrices are held in.

use std::str::FromStr;

use candle_core::DType;
use ft_kernels::Precision;
use ft_kernels::quant::Kind;

/// The form that the blocks' frozen matrices are held in, and so, sent. What is computed in is a
/// [`Precision`](ft_kernels::Precision).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// As f32, bf16 or f16.
    Float(DType),
    /// In few bits: what is sent is the codes, which are expanded where they arrive.
    Packed(PackedFormat),
}

/// A form of few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedFormat {
    /// As Q8_0: a byte an element, and a scale in 16 bits for each 32.
    EightBit,
    /// Half a byte an element and a scale for each 64 ("QLoRA", section 3).
    FourBit {
        /// What the codes stand for.
        kind: Kind,
        /// Whether the scales are held in 8 bits.
        double: bool,
    },
    /// As the file has them: a GGUF's own blocks, bitsandbytes' codes, or floats.
    AsIs,
}

impl WeightFormat {
    /// Four bytes a number.
    pub const F32: Self = Self::Float(DType::F32);
    /// Two bytes, f32's exponents.
    pub const BF16: Self = Self::Float(DType::BF16);
    /// Two bytes, more digits.
    pub const F16: Self = Self::Float(DType::F16);
    /// Q8_0.
    pub const EIGHT_BIT: Self = Self::Packed(PackedFormat::EightBit);
    /// QLoRA's: NF4, with scales in 8 bits.
    pub const FOUR_BIT: Self = Self::Packed(PackedFormat::FourBit { kind: Kind::Nf4, double: true });
    /// As the file has them.
    pub const AS_IS: Self = Self::Packed(PackedFormat::AsIs);

    /// The form that products of this precision read as it is: floats of their type.
    pub fn of(precision: Precision) -> Self {
        Self::Float(precision.products.unwrap_or(DType::F32))
    }

    /// As it is typed after `--load-in`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float(DType::BF16) => "bf16",
            Self::Float(DType::F16) => "f16",
            Self::Float(_) => "f32",
            Self::Packed(PackedFormat::EightBit) => "8bit",
            Self::Packed(PackedFormat::FourBit { .. }) => "4bit",
            Self::Packed(PackedFormat::AsIs) => "as-is",
        }
    }

    /// The floating-point type; none of few bits.
    pub fn float(self) -> Option<DType> {
        match self {
            Self::Float(dtype) => Some(dtype),
            Self::Packed(_) => None,
        }
    }

    /// Whether it is four bits, of whichever kind.
    pub fn is_four_bit(self) -> bool {
        matches!(self, Self::Packed(PackedFormat::FourBit { .. }))
    }

    /// The same, where it is four bits with codes of this kind, and scales in 8 bits if `double`.
    #[must_use]
    pub fn with_four_bit(self, kind: Kind, double: bool) -> Self {
        if self.is_four_bit() { Self::Packed(PackedFormat::FourBit { kind, double }) } else { self }
    }
}

impl FromStr for WeightFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" | "float32" => Ok(Self::F32),
            "bf16" | "bfloat16" => Ok(Self::BF16),
            "f16" | "float16" => Ok(Self::F16),
            "8bit" | "int8" => Ok(Self::EIGHT_BIT),
            "4bit" => Ok(Self::FOUR_BIT),
            "as-is" | "as_is" | "auto" => Ok(Self::AS_IS),
            _ => Err("expected f32, bf16, f16, 8bit, 4bit or as-is".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        use WeightFormat as Format;
        for format in [Format::F32, Format::BF16, Format::F16, Format::EIGHT_BIT, Format::FOUR_BIT, Format::AS_IS] {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!("float32".parse(), Ok(Format::F32));
        assert!("f64".parse::<Format>().unwrap_err().contains("as-is"));
    }
}
