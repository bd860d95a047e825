//! What a pass through the model asks its source for.

use crate::arch::Architecture;
use crate::layers::Unit;

/// Which parts of a model have trained tensors: that decides what is asked for, and how far a backward goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// The embedding is trained whole, so the frozen one is never asked for.
    pub embedding: bool,
    /// And so the head.
    pub head: bool,
    /// The lowest layer with a trained tensor: nothing below it needs a gradient.
    pub lowest: Option<usize>,
}

impl Touched {
    /// By the names of what is trained: modules of pairs, and tensors of the base.
    pub fn of<'a>(arch: &Architecture, trained: impl IntoIterator<Item = &'a str>) -> Self {
        let names = arch.names();
        let (embedding, head) = (arch.embedding_name(), format!("{}.weight", names.head));
        let layers = format!("{}.", names.layers);
        let layer = |name: &str| name.strip_prefix(&layers)?.split('.').next()?.parse::<usize>().ok();
        let mut found = Self::default();
        for name in trained {
            found.embedding |= name == embedding;
            found.head |= name == head;
            // Its pair is trained beside the frozen one, with a gradient from below the lowest layer.
            if let Some(layer) = if name == names.embedding { Some(0) } else { layer(name) } {
                found.lowest = Some(found.lowest.map_or(layer, |lowest| lowest.min(layer)));
            }
        }
        found
    }

    /// What a forward asks the source for, in its order. A trained embedding or head is not asked for.
    pub fn forward_pass(self, arch: &Architecture) -> Vec<Unit> {
        let embedding = (!self.embedding).then_some(Unit::Embedding);
        let head = (!self.head).then_some(Unit::Head);
        embedding.into_iter().chain((0..arch.num_layers).map(Unit::Layer)).chain(head).collect()
    }

    /// What a forward and its backward ask for.
    pub fn training_pass(self, arch: &Architecture) -> Vec<Unit> {
        let lowest = if self.embedding { Some(0) } else { self.lowest };
        let lowest = lowest.unwrap_or(arch.num_layers);
        let mut pass = self.forward_pass(arch);
        pass.extend((lowest..arch.num_layers).rev().map(Unit::Layer));
        pass
    }
}
