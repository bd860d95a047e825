//! The linear layers of a block, and where each stands in the block's fused products.

use crate::arch::Architecture;

/// A linear layer of a block that an adapter can be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

/// One of the block's four products: projections of the same input are one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Site {
    /// In the order of the forward.
    pub const ALL: [Site; 4] = [Site::Qkv, Site::O, Site::GateUp, Site::Down];

    /// The projections that this product holds, in the order of their columns.
    pub fn projections(self) -> &'static [Projection] {
        match self {
            Site::Qkv => &[Projection::Q, Projection::K, Projection::V],
            Site::O => &[Projection::O],
            Site::GateUp => &[Projection::Gate, Projection::Up],
            Site::Down => &[Projection::Down],
        }
    }
}

impl Projection {
    /// In the order in which adapters list them.
    pub const ALL: [Projection; 7] = [
        Projection::Q,
        Projection::K,
        Projection::V,
        Projection::O,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];

    /// The module's name within a layer, as Hugging Face's checkpoints have it.
    pub fn path(self) -> &'static str {
        match self {
            Projection::Q => "self_attn.q_proj",
            Projection::K => "self_attn.k_proj",
            Projection::V => "self_attn.v_proj",
            Projection::O => "self_attn.o_proj",
            Projection::Gate => "mlp.gate_proj",
            Projection::Up => "mlp.up_proj",
            Projection::Down => "mlp.down_proj",
        }
    }

    /// The full name of this module of layer `layer`.
    pub fn module(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.path())
    }

    /// The layer and the projection that a module's full name means.
    pub fn parse(module: &str) -> Option<(usize, Self)> {
        let (layer, path) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let projection = Self::ALL.into_iter().find(|p| p.path() == path)?;
        Some((layer.parse().ok()?, projection))
    }

    /// `(out, in)` of its weight.
    pub fn shape(self, arch: &Architecture) -> (usize, usize) {
        let (q, kv) = (arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim);
        match self {
            Projection::Q => (q, arch.hidden_size),
            Projection::K | Projection::V => (kv, arch.hidden_size),
            Projection::O => (arch.hidden_size, q),
            Projection::Gate | Projection::Up => (arch.intermediate_size, arch.hidden_size),
            Projection::Down => (arch.hidden_size, arch.intermediate_size),
        }
    }

    /// Its first column in the product of its [`Site`].
    pub fn column(self, arch: &Architecture) -> usize {
        let (q, kv) = (arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim);
        match self {
            Projection::Q | Projection::O | Projection::Gate | Projection::Down => 0,
            Projection::K => q,
            Projection::V => q + kv,
            Projection::Up => arch.intermediate_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_name_and_no_other_is() {
        for p in Projection::ALL {
            assert_eq!(Projection::parse(&p.module(12)), Some((12, p)));
        }
        assert_eq!(Projection::parse("lm_head"), None);
        assert_eq!(Projection::parse("model.layers.x.mlp.up_proj"), None);
        assert_eq!(Projection::parse("model.layers.1.mlp.up"), None);
    }

    #[test]
    fn the_sites_hold_every_projection_once() {
        let all: Vec<_> = Site::ALL.iter().flat_map(|s| s.projections()).copied().collect();
        assert_eq!(all, Projection::ALL);
    }
}
