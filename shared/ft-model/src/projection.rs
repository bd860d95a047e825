//! The linear layers of a block, and where each stands in the block's fused products.
//!
//! In a mixture of experts all experts' matrices are one product, an expert's rows after those of the one before it, and
//! the router's, which reads the same input, follow them.

use crate::arch::{Architecture, Experts, Family};

/// One of the block's four products: projections of the same input are one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Qkv,
    O,
    GateUp,
    Down,
}

/// The modules of a mixture of experts as transformers has them in memory, in the order of [`Site::GateUp`]'s rows and
/// then [`Site::Down`]'s: peft's `target_parameters` name these, whatever the checkpoint calls the experts.
const MIXTURE_GATE_UP: [&str; 2] = ["mlp.experts.gate_up_proj", "mlp.gate"];
/// See [`MIXTURE_GATE_UP`].
const MIXTURE_DOWN: [&str; 1] = ["mlp.experts.down_proj"];

impl Site {
    /// In the order of the forward.
    pub const ALL: [Site; 4] = [Site::Qkv, Site::O, Site::GateUp, Site::Down];

    /// What a family calls the projections of this product in a layer without a mixture of experts, in the order of
    /// their columns.
    fn plain_paths(self, family: Family) -> &'static [&'static str] {
        let names = family.names();
        match self {
            Site::Qkv => names.qkv,
            Site::O => names.o,
            Site::GateUp => names.gate_up,
            Site::Down => names.down,
        }
    }

    /// [`Self::plain_paths`] in a layer with one.
    fn mixture_paths(self, family: Family) -> &'static [&'static str] {
        match self {
            Site::Qkv | Site::O => self.plain_paths(family),
            Site::GateUp => &MIXTURE_GATE_UP,
            Site::Down => &MIXTURE_DOWN,
        }
    }

    /// The names, within layer `layer`, of this product's projections, in the order of their columns.
    pub fn paths(self, arch: &Architecture, layer: usize) -> &'static [&'static str] {
        match arch.experts_of(layer) {
            Some(_) => self.mixture_paths(arch.family),
            None => self.plain_paths(arch.family),
        }
    }

    /// The matrices that the checkpoint holds of this product, in the order of their columns: each by its name within
    /// layer `layer`, without `.weight`, with its `(out, in)`.
    pub fn stored(self, arch: &Architecture, layer: usize) -> Vec<(String, (usize, usize))> {
        let names = arch.names().experts.zip(arch.experts_of(layer));
        let Some((names, experts)) = names.filter(|_| matches!(self, Site::GateUp | Site::Down)) else {
            let of = |index: usize| Projection { site: self, index };
            let paths = self.paths(arch, layer).iter().enumerate();
            return paths.map(|(index, path)| ((*path).to_owned(), of(index).shape(arch, layer))).collect();
        };
        let (hidden, inside) = (arch.hidden_size, experts.intermediate_size);
        let mut all = Vec::new();
        for e in 0..experts.count {
            let name = |part: &str| format!("{}.{e}.{part}", names.experts);
            match self {
                Site::Down => all.push((name(names.down), (hidden, inside))),
                _ => all.extend(names.gate_up.map(|part| (name(part), (inside, hidden)))),
            }
        }
        if self == Site::GateUp {
            all.push((names.router.to_owned(), (experts.count, hidden)));
        }
        all
    }

    /// `(out, in)` of the whole product of layer `layer`.
    pub fn shape(self, arch: &Architecture, layer: usize) -> (usize, usize) {
        match (self, arch.experts_of(layer)) {
            (Site::Qkv, _) => (arch.qkv_columns(), arch.hidden_size),
            (Site::O, _) => (arch.hidden_size, arch.query_columns()),
            (Site::GateUp, None) => (arch.gate_up_columns(arch.intermediate_size), arch.hidden_size),
            (Site::Down, None) => (arch.hidden_size, arch.intermediate_size),
            (Site::GateUp, Some(experts)) => (stacked_gate_up(arch, experts) + experts.count, arch.hidden_size),
            (Site::Down, Some(experts)) => (experts.count * arch.hidden_size, experts.intermediate_size),
        }
    }
}

/// Rows of all experts' gates and ups.
fn stacked_gate_up(arch: &Architecture, experts: &Experts) -> usize {
    experts.count * arch.gate_up_columns(experts.intermediate_size)
}

/// A linear layer of a block that an adapter can be put on: one of a site's projections. All experts' gates and ups are
/// one, and so all experts' output projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Projection {
    pub site: Site,
    /// Its number within the site.
    pub index: usize,
}

impl Projection {
    /// More projections than any layer has: what random streams number them by.
    pub const MOST: usize = 7;

    /// All of layer `layer`, in the order in which adapters list them.
    pub fn of_layer(arch: &Architecture, layer: usize) -> Vec<Projection> {
        let of = |site: Site| (0..site.paths(arch, layer).len()).map(move |index| Projection { site, index });
        Site::ALL.into_iter().flat_map(of).collect()
    }

