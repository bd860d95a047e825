//! The frozen weights by their shapes.

use std::collections::BTreeSet;

use ft_kernels::quant::{EightBit, FourBit};

use super::ranks::{Ranks, Stage};
use crate::arch::Architecture;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::layers::{PackedFormat, TableBytes, Unit, WeightFormat, share};
use crate::projection::Site;

/// Bytes of a model's frozen weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The matrices of each layer.
    layers: Vec<usize>,
    embedding: usize,
    /// None where it is the embedding.
    head: Option<usize>,
    /// What is not cut: norms, biases, learned positions; what scales are expanded with.
    small: u64,
    /// The largest layer's matrices expanded to f32, where they are held in few bits: what a GPU holds. A CPU reads them
    /// where they lie.
    expanded: Option<usize>,
}

/// What a pass through the model gathers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gathers {
    /// The most that is together at a time.
    pub at_once: u64,
    /// All that comes together, the rank's own part included.
    pub gathered: u64,
    /// What the rank sends for it.
    pub sent: u64,
}

impl WeightFormat {
    /// The bytes of a matrix of `elements` elements, and those beside it that are never cut; none for
    /// [`PackedFormat::AsIs`], which the file alone knows.
    pub fn bytes(self, elements: usize) -> Option<(usize, usize)> {
        match self {
            WeightFormat::Float(dtype) => Some((elements * dtype.size_in_bytes(), 0)),
            WeightFormat::Packed(PackedFormat::EightBit) => Some((EightBit::bytes_for(elements), 0)),
            WeightFormat::Packed(PackedFormat::FourBit { double, .. }) => Some(FourBit::bytes_for(elements, double)),
            WeightFormat::Packed(PackedFormat::AsIs) => None,
        }
    }
}

impl Frozen {
    /// Of a model whose blocks' matrices are held so; where that is in few bits the vocabulary's take `vocabulary`. None
    /// for [`PackedFormat::AsIs`].
    pub fn new(arch: &Architecture, held: WeightFormat, vocabulary: TableBytes) -> Option<Self> {
        Self::build(arch, held, vocabulary, |_, path, elements| match held {
            WeightFormat::Packed(_) if arch.is_router(path) => WeightFormat::Float(vocabulary.main).bytes(elements),
            _ => held.bytes(elements),
        })
    }

