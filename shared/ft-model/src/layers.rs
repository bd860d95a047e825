//! The frozen weights as a stream of layers.

mod load;
mod mapped;
mod matrices;
mod open;
mod packed;
mod packed_matrix;
mod placed;
mod quantised;
mod random;
mod resident;
mod sharded;
mod source;
mod table;
mod weight_format;
mod weights;
mod without;

pub use ft_kernels::linear::Weight;
pub use mapped::Mapped;
pub use open::{Opened, PackedSize, open};
pub use placed::Placed;
pub use quantised::Quantised;
pub use resident::Resident;
pub(crate) use sharded::share;
pub use sharded::{Sharded, ShardedOptions};
pub use source::{LayerSource, ShardedBytes, Unit};
pub use table::TableBytes;
pub use weight_format::{PackedFormat, WeightFormat};
pub(crate) use weights::tensor_bytes;
pub use weights::{Ends, Layer, LayerWeights, LinearWeights, NormWeights, Vocabulary};
pub use without::Without;

#[cfg(test)]
mod tests;
