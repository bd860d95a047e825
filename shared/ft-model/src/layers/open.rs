//! Weights in memory in whichever of the ways that `--load-in` knows.

use std::fmt;

use candle_core::{DType, Device};
use ft_kernels::backend::is_host;

use super::placed::Placed;
use super::quantised::Quantised;
use super::resident::Resident;
use super::source::LayerSource;
use super::weight_format::WeightFormat;
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
    pub format: WeightFormat,
    /// Bytes of the packed matrices, scales included.
    pub bytes: usize,
    /// Numbers that they stand for.
    pub parameters: usize,
    /// Bytes of embedding and head, which stay as the file has them.
    pub vocabulary_bytes: u64,
    /// The most bytes of them in f32 at a time: on the CPU some rows of a matrix, on a device a layer.
    pub expanded_bytes: usize,
}

/// Reads all weights and holds the blocks' matrices as `format` says, floats on the device where
/// they are computed with; what is expanded there layer by layer goes over in the type that `products` are made in.
/// `progress` is called with the number of layers read so far.
///
/// # Errors
/// If a tensor cannot be read.
pub fn open(
    checkpoint: &Checkpoint,
    format: WeightFormat,
    (device, products): (&Device, Option<DType>),
    progress: impl Fn(usize),
) -> Result<Opened> {
    let packed = match format {
        WeightFormat::Float(dtype) => {
            let source = Box::new(Resident::load_on(device, checkpoint, dtype, progress)?);
            return Ok(Opened { source, packed: None });
        }
        WeightFormat::Packed(packed) => packed,
    };
    let quantised = Quantised::load(checkpoint, packed, progress)?;
    let packed = PackedSize {
        format,
        bytes: quantised.frozen_bytes(),
        parameters: quantised.frozen_parameters(),
        vocabulary_bytes: quantised.vocabulary_bytes(),
        expanded_bytes: if is_host(device) { quantised.expanded_bytes() } else { quantised.layer_bytes() },
    };
    Ok(Opened { source: Placed::on(Box::new(quantised), device, products)?, packed: Some(packed) })
}

impl fmt::Display for PackedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frozen matrices {}: {:.1} MB, {:.3} bytes a parameter; embedding and head as the file has them: {:.1} MB; \
             {:.1} MB at a time in f32",
            self.format.name(),
            self.bytes as f64 / 1e6,
            self.bytes as f64 / self.parameters as f64,
            self.vocabulary_bytes as f64 / 1e6,
            self.expanded_bytes as f64 / 1e6
        )
    }
}