    /// Of a model whose file is at hand, and so known for [`PackedFormat::AsIs`] too.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn of(checkpoint: &Checkpoint, held: WeightFormat) -> Result<Option<Self>> {
        let (arch, vocabulary) = (checkpoint.architecture(), TableBytes::of(checkpoint)?);
        Ok(Self::build(arch, held, vocabulary, |layer, path, elements| match held {
            WeightFormat::Packed(bits) if bits == PackedFormat::AsIs || arch.is_router(path) => {
                let name = arch.names().in_layer(layer, &format!("{path}.weight"));
                Some((checkpoint.stored(&name).ok()?.bytes(), 0))
            }
            _ => held.bytes(elements),
        }))
    }

    /// `matrix` says the bytes of a layer's matrix by its name there and the number of its elements, and those beside it.
    fn build(
        arch: &Architecture,
        held: WeightFormat,
        vocabulary: TableBytes,
        matrix: impl Fn(usize, &str, usize) -> Option<(usize, usize)>,
    ) -> Option<Self> {
        let tables = match held {
            WeightFormat::Float(dtype) => TableBytes::float(arch, dtype),
            WeightFormat::Packed(_) => vocabulary,
        };
        let (mut layers, mut small, mut largest) = (Vec::new(), 0, 0);
        for layer in 0..arch.num_layers {
            let (mut all, mut elements) = (0, 0);
            for (path, (out, inner)) in Site::ALL.into_iter().flat_map(|site| site.stored(arch, layer)) {
                let (bytes, beside) = matrix(layer, &path, out * inner)?;
                (all, small, elements) = (all + bytes, small + beside, elements + out * inner);
            }
            layers.push(all);
            small += size_of::<f32>() * small_of_layer(arch, layer);
            largest = largest.max(elements);
        }
        Some(Self {
            layers,
            embedding: tables.embedding,
            head: tables.head,
            small: (small + size_of::<f32>() * small_of_ends(arch)) as u64,
            expanded: matches!(held, WeightFormat::Packed(_)).then_some(size_of::<f32>() * largest),
        })
    }

    /// The whole model's.
    pub fn bytes(&self) -> u64 {
        (self.layers.iter().sum::<usize>() + self.embedding + self.head.unwrap_or(0)) as u64 + self.small
    }

    /// The largest layer, or matrix of the vocabulary.
    pub fn largest_unit(&self) -> u64 {
        self.layers.iter().copied().max().unwrap_or(0).max(self.table()) as u64
    }

    /// The larger matrix of the vocabulary.
    fn table(&self) -> usize {
        self.embedding.max(self.head.unwrap_or(0))
    }

    /// What a rank holds.
    pub fn held(&self, ranks: Ranks, rank: usize) -> u64 {
        if ranks.stage < Stage::Zero3 {
            return self.bytes();
        }
        let own = |bytes: usize| share(bytes, ranks.world, rank).len();
        let layers: usize = self.layers.iter().map(|&layer| own(layer)).sum();
        let all = layers + own(self.embedding) + self.head.map_or(0, own);
        all as u64 + self.small
    }

    /// The copy that is computed with.
    pub(super) fn computing(&self, stage: Stage) -> u64 {
        match self.expanded {
            Some(expanded) if stage == Stage::Zero3 => expanded.max(self.table()) as u64,
            Some(expanded) => expanded as u64,
            None if stage == Stage::Zero3 => self.largest_unit(),
            None => 0,
        }
    }

    /// What a pass that asks for `pass` gathers.
    pub(super) fn pass(&self, pass: &[Unit], ranks: Ranks, rank: usize) -> Gathers {
        if ranks.stage < Stage::Zero3 {
            return Gathers::default();
        }
        let others = ranks.world as u64 - 1;
        let mut known = BTreeSet::new();
        let mut found = Gathers::default();
        let mut last = 0;
        for &unit in pass {
            let (place, bytes) = self.place(unit);
            if !ranks.reshard_after_forward && !known.insert(place) {
                continue;
            }
            found.gathered += bytes as u64;
            found.sent += share(bytes, ranks.world, rank).len() as u64 * others;
            found.at_once =
                if ranks.reshard_after_forward { found.at_once.max((last + bytes) as u64) } else { found.gathered };
            last = bytes;
        }
        found
    }

    /// Where a unit lies, as a number, and its bytes.
    fn place(&self, unit: Unit) -> (usize, usize) {
        match (unit, self.head) {
            (Unit::Layer(i), _) => (i, self.layers[i]),
            (Unit::Head, Some(head)) => (self.layers.len() + 1, head),
            (Unit::Embedding | Unit::Head, _) => (self.layers.len(), self.embedding),
        }
    }
}

/// The numbers in a norm of the residual stream.
fn norm(arch: &Architecture) -> usize {
    arch.hidden_size * if arch.norm.has_bias() { 2 } else { 1 }
}

/// The numbers in a layer that belong to no matrix.
fn small_of_layer(arch: &Architecture, layer: usize) -> usize {
    let names = arch.names();
    let norms = [names.input_norm, names.attention_norm, names.mlp_norm, names.output_norm];
    let heads: usize = arch.qk_norms().iter().map(|(parts, width)| parts.len() * width).sum();
    let heads = heads * if arch.qk_norm_has_bias() { 2 } else { 1 };
    let biases = Site::ALL.into_iter().filter(|&site| arch.has_bias(site)).map(|site| site.shape(arch, layer).0);
    norms.iter().flatten().count() * norm(arch) + heads + biases.sum::<usize>()
}

/// The numbers beside the layers and the vocabulary's matrices.
fn small_of_ends(arch: &Architecture) -> usize {
    let positions = arch.names().positions.and(arch.learned_positions).map_or(0, |rows| rows * arch.hidden_size);
    norm(arch) + positions + if arch.head_bias { arch.vocab_size } else { 0 }
}
