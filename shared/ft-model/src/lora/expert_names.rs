//! What peft and checkpoints call the parts of a mixture of experts.

use crate::arch::{Architecture, Family};
use crate::projection::Projection;

/// What `target_parameters` call them: gate and up, the output projection, the router.
pub(super) const GATE_UP: &str = "gate_up_proj";
/// See [`GATE_UP`].
pub(super) const DOWN: &str = "down_proj";
/// See [`GATE_UP`].
pub(super) const ROUTER: &str = "gate.weight";
/// What the names of the modules with the first two end with.
pub(super) const CONTAINER: &str = ".mlp.experts";
/// What peft puts after it for the first one, which it wraps first, where the second is adapted too.
pub(super) const INNER: &str = ".mlp.experts.base_layer";

/// Whether a module's name means all experts' matrices of a kind.
pub(super) fn is_of_experts(module: &str) -> bool {
    module.rsplit_once('.').is_some_and(|(container, _)| container.ends_with(CONTAINER))
}

/// The full name of a parameter.
pub(super) fn parameter(arch: &Architecture, layer: usize, projection: Projection) -> String {
    let module = projection.module(arch, layer);
    if is_of_experts(&module) { module } else { format!("{module}.weight") }
}

/// The names by which `target_modules` mean parts of a mixture, each with its parameter.
pub(super) fn words(arch: &Architecture) -> Vec<(&'static str, &'static str)> {
    if arch.experts.is_some() { words_of(arch.family) } else { Vec::new() }
}

/// [`words`] of a family.
pub(super) fn words_of(family: Family) -> Vec<(&'static str, &'static str)> {
    let Some(names) = family.names().experts else { return Vec::new() };
    let [gate, up] = names.gate_up;
    vec![("gate", ROUTER), (gate, GATE_UP), (up, GATE_UP), (names.down, DOWN)]
}

/// [`words`], without what they mean.
pub(super) fn expert_words(arch: &Architecture) -> impl Iterator<Item = &'static str> {
    words(arch).into_iter().map(|(word, _)| word)
}
