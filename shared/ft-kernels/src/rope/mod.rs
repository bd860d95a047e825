//! Rotary position embedding: in a head, two elements turn together by the angle `position * inv_freq[i]`.
//!
//! * In halves, the layout of most of Hugging Face: element `i` of the first half with element `i` of the second one.
//!   Where only a head's first columns turn (partial rotary: GPT-NeoX, Phi), the halves are those of the columns that do.
//! * In pairs, the layout of the paper (Su et al., "RoFormer", 2021, equation 15): element `2 i` with element `2 i + 1`
//!   (GLM-4, Cohere 2, Ernie 4.5, Helium).

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::rope;

use std::sync::OnceLock;

use candle_core::{Device, Tensor};

use crate::error::{Result, expect_shape};
use crate::math::sincos;

/// The cosines and sines of a row's rotations.
#[derive(Clone, Debug)]
pub struct RopeTables {
    rows: usize,
    half: usize,
    /// Whether neighbours turn together, and not elements of two halves.
    pairs: bool,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// Cosines and sines `[rows, 1, half]` where the first row was turned that is not on the CPU.
    placed: OnceLock<(Tensor, Tensor)>,
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Forward: by the angle.
    Forward,
    /// Backward: by its negative, which is the gradient.
    Backward,
}

impl RopeTables {
    /// The rotations of rows at these positions. `inv_freq` are radians a position, one for each
    /// pair of elements, already scaled as the model asks; `magnitude` multiplies cosines and sines
    /// (1 but for YaRN). The angles are formed in f64. Heads turn in halves, see [`Self::in_pairs`].
    pub fn new(positions: &[u32], inv_freq: &[f64], magnitude: f64) -> Self {
        let angles = positions.iter().flat_map(|&p| inv_freq.iter().map(move |f| f64::from(p) * f));
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = sincos(angle);
                ((cos * magnitude) as f32, (sin * magnitude) as f32)
            })
            .unzip();
        Self { rows: positions.len(), half: inv_freq.len(), pairs: false, cos, sin, placed: OnceLock::new() }
    }

    /// The same rotations, of neighbours where `pairs` says so.
    #[must_use]
    pub fn in_pairs(self, pairs: bool) -> Self {
        Self { pairs, ..self }
    }

    /// The tables of padding-free sequences, laid end to end between `starts`: positions restart at
    /// each start.
    pub fn for_sequences(starts: &[usize], inv_freq: &[f64], magnitude: f64) -> Self {
        let positions: Vec<u32> = starts.windows(2).flat_map(|pair| 0..(pair[1] - pair[0]) as u32).collect();
        Self::new(&positions, inv_freq, magnitude)
    }

    /// The rows of several tables one after the other, for sequences that turn by frequencies of their
    /// own (longrope, dynamic scaling).
    ///
    /// # Errors
    /// If they do not turn the same number of pairs, or not alike.
    pub fn join(tables: Vec<Self>) -> Result<Self> {
        let mut tables = tables.into_iter();
        let Some(mut all) = tables.next() else {
            return Ok(Self::new(&[], &[], 1.0));
        };
        for next in tables {
            expect_shape(next.half == all.half, "rope", "inv_freq's length", all.half, next.half)?;
            expect_shape(next.pairs == all.pairs, "rope", "whether neighbours turn together", all.pairs, next.pairs)?;
            all.rows += next.rows;
            all.cos.extend(next.cos);
            all.sin.extend(next.sin);
        }
        all.placed = OnceLock::new();
        Ok(all)
    }

    /// Cosines and sines `[rows, 1, half]` on a device; every layer of a model asks for the same ones.
    fn on(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        if let Some((cos, sin)) = self.placed.get().filter(|(cos, _)| cos.device().same_device(device)) {
            return Ok((cos.clone(), sin.clone()));
        }
        let table = |values: &[f32]| Tensor::from_slice(values, (self.rows, 1, self.half), device);
        let both = (table(&self.cos)?, table(&self.sin)?);
        // On a second device they are laid out at each call.
        let _ = self.placed.set(both.clone());
        Ok(both)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The cosines `[rows, half]`.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// The sines `[rows, half]`.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }
}

fn check(x: &Tensor, tables: &RopeTables, heads: usize, head_dim: usize) -> Result<usize> {
    let (rows, columns) = x.dims2()?;
    expect_shape(rows == tables.rows, "rope", "x's rows", tables.rows, rows)?;
    let wanted = heads * head_dim;
    expect_shape(columns >= wanted, "rope", "x's columns", wanted, columns)?;
    let half = tables.half;
    expect_shape(2 * half <= head_dim, "rope", "inv_freq's length", head_dim / 2, half)?;
    Ok(columns)
}
