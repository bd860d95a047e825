//! Stored bytes to f32.

use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that a thread widens at a time.
const PIECE: usize = 1 << 15;

/// Little-endian f32, bf16 or f16 (by their safetensors name) to f32; false for another type.
pub fn widen(dtype: &str, bytes: &[u8], out: &mut [f32]) -> bool {
    match dtype {
        "F32" => pieces(bytes, out, f32::from_le_bytes),
        "BF16" => pieces(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        "F16" => pieces(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        _ => return false,
    }
    true
}

fn pieces<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32 + Sync) {
    out.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * N)).for_each(|(out, bytes)| {
        for (x, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *x = read(*b);
        }
    });
}
