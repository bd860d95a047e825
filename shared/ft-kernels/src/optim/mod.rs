//! Optimizer steps on flat slices, and the sums and scalings that a step needs.
//!
//! The formulas and the order of the f32 operations are those of Python: `torch.optim` for AdamW and SGD,
//! bitsandbytes for Lion and for the moments of 8 bits. Every step exists twice: fused over vectors and threads, and
//! in [`reference`] as a plain loop with the same bits.
//!
//! An element never depends on another one (with 8 bits: on another block of [`BLOCK`] elements), so a step over a
//! tensor is the same as steps over its pieces.

mod adamw;
mod blockwise;
mod lion;
pub mod reference;
mod sgd;

pub use adamw::{AdamW, adamw_8bit_step, adamw_step};
pub use blockwise::{BLOCK, Codes, DynamicMap};
pub use lion::{Lion, lion_8bit_step, lion_step};
pub use sgd::{Sgd, sgd_step};

use rayon::prelude::*;

use crate::simd::LANES;

/// Elements handed to a thread at once: whole blocks of the 8-bit moments.
const PIECE: usize = 64 * 1024;

/// The sum of the squares of each block of [`BLOCK`] elements, in f64 and in one fixed order: whoever has some of a
/// tensor's blocks finds the same sums of them as who has all.
pub fn squares_of_blocks(values: &[f32]) -> Vec<f64> {
    values.par_chunks(BLOCK).with_min_len(PIECE / BLOCK).map(squares_of_block).collect()
}

/// Squares of f32 are exact in f64, so only the order of the additions matters.
fn squares_of_block(values: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let parts = values.chunks_exact(LANES);
    let rest = parts.remainder();
    for part in parts {
        for (sum, &x) in sums.iter_mut().zip(part) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x) * f64::from(x);
    }
    sums.iter().sum()
}

/// Multiplies every element.
pub fn scale_in_place(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(PIECE).for_each(|part| part.iter_mut().for_each(|x| *x *= factor));
}
