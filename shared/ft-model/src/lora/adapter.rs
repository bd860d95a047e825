//! An adapter in memory.

use std::sync::Arc;

use candle_core::Tensor;
use ft_kernels::tensor::with_slice;

use super::config::LoraConfig;
use super::ends::EndPair;
use super::keys::TrainedKind;
use crate::error::Result;
use crate::projection::Projection;
use crate::trainable::TrainableTable;

/// The adapter of one linear layer, or of all experts' matrices of a kind: see [`Projection::pair_shapes`](crate::projection::Projection::pair_shapes).
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// Such as `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// peft's name of it, which is another where it adapts a parameter.
    pub key: String,
    /// `[r, in]`, f32.
    pub a: Tensor,
    /// `[out, r]`, f32.
    pub b: Tensor,
    /// The factor of `B·A`.
    pub scaling: f64,
    /// DoRA's length of each row of the weight, `[out]`, f32.
    pub magnitude: Option<Tensor>,
}

/// A tensor of the base that is trained and saved whole: a bias, or the weight of a module of
/// `modules_to_save`.
#[derive(Debug, Clone)]
pub struct SavedTensor {
    /// Its name in the base's checkpoint, such as `lm_head.weight`.
    pub name: String,
    /// peft's name, which for the bias of an adapted module says where that has been wrapped.
    pub key: String,
    /// f32, in the shape of the base's.
    pub tensor: Tensor,
}

/// An adapter of a whole model.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub config: LoraConfig,
    /// By layer, then in the order of the layer's modules.
    pub(super) modules: Vec<LoraPair>,
    /// On embedding and head, in this order.
    pub(super) ends: Vec<EndPair>,
    /// What is trained beside the pairs, by name.
    pub(super) saved: Vec<SavedTensor>,
    trainables: Arc<TrainableTable>,
}

/// A trained tensor of an adapter.
#[derive(Debug, Clone, Copy)]
pub struct Trainable<'a> {
    /// The module, or for a saved tensor peft's name of it.
    pub of: &'a str,
    /// peft's name of either.
    pub(super) key: &'a str,
    pub kind: TrainedKind,
    pub tensor: &'a Tensor,
}

impl Trainable<'_> {
    /// Its name in peft's file.
    pub fn name(&self) -> String {
        self.kind.name(self.key)
    }
}

impl LoraPair {
    /// How many trained tensors it has: `A` and `B`, and DoRA's magnitudes.
    pub fn trained(&self) -> usize {
        2 + usize::from(self.magnitude.is_some())
    }

    fn trainable(&self) -> impl Iterator<Item = Trainable<'_>> {
        let of = |kind, tensor| Trainable { of: &self.module, key: &self.key, kind, tensor };
        let magnitude = self.magnitude.as_ref().map(|tensor| of(TrainedKind::Magnitude, tensor));
        [Some(of(TrainedKind::A, &self.a)), Some(of(TrainedKind::B, &self.b)), magnitude].into_iter().flatten()
    }
}

impl EndPair {
    pub(super) fn trainable(&self) -> impl Iterator<Item = Trainable<'_>> {
        let [a, b] = self.end.kinds();
        [(a, &self.a), (b, &self.b)].into_iter().map(|(kind, tensor)| Trainable {
            of: &self.module,
            key: &self.module,
            kind,
            tensor,
        })
    }
}

impl Adapter {
    /// The adapter of these pairs and tensors. Modules come by layer, then in the layer's order; embedding before head;
    /// saved tensors by name.
    pub fn new(config: LoraConfig, modules: Vec<LoraPair>, ends: Vec<EndPair>, saved: Vec<SavedTensor>) -> Self {
        let trainables = Arc::new(table(&modules, &ends, &saved));
        Self { config, modules, ends, saved, trainables }
    }

    /// Its pairs on projections.
    pub fn modules(&self) -> &[LoraPair] {
        &self.modules
    }

    /// The same, for their values to be changed.
    pub fn modules_mut(&mut self) -> &mut [LoraPair] {
        &mut self.modules
    }

    /// Its pairs on embedding and head.
    pub fn ends(&self) -> &[EndPair] {
        &self.ends
    }

    /// The tensors of the base that are trained whole.
    pub fn saved_tensors(&self) -> &[SavedTensor] {
        &self.saved
    }

    /// What it is made of.
    pub fn into_parts(self) -> (LoraConfig, Vec<LoraPair>, Vec<EndPair>, Vec<SavedTensor>) {
        (self.config, self.modules, self.ends, self.saved)
    }

    /// Its trained tensors by number.
    pub fn trainables(&self) -> &TrainableTable {
        &self.trainables
    }

    /// The trained tensors, module by module `A`, `B` and the magnitudes, those of the layers first, then the saved ones.
    /// Gradients and the optimizer's states have this order.
    pub fn trainable(&self) -> impl Iterator<Item = Trainable<'_>> {
        let saved = self.saved.iter().map(|s| Trainable {
            of: &s.key,
            key: &s.key,
            kind: TrainedKind::Saved,
            tensor: &s.tensor,
        });
        let ends = self.ends.iter().flat_map(EndPair::trainable);
        self.modules.iter().flat_map(LoraPair::trainable).chain(ends).chain(saved)
    }

    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.trainable().map(|t| t.tensor.elem_count()).sum()
    }

    /// SHA-256 over all names and values, as 64 hexadecimal digits: two adapters that agree in it are the
    /// same, however they were stored.
    ///
    /// # Errors
    /// If a tensor is not contiguous f32 on the CPU.
    pub fn sha256(&self) -> Result<String> {
        let mut hash = ft_io::Sha256::new();
        let mut bytes = Vec::new();
        for trained in self.trainable() {
            hash.update(trained.name());
            bytes.clear();
            with_slice(trained.tensor, |values| bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())))?;
            hash.update(&bytes);
        }
        Ok(hash.finish())
    }
}

/// The trained tensors in the order of [`Adapter::trainable`].
fn table(modules: &[LoraPair], ends: &[EndPair], saved: &[SavedTensor]) -> TrainableTable {
    let mut table = TrainableTable::default();
    for (index, pair) in modules.iter().enumerate() {
        let names = [TrainedKind::A, TrainedKind::B].map(|kind| kind.name(&pair.key));
        let magnitude = pair.magnitude.as_ref().map(|_| TrainedKind::Magnitude.name(&pair.key));
        table.add_module(index, Projection::parse(&pair.module), names, magnitude);
    }
    for (index, pair) in ends.iter().enumerate() {
        table.add_end(index, &pair.module, pair.end.kinds().map(|kind| kind.name(&pair.module)));
    }
    for (index, tensor) in saved.iter().enumerate() {
        table.add_saved(index, &tensor.name, TrainedKind::Saved.name(&tensor.key));
    }
    table
}
