//! Layers with and without a window, and what else differs between them.

use serde_json::Value;

use crate::arch::keys::{Keys, unsupported};
use crate::arch::rope_config::{Base, build};
use crate::arch::{Architecture, LayerKind, Rope};
use crate::error::Result;

/// Layers with a window where `layer_types` says so, or else `slides` does.
pub(super) fn windows(
    keys: Keys<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<LayerKind>> {
    let types = keys.list("layer_types", layers)?;
    let one = |i: usize| -> Result<LayerKind> {
        let slides = match types.map(|list| &list[i]) {
            None => slides(i),
            Some(word) if word == "sliding_attention" => true,
            Some(word) if word == "full_attention" => false,
            Some(other) => return Err(unsupported("layer_types", other, "full_attention or sliding_attention")),
        };
        Ok(LayerKind { sliding_window: window.filter(|_| slides), rope: Some(0), is_mixture: false })
    };
    (0..layers).map(one).collect()
}

/// Layers without a window turn by the second rotary embedding.
pub(super) fn turn_by_kind(layers: &mut [LayerKind]) {
    for layer in layers.iter_mut().filter(|layer| layer.sliding_window.is_none()) {
        layer.rope = Some(1);
    }
}

/// Layers without a window do not turn, where others have one.
pub(super) fn turn_in_windows(layers: &mut [LayerKind]) {
    if layers.iter().any(|layer| layer.sliding_window.is_some()) {
        layers.iter_mut().filter(|layer| layer.sliding_window.is_none()).for_each(|layer| layer.rope = None);
    }
}

/// The rotary embedding of layers with a window, and that of those without, which alone is stretched in the old style;
/// `thetas` are their bases where nothing else says them.
pub(super) fn ropes_by_kind(keys: Keys<'_>, arch: &Architecture, thetas: [f64; 2]) -> Result<Vec<Rope>> {
    let parameters = keys.object("rope_parameters")?;
    let of = |kind: &str| parameters.map_or(Ok(None), |p| p.object(kind));
    let (local, global) = (of("sliding_attention")?, of("full_attention")?);
    // Where both styles are written the old one's words count, as in transformers.
    let mut words = global.map(Keys::all).cloned().unwrap_or_default();
    if let Some(old) = keys.object("rope_scaling")? {
        let differs = |(key, value): (&String, &Value)| words.get(key) != Some(value);
        if global.is_some() && old.all().iter().any(differs) {
            tracing::warn!(
                "config.json has both rope_scaling and rope_parameters, and they differ: rope_scaling counts, as in transformers"
            );
        }
        words.extend(old.all().clone());
    }
    let global = Some(keys.over(&words)).filter(|words| !words.is_empty());
    let base = |theta: f64| Base {
        theta,
        share: 1.0,
        partial: false,
        pairs: false,
        head_dim: arch.head_dim,
        context: arch.max_position_embeddings,
    };
    Ok(vec![build(keys, local, base(thetas[0]))?, build(keys, global, base(thetas[1]))?])
}
