//! The types in which frozen weights are kept, and how they are made from f32.

use bytemuck::Pod;
use candle_core::DType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A type in which weights are kept: f32, bf16 or f16.
pub trait Element: Pod + Send + Sync {
    /// candle's name for it.
    const DTYPE: DType;

    /// `to` as f32 values, where this type is f32.
    fn as_f32(to: &mut [Self]) -> Option<&mut [f32]>;

    /// Rounds `from` to this type, to nearest with ties to even.
    fn narrow(from: &[f32], to: &mut [Self]);
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    fn as_f32(to: &mut [Self]) -> Option<&mut [f32]> {
        Some(to)
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;

    fn as_f32(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        for (x, y) in from.iter().zip(to) {
            *y = bf16::from_bits(bf16_bits(*x));
        }
    }
}

/// As `bf16::from_f32`, but without a branch, so that the compiler makes vector code of it.
#[inline]
fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;

    fn as_f32(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_as_half_does() {
        let mut values =
            vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        // Ties and their neighbours, for even and odd last bits.
        values.extend(
            (0..4).flat_map(|odd| [0x7fffu32, 0x8000, 0x8001].map(|low| f32::from_bits(0x3f80_0000 | odd << 16 | low))),
        );
        values.extend((0..100_000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761))));
        let mut narrow = vec![bf16::ZERO; values.len()];
        Element::narrow(&values, &mut narrow);
        for (x, y) in values.iter().zip(narrow) {
            let expected = bf16::from_f32(*x);
            assert!(y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan()), "{x:e}: {y} {expected}");
        }
    }
}
