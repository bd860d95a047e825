//! The linear layers of a block, and where each stands in the block's fused products.

use crate::arch::{Architecture, Family};

/// One of the block's four products: projections of the same input are one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Site {
    /// In the order of the forward.
    pub const ALL: [Site; 4] = [Site::Qkv, Site::O, Site::GateUp, Site::Down];

    /// What a family calls the projections of this product, in the order of their columns.
    pub fn paths(self, family: Family) -> &'static [&'static str] {
        let names = family.names();
        match self {
            Site::Qkv => names.qkv,
            Site::O => names.o,
            Site::GateUp => names.gate_up,
            Site::Down => names.down,
        }
    }

    /// `(out, in)` of the whole product.
    pub fn shape(self, arch: &Architecture) -> (usize, usize) {
        match self {
            Site::Qkv => (arch.qkv_columns(), arch.hidden_size),
            Site::O => (arch.hidden_size, arch.query_columns()),
            Site::GateUp => (arch.gate_up_columns(), arch.hidden_size),
            Site::Down => (arch.hidden_size, arch.intermediate_size),
        }
    }
}

/// A linear layer of a block that an adapter can be put on: one of a site's projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Projection {
    pub site: Site,
    /// Its number within the site.
    pub index: usize,
}

impl Projection {
    /// More projections than any layer has: what random streams number them by.
    pub const MOST: usize = 7;

    /// All of a layer's, in the order in which adapters list them.
    pub fn all(arch: &Architecture) -> Vec<Projection> {
        Self::of(arch.family)
    }

    fn of(family: Family) -> Vec<Projection> {
        let of = |site: Site| (0..site.paths(family).len()).map(move |index| Projection { site, index });
        Site::ALL.into_iter().flat_map(of).collect()
    }

    /// The module's name within a layer, as Hugging Face's checkpoints have it.
    pub fn path(self, arch: &Architecture) -> &'static str {
        self.site.paths(arch.family)[self.index]
    }

    /// The full name of this module of layer `layer`.
    pub fn module(self, arch: &Architecture, layer: usize) -> String {
        arch.names().in_layer(layer, self.path(arch))
    }

    /// The layer and the projection that a module's full name means in some family. Where families share a name
    /// they mean the same by it.
    pub fn parse(module: &str) -> Option<(usize, Self)> {
        Family::ALL.into_iter().find_map(|family| Self::parse_in(family, module))
    }

    /// [`Self::parse`] in one family.
    pub fn parse_in(family: Family, module: &str) -> Option<(usize, Self)> {
        let (layer, path) = module.strip_prefix(family.names().layers)?.strip_prefix('.')?.split_once('.')?;
        let projection = Self::of(family).into_iter().find(|p| p.site.paths(family)[p.index] == path)?;
        Some((layer.parse().ok()?, projection))
    }

    /// Its place among the seven projections of a Llama layer; a fused one has that of its first part.
    pub fn place(self) -> usize {
        let first = match self.site {
            Site::Qkv => 0,
            Site::O => 3,
            Site::GateUp => 4,
            Site::Down => 6,
        };
        first + self.index
    }

    /// `(out, in)` of its weight.
    pub fn shape(self, arch: &Architecture) -> (usize, usize) {
        let (all, inner) = self.site.shape(arch);
        let out = match (self.site, self.site.paths(arch.family).len(), self.index) {
            (_, 1, _) => all,
            (Site::Qkv, _, 0) => arch.query_columns(),
            (Site::Qkv, _, _) => arch.key_columns(),
            (_, parts, _) => all / parts,
        };
        (out, inner)
    }

    /// Its first column in the product of its [`Site`].
    pub fn column(self, arch: &Architecture) -> usize {
        (0..self.index).map(|index| Projection { index, ..self }.shape(arch).0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_name_and_no_other_is() {
        for family in Family::ALL {
            for p in Projection::of(family) {
                let module = family.names().in_layer(12, p.site.paths(family)[p.index]);
                assert_eq!(Projection::parse(&module), Some((12, p)), "{module}");
                assert_eq!(Projection::parse_in(family, &module), Some((12, p)), "{module}");
            }
        }
        assert_eq!(Projection::parse("lm_head"), None);
        assert_eq!(Projection::parse("model.layers.x.mlp.up_proj"), None);
        assert_eq!(Projection::parse("model.layers.1.mlp.up"), None);
        assert_eq!(Projection::parse_in(Family::Phi3, "model.layers.1.mlp.up_proj"), None);
    }

    #[test]
    fn the_places_of_a_layers_projections_differ() {
        for family in Family::ALL {
            let mut places: Vec<_> = Projection::of(family).into_iter().map(Projection::place).collect();
            let all = places.len();
            places.dedup();
            assert_eq!(places.len(), all);
            assert!(places.iter().all(|&place| place < Projection::MOST));
        }
    }
}
