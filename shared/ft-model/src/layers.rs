//! The frozen weights as a stream of layers.

mod held;
mod load;
mod load_as;
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
mod weights;
mod without;

pub use ft_kernels::linear::Weight;
pub(crate) use held::tensor_bytes;
pub use held::{Bits, Held};
pub use load_as::{FourBitOptions, LoadAs, LoadIn, dtype};
pub use mapped::Mapped;
pub use open::{Opened, PackedSize, bits, open};
pub use placed::Placed;
pub use quantised::Quantised;
pub use resident::Resident;
pub(crate) use sharded::shares;
pub use sharded::{Sharded, ShardedOptions};
pub use source::{LayerSource, ShardedBytes, Unit};
pub use table::TableBytes;
pub use weights::{Ends, Layer, LayerWeights, NormWeights, Product, Vocabulary};
pub use without::Without;

#[cfg(test)]
mod tests;
