//! Weights in memory in whichever of the ways that `--load-in` knows.

use std::fmt;

use candle_core::{DType, Device};
use ft_kernels::backend::is_host;

use super::held::Bits;
use super::load_as::{FourBitOptions, LoadAs, dtype};
use super::placed::Placed;
use super::quantised::Quantised;
use super::resident::Resident;
use super::source::LayerSource;
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// The frozen weights, and what they take where they are packed.
pub struct Opened {
    pub source: Box<dyn LayerSource>,
    pub packed: Option<PackedSize>,
}

/// What packed matrices take. Printed it is a sentence for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedSize {
    /// How they were asked for.
    pub load_in: LoadAs,
    /// Bytes of the packed matrices, scales included.
    pub bytes: usize,
    /// Numbers that they stand for.
    pub parameters: usize,
    /// Bytes of embedding and head, which stay as the file has them.
    pub vocabulary_bytes: u64,
    /// The most bytes of them in f32 at a time: on the CPU some rows of a matrix, on a device a layer.
    pub expanded_bytes: usize,
}

/// Reads all weights and holds the blocks' matrices as `load_in` says, floats on the device where
/// they are computed with; what is expanded there layer by layer goes over in the type that `products` are made in.
/// `progress` is called with the number of layers read so far.
///
/// # Errors
/// If a tensor cannot be read.
pub fn open(
    checkpoint: &Checkpoint,
    load_in: LoadAs,
    four_bit: FourBitOptions,
    (device, products): (&Device, Option<DType>),
    progress: impl Fn(usize),
) -> Result<Opened> {
    let Some(bits) = bits(load_in, four_bit) else {
        let float = dtype(load_in.float().unwrap_or_default());
        return Ok(Opened { source: Box::new(Resident::load_on(device, checkpoint, float, progress)?), packed: None });
    };
    let quantised = Quantised::load(checkpoint, bits, progress)?;
    let packed = PackedSize {
        load_in,
        bytes: quantised.frozen_bytes(),
        parameters: quantised.frozen_parameters(),
        vocabulary_bytes: quantised.vocabulary_bytes(),
        expanded_bytes: if is_host(device) { quantised.expanded_bytes() } else { quantised.layer_bytes() },
    };
    Ok(Opened { source: Placed::on(Box::new(quantised), device, products)?, packed: Some(packed) })
}

/// How the matrices are packed, if they are.
pub fn bits(load_in: LoadAs, four_bit: FourBitOptions) -> Option<Bits> {
    match load_in {
        LoadAs::F32 | LoadAs::Bf16 | LoadAs::F16 => None,
        LoadAs::EightBit => Some(Bits::EightBit),
        LoadAs::FourBit => Some(Bits::FourBit { kind: four_bit.kind, double: four_bit.double }),
        LoadAs::AsIs => Some(Bits::AsIs),
    }
}

impl fmt::Display for PackedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frozen matrices {}: {:.1} MB, {:.3} bytes a parameter; embedding and head as the file has them: {:.1} MB; \
             {:.1} MB at a time in f32",
            self.load_in.name(),
            self.bytes as f64 / 1e6,
            self.bytes as f64 / self.parameters as f64,
            self.vocabulary_bytes as f64 / 1e6,
            self.expanded_bytes as f64 / 1e6
        )
    }
}
