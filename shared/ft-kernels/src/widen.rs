//! Narrow floats as `f32`, without a branch.

use half::{bf16, f16};

/// Exact, and without a branch, so that it vectorises.
#[inline(always)]
pub fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Exact for every f16, subnormal and not finite ones too, and without a branch, so that it vectorises:
/// the exponent is moved by a multiplication, which is exact.
#[inline(always)]
pub fn widen_f16(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let beyond = if magnitude >= 65536.0 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | beyond | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_widened_as_half_does() {
        for b in 0..=u16::MAX {
            let x = f16::from_bits(b);
            let (ours, theirs) = (widen_f16(x), x.to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "{b:#06x}: {ours} for {theirs}"
            );
        }
    }
}