    /// All that a layer of some family may have, with their names.
    fn of_family(family: Family) -> Vec<(Projection, &'static str)> {
        let mut all = Vec::new();
        for site in Site::ALL {
            let mixture = if family.names().experts.is_some() { site.mixture_paths(family) } else { &[] };
            for paths in [site.plain_paths(family), mixture] {
                all.extend(paths.iter().enumerate().map(|(index, path)| (Projection { site, index }, *path)));
            }
        }
        all
    }

    /// The module's name within layer `layer`.
    pub fn path(self, arch: &Architecture, layer: usize) -> &'static str {
        self.site.paths(arch, layer)[self.index]
    }

    /// The full name of this module of layer `layer`.
    pub fn module(self, arch: &Architecture, layer: usize) -> String {
        arch.names().in_layer(layer, self.path(arch, layer))
    }

    /// The layer and the projection that a module's full name means in some family. Where families share a name
    /// they mean the same by it.
    pub fn parse(module: &str) -> Option<(usize, Self)> {
        Family::ALL.into_iter().find_map(|family| Self::parse_in(family, module))
    }

    /// [`Self::parse`] in one family.
    pub fn parse_in(family: Family, module: &str) -> Option<(usize, Self)> {
        let (layer, path) = module.strip_prefix(family.names().layers)?.strip_prefix('.')?.split_once('.')?;
        let (projection, _) = Self::of_family(family).into_iter().find(|(_, known)| *known == path)?;
        Some((layer.parse().ok()?, projection))
    }

    /// Whether it is a part of a mixture of experts: peft adapts these as parameters and not as modules.
    pub fn is_parameter(self, arch: &Architecture, layer: usize) -> bool {
        matches!(self.site, Site::GateUp | Site::Down) && arch.experts_of(layer).is_some()
    }

    /// How many experts' matrices it stands for; 1 for any other.
    pub fn experts(self, arch: &Architecture, layer: usize) -> usize {
        match (self.site, self.index, arch.experts_of(layer)) {
            (Site::GateUp | Site::Down, 0, Some(experts)) => experts.count,
            _ => 1,
        }
    }

    /// Its place among the seven projections of a Llama layer; a fused one has that of its first part, a router that of
    /// the second.
    pub fn place(self) -> usize {
        let first = match self.site {
            Site::Qkv => 0,
            Site::O => 3,
            Site::GateUp => 4,
            Site::Down => 6,
        };
        first + self.index
    }

    /// `(out, in)` of its weight; of experts all rows together.
    pub fn shape(self, arch: &Architecture, layer: usize) -> (usize, usize) {
        let (all, inner) = self.site.shape(arch, layer);
        let out = match (self.site, self.site.paths(arch, layer).len(), self.index, arch.experts_of(layer)) {
            (Site::GateUp, _, 0, Some(experts)) => stacked_gate_up(arch, experts),
            (Site::GateUp, _, _, Some(experts)) => experts.count,
            (_, 1, _, _) => all,
            (Site::Qkv, _, 0, _) => arch.query_columns(),
            (Site::Qkv, _, _, _) => arch.key_columns(),
            (_, parts, _, _) => all / parts,
        };
        (out, inner)
    }

    /// The shapes of an adapter's `A` and `B` of rank `rank`. Of experts, `A` holds each one's rows after those of the
    /// one before it, and `B` each one's first column, then each one's second one: peft's layout of parameters with
    /// three dimensions.
    pub fn pair_shapes(self, arch: &Architecture, layer: usize, rank: usize) -> [[usize; 2]; 2] {
        let ((out, inner), experts) = (self.shape(arch, layer), self.experts(arch, layer));
        [[rank * experts, inner], [out / experts, rank * experts]]
    }

    /// Its first column in the product of its [`Site`].
    pub fn column(self, arch: &Architecture, layer: usize) -> usize {
        (0..self.index).map(|index| Projection { index, ..self }.shape(arch, layer).0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_name_and_no_other_is() {
        for family in Family::ALL {
            for (p, path) in Projection::of_family(family) {
                let module = family.names().in_layer(12, path);
                assert_eq!(Projection::parse(&module), Some((12, p)), "{module}");
                assert_eq!(Projection::parse_in(family, &module), Some((12, p)), "{module}");
            }
        }
        assert_eq!(Projection::parse("lm_head"), None);
        assert_eq!(Projection::parse("model.layers.x.mlp.up_proj"), None);
        assert_eq!(Projection::parse("model.layers.1.mlp.up"), None);
        assert_eq!(Projection::parse_in(Family::Phi3, "model.layers.1.mlp.up_proj"), None);
        assert_eq!(Projection::parse_in(Family::Llama, "model.layers.1.mlp.gate"), None);
    }

    #[test]
    fn the_places_of_a_layers_projections_differ() {
        for family in Family::ALL {
            for paths in [Site::plain_paths, Site::mixture_paths] {
                let of = |site: Site| (0..paths(site, family).len()).map(move |index| Projection { site, index });
                let mut places: Vec<_> = Site::ALL.into_iter().flat_map(of).map(Projection::place).collect();
                let all = places.len();
                places.dedup();
                assert_eq!(places.len(), all);
                assert!(places.iter().all(|&place| place < Projection::MOST));
            }
        }
    }
}
