//! The trained tensors of an adapter by number, and what each of them belongs to.

use std::collections::HashMap;

use crate::projection::Projection;

/// A trained tensor of an adapter, by its place in the order of [`Adapter::trainable`](crate::Adapter::trainable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrainableId(usize);

impl TrainableId {
    /// Its place among all.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The tensors of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairIds {
    pub a: TrainableId,
    pub b: TrainableId,
    /// DoRA's.
    pub magnitude: Option<TrainableId>,
}

/// A pair among an adapter's, and its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairPlace {
    /// Its place in its list: the modules', or that of embedding and head.
    pub index: usize,
    pub ids: PairIds,
}

/// All trained tensors of an adapter; made once, when the adapter is.
#[derive(Debug, Default)]
pub struct TrainableTable {
    /// peft's name of each.
    names: Vec<String>,
    /// The pairs on each layer's projections, in their order.
    layers: HashMap<usize, Vec<(Projection, PairPlace)>>,
    /// The pairs on embedding and head, by the module's full name.
    ends: HashMap<String, PairPlace>,
    /// Tensors of the base that are trained whole, by their name there: the place among these, and the tensor.
    saved: HashMap<String, (usize, TrainableId)>,
}

impl TrainableTable {
    /// The number of trained tensors.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All of them, in their order.
    pub fn ids(&self) -> impl Iterator<Item = TrainableId> + use<> {
        (0..self.names.len()).map(TrainableId)
    }

    /// What peft's file calls a tensor.
    pub fn name(&self, id: TrainableId) -> &str {
        self.names.get(id.0).map_or("(of another adapter)", String::as_str)
    }

    /// The pairs on the projections of layer `layer`, in the order in which the adapter lists them.
    pub fn on_layer(&self, layer: usize) -> &[(Projection, PairPlace)] {
        self.layers.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// The pair on embedding or head, by the module's full name.
    pub fn on_end(&self, module: &str) -> Option<PairPlace> {
        self.ends.get(module).copied()
    }

    /// The tensor that takes the place of the base's `name`, and its place among those that are trained whole.
    pub fn saved(&self, name: &str) -> Option<(usize, TrainableId)> {
        self.saved.get(name).copied()
    }

    /// Lists one more tensor.
    fn add(&mut self, name: String) -> TrainableId {
        self.names.push(name);
        TrainableId(self.names.len() - 1)
    }

    /// Lists a pair's tensors, by peft's names of `A`, `B` and DoRA's magnitudes.
    fn add_pair(&mut self, [a, b]: [String; 2], magnitude: Option<String>) -> PairIds {
        PairIds { a: self.add(a), b: self.add(b), magnitude: magnitude.map(|name| self.add(name)) }
    }

    /// Lists the pair that is the `index`th module of an adapter, on `on`: a layer and its projection, or what no family
    /// knows.
    pub(crate) fn add_module(
        &mut self,
        index: usize,
        on: Option<(usize, Projection)>,
        names: [String; 2],
        magnitude: Option<String>,
    ) {
        let ids = self.add_pair(names, magnitude);
        if let Some((layer, projection)) = on {
            self.layers.entry(layer).or_default().push((projection, PairPlace { index, ids }));
        }
    }

    /// Lists the pair that is the `index`th of embedding and head.
    pub(crate) fn add_end(&mut self, index: usize, module: &str, names: [String; 2]) {
        let ids = self.add_pair(names, None);
        self.ends.insert(module.to_owned(), PairPlace { index, ids });
    }

    /// Lists the `index`th tensor that is trained whole: the base's `base_name`.
    pub(crate) fn add_saved(&mut self, index: usize, base_name: &str, name: String) {
        let id = self.add(name);
        self.saved.insert(base_name.to_owned(), (index, id));
    }
}
