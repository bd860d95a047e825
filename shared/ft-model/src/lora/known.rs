//! The modules that a model has, for targets to be matched with.

use std::collections::BTreeSet;

use super::ends::End;
use super::expert_names::expert_words;
use super::targets::{Targets, ends_with};
use crate::arch::Architecture;
use crate::projection::Projection;

/// The names among `targets` that match none of the model's modules.
pub(super) fn unknown<'a>(targets: &'a Targets, arch: &Architecture) -> Vec<&'a str> {
    let Targets::Many(names) = targets else { return Vec::new() };
    let of = |layer: usize| {
        let modules = Projection::of_layer(arch, layer).into_iter().filter(|p| !p.is_of_mixture());
        modules.map(move |p| p.module(arch, layer))
    };
    let all: Vec<String> = (0..arch.num_layers).flat_map(of).collect();
    let exists = |name: &str| {
        all.iter()
            .map(String::as_str)
            .chain(End::ALL.map(|end| end.module(arch.family)))
            .any(|module| ends_with(module, name))
    };
    names.iter().map(String::as_str).filter(|name| !exists(name)).collect()
}

/// The last parts of the names of all linear layers that are modules, sorted.
pub(super) fn leaves(arch: &Architecture) -> Vec<String> {
    let names: BTreeSet<&str> = (0..arch.num_layers).flat_map(|layer| of_layer(arch, layer)).collect();
    names.into_iter().map(Into::into).collect()
}

/// The last parts of the names of a layer's modules, in its order.
fn of_layer(arch: &Architecture, layer: usize) -> impl Iterator<Item = &'static str> {
    let modules = Projection::of_layer(arch, layer).into_iter().filter(|p| !p.is_of_mixture());
    modules.map(move |p| {
        let path = p.path(arch, layer);
        path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
    })
}

/// What can be targeted, for messages.
pub(super) fn known(arch: &Architecture) -> String {
    let mut all: Vec<&str> = Vec::new();
    for name in (0..arch.num_layers).flat_map(|layer| of_layer(arch, layer)).chain(expert_words(arch)) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(", ")
}
