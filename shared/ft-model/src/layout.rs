//! Where each projection stands in its layer's fused products, and what modules and tensors it is called.
//!
//! In a mixture of experts all experts' matrices are one product, an expert's rows after those of the one before it, and
//! the router's, which reads the same input, follow them.

use crate::arch::{Architecture, Experts, Family, NamedProjection};
use crate::projection::{Projection, Site};

/// The modules of a mixture of experts as transformers has them in memory, in the order of [`Site::GateUp`]'s rows and
/// then [`Site::Down`]'s: peft's `target_parameters` name these, whatever the checkpoint calls the experts.
const MIXTURE_GATE_UP: [NamedProjection; 2] =
    [(Projection::ExpertsGateUp, "mlp.experts.gate_up_proj"), (Projection::Router, "mlp.gate")];
/// See [`MIXTURE_GATE_UP`].
const MIXTURE_DOWN: [NamedProjection; 1] = [(Projection::ExpertsDown, "mlp.experts.down_proj")];

impl Site {
    /// The projections of this product in a family's layer without a mixture of experts, in the order of their columns.
    fn of_plain(self, family: Family) -> &'static [NamedProjection] {
        let names = family.names();
        match self {
            Site::Qkv => names.qkv,
            Site::O => names.o,
            Site::GateUp => names.gate_up,
            Site::Down => names.down,
        }
    }

    /// [`Self::of_plain`] in a layer with one.
    fn of_mixture(self, family: Family) -> &'static [NamedProjection] {
        match self {
            Site::Qkv | Site::O => self.of_plain(family),
            Site::GateUp => &MIXTURE_GATE_UP,
            Site::Down => &MIXTURE_DOWN,
        }
    }

    /// This product's projections in layer `layer`, each with its name there, in the order of their columns.
    fn named(self, arch: &Architecture, layer: usize) -> &'static [NamedProjection] {
        match arch.experts_of(layer) {
            Some(_) => self.of_mixture(arch.family),
            None => self.of_plain(arch.family),
        }
    }

    /// The matrices that the checkpoint holds of this product, in the order of their columns: each by its name within
    /// layer `layer`, without `.weight`, with its `(out, in)`.
    pub fn stored(self, arch: &Architecture, layer: usize) -> Vec<(String, (usize, usize))> {
        let names = arch.names().experts.zip(arch.experts_of(layer));
        let Some((names, experts)) = names.filter(|_| matches!(self, Site::GateUp | Site::Down)) else {
            let one = |(projection, path): &NamedProjection| ((*path).to_owned(), projection.shape(arch, layer));
            return self.named(arch, layer).iter().map(one).collect();
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
            (Site::GateUp, Some(experts)) => (experts_gate_up(arch, experts) + experts.count, arch.hidden_size),
            (Site::Down, Some(experts)) => (experts.count * arch.hidden_size, experts.intermediate_size),
        }
    }
}

/// Rows of all experts' gates and ups.
fn experts_gate_up(arch: &Architecture, experts: &Experts) -> usize {
    experts.count * arch.gate_up_columns(experts.intermediate_size)
}

impl Projection {
    /// All of layer `layer`, in the order in which adapters list them.
    pub fn of_layer(arch: &Architecture, layer: usize) -> Vec<Projection> {
        Site::ALL.into_iter().flat_map(|site| site.named(arch, layer)).map(|(projection, _)| *projection).collect()
    }

    /// All that a layer of some family may have, with their names.
    fn of_family(family: Family) -> impl Iterator<Item = &'static NamedProjection> {
        let mixture = move |site: Site| if family.names().experts.is_some() { site.of_mixture(family) } else { &[] };
        Site::ALL.into_iter().flat_map(move |site| site.of_plain(family).iter().chain(mixture(site)))
    }

    /// The module's name within layer `layer`; empty where the layer has no such projection.
    pub fn path(self, arch: &Architecture, layer: usize) -> &'static str {
        let mut named = self.site().named(arch, layer).iter();
        named.find(|(projection, _)| *projection == self).map_or("", |(_, path)| path)
    }

    /// The full name of this module of layer `layer`.
    pub fn module(self, arch: &Architecture, layer: usize) -> String {
        arch.names().in_layer(layer, self.path(arch, layer))
    }

    /// The layer and the projection that a module's full name means in some family. Where families share a name they
    /// mean the same by it.
    pub fn parse(module: &str) -> Option<(usize, Self)> {
        Family::ALL.into_iter().find_map(|family| Self::parse_in(family, module))
    }

    /// [`Self::parse`] in one family.
    pub fn parse_in(family: Family, module: &str) -> Option<(usize, Self)> {
        let (layer, path) = module.strip_prefix(family.names().layers)?.strip_prefix('.')?.split_once('.')?;
        let (projection, _) = Self::of_family(family).find(|(_, known)| *known == path)?;
        Some((layer.parse().ok()?, *projection))
    }

    /// How many experts' matrices it stands for; 1 for any other.
    pub fn experts(self, arch: &Architecture, layer: usize) -> usize {
        arch.experts_of(layer).filter(|_| self.is_of_experts()).map_or(1, |experts| experts.count)
    }

    /// `(out, in)` of its weight; of experts all rows together.
    pub fn shape(self, arch: &Architecture, layer: usize) -> (usize, usize) {
        let (all, inner) = self.site().shape(arch, layer);
        let experts = arch.experts_of(layer);
        let out = match self {
            Projection::Q => arch.query_columns(),
            Projection::K | Projection::V => arch.key_columns(),
            Projection::Gate | Projection::Up => all / if arch.gated { 2 } else { 1 },
            Projection::ExpertsGateUp => experts.map_or(all, |experts| experts_gate_up(arch, experts)),
            Projection::Router => experts.map_or(all, |experts| experts.count),
            Projection::Qkv
            | Projection::O
            | Projection::GateUp
            | Projection::UpOnly
            | Projection::Down
            | Projection::ExpertsDown => all,
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
        let before = self.site().named(arch, layer).iter().take_while(|(projection, _)| *projection != self);
        before.map(|(projection, _)| projection.shape(arch, layer).0).sum()
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
                assert_eq!(Projection::parse_in(family, &module), Some((12, *p)), "{module}");
                assert_eq!(Projection::parse(&module), Some((12, *p)), "{module}");
            }
        }
        assert_eq!(Projection::parse("lm_head"), None);
        assert_eq!(Projection::parse("model.layers.x.mlp.up_proj"), None);
        assert_eq!(Projection::parse("model.layers.1.mlp.up"), None);
        assert_eq!(Projection::parse_in(Family::Phi3, "model.layers.1.mlp.up_proj"), None);
        assert_eq!(Projection::parse_in(Family::Llama, "model.layers.1.mlp.gate"), None);
    }

    #[test]
    fn names_stand_at_the_site_that_they_belong_to() {
        for family in Family::ALL {
            for of in [Site::of_plain, Site::of_mixture] {
                for site in Site::ALL {
                    assert!(of(site, family).iter().all(|(projection, _)| projection.site() == site), "{family:?}");
                }
                let all: Vec<Projection> = Site::ALL
                    .into_iter()
                    .flat_map(|site| of(site, family))
                    .map(|(projection, _)| *projection)
                    .collect();
                assert!(all.is_sorted_by_key(|projection| projection.stream(0)), "{family:?} {all:?}");
            }
        }
    }
}
