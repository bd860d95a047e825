//! How many floating-point operations training and generation need.
//!
//! A product of `[m, k]` and `[k, n]` counts `2·m·k·n`. With `T` tokens in sequences of `S`, of which `R` rows
//! have a label:
//!
//! | part | forward | backward |
//! |---|---|---|
//! | frozen matrices of the layers, `P` elements | `2·T·P` | `2·T·P`: the input's gradient alone, for they are not trained |
//! | adapters, `A` elements | `2·T·A` | `4·T·A`: input and weights |
//! | attention, `heads·head_dim = d` | `4·d·T·(S+1)/2` a layer | twice that |
//! | head, `V·h` elements | `2·R·V·h` | `2·R·V·h` |
//!
//! Of a mixture of experts `P` and `A` count what a token sees: its own experts.
//!
//! Left out is what nothing asks for: the first layer's queries, keys and values have no input whose gradient is wanted.
//! Operations that are done a second time (recomputed layers, attention's scores in backward, an adapter's `x·Aᵀ`)
//! count once, and those that are no product (norms, softmax, activations, AdamW) not at all. So the figure belongs to
//! the step and not to the way it is computed, and recomputing shows as a smaller share.

use ft_model::Architecture;
use ft_model::lora::Adapter;
use ft_model::projection::{Projection, Site};
use serde::Serialize;

/// Operations of one optimizer step, by part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepFlops {
    pub layers: f64,
    pub adapters: f64,
    pub attention: f64,
    pub head: f64,
}

/// The frozen elements of a projection of layer `layer` that a token sees: of experts those that it is sent to.
fn elements(arch: &Architecture, layer: usize, projection: Projection) -> f64 {
    let (out, inner) = projection.shape(arch, layer);
    (out * inner) as f64 * seen(arch, layer, projection)
}

/// The share of a projection's matrices that a token sees.
fn seen(arch: &Architecture, layer: usize, projection: Projection) -> f64 {
    match (projection.experts(arch, layer), arch.experts_of(layer)) {
        (count @ 2.., Some(experts)) => experts.per_token as f64 / count as f64,
        _ => 1.0,
    }
}

/// Elements that a token sees of all the matrices of all layers.
fn layer_elements(arch: &Architecture) -> f64 {
    let of = |layer| Projection::of_layer(arch, layer).into_iter().map(move |p| elements(arch, layer, p));
    (0..arch.num_layers).flat_map(of).sum()
}

/// Elements that a token sees of an adapter; what is trained beside pairs counts whole.
fn adapter_elements(arch: &Architecture, adapter: &Adapter) -> f64 {
    let unseen = adapter.modules().iter().filter_map(|pair| {
        let (layer, projection) = Projection::parse_in(arch.family, &pair.module)?;
        Some((pair.a.elem_count() + pair.b.elem_count()) as f64 * (1.0 - seen(arch, layer, projection)))
    });
    adapter.parameters() as f64 - unseen.sum::<f64>()
}

/// A forward through all layers over `tokens` tokens that look at `pairs` keys in all, with the logits of `rows` rows.
fn forward(arch: &Architecture, tokens: f64, pairs: f64, rows: f64) -> f64 {
    let width = (arch.num_heads * arch.head_dim) as f64;
    let head = (arch.vocab_size * arch.hidden_size) as f64;
    2.0 * tokens * layer_elements(arch) + 4.0 * width * pairs * arch.num_layers as f64 + 2.0 * rows * head
}

/// Reading `sequences` prompts of `length` tokens: every token goes through the layers, the last one of each through
/// the head.
pub fn prefill(arch: &Architecture, sequences: usize, length: usize) -> f64 {
    let (n, length) = (sequences as f64, length as f64);
    forward(arch, n * length, n * length * (length + 1.0) / 2.0, n)
}

/// `steps` more tokens of `sequences` sequences that have `length` tokens already.
pub fn decode(arch: &Architecture, sequences: usize, length: usize, steps: usize) -> f64 {
    let keys: f64 = (1..=steps).map(|step| (length + step) as f64).sum();
    let (n, steps) = (sequences as f64, steps as f64);
    forward(arch, n * steps, n * keys, n * steps)
}

impl StepFlops {
    /// Of `sequences` sequences of `length` tokens, each with a label.
    pub fn new(arch: &Architecture, adapter: &Adapter, sequences: usize, length: usize) -> Self {
        let tokens = (sequences * length) as f64;
        let inputs = Projection::of_layer(arch, 0).into_iter().filter(|p| p.site() == Site::Qkv);
        let unwanted: f64 = inputs.map(|p| elements(arch, 0, p)).sum();
        let layers = arch.num_layers as f64;
        let unwanted_adapters: f64 = adapter
            .modules()
            .iter()
            .filter(|pair| matches!(Projection::parse(&pair.module), Some((0, p)) if p.site() == Site::Qkv))
            .map(|pair| pair.a.elem_count() as f64)
            .sum();
        let pairs = tokens * (length + 1) as f64 / 2.0;
        let width = (arch.num_heads * arch.head_dim) as f64;
        // The first token of a sequence has nothing before it that could predict it.
        let rows = (sequences * (length - 1)) as f64;
        Self {
            layers: 2.0 * tokens * (2.0 * layer_elements(arch) - unwanted),
            adapters: 2.0 * tokens * (3.0 * adapter_elements(arch, adapter) - unwanted_adapters),
            attention: 3.0 * layers * 4.0 * width * pairs,
            head: 2.0 * 2.0 * rows * (arch.vocab_size * arch.hidden_size) as f64,
        }
    }

    pub fn total(&self) -> f64 {
        self.layers + self.adapters + self.attention + self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ft_model::lora::LoraConfig;
    use serde_json::json;

    fn small() -> Architecture {
        Architecture::from_config(&json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
            "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        }))
        .unwrap()
    }

    /// Against the products themselves, one by one.
    #[test]
    fn a_small_model_counted_by_hand() {
        let arch = small();
        let adapter = Adapter::init(&arch, LoraConfig::new(3, 6.0, "all-linear"), 0).unwrap();
        let flops = StepFlops::new(&arch, &adapter, 2, 5);
        let product = |m: f64, k: f64, n: f64| 2.0 * m * k * n;
        let shapes = [(8.0, 8.0), (4.0, 8.0), (4.0, 8.0), (8.0, 8.0), (12.0, 8.0), (12.0, 8.0), (8.0, 12.0)];
        let (mut layers, mut adapters) = (0.0, 0.0);
        for layer in 0..2 {
            for (i, (out, inner)) in shapes.into_iter().enumerate() {
                let wanted = if layer == 0 && i < 3 { 0.0 } else { 1.0 };
                layers += product(10.0, inner, out) * (1.0 + wanted);
                let (low, up) = (product(10.0, inner, 3.0), product(10.0, 3.0, out));
                adapters += low + up + (low + up) + up + low * wanted;
            }
        }
        assert_eq!((flops.layers, flops.adapters), (layers, adapters));
        // Two sequences, two layers, two heads of 4: 15 pairs each, two products forward and four backward.
        assert_eq!(flops.attention, 2.0 * 2.0 * 2.0 * 15.0 * (2.0 * 4.0) * 6.0);
        assert_eq!(flops.head, 2.0 * product(8.0, 8.0, 10.0));
        assert_eq!(flops.total(), flops.layers + flops.adapters + flops.attention + flops.head);
    }

    /// Reading a token after the others costs what reading it with them costs, but for the logits.
    #[test]
    fn prefill_and_decode_agree() {
        let arch = small();
        let logits = 2.0 * 8.0 * 10.0;
        let one_by_one = prefill(&arch, 3, 1) + decode(&arch, 3, 1, 4);
        assert_eq!(one_by_one, prefill(&arch, 3, 5) + 3.0 * 4.0 * logits);
        assert_eq!(decode(&arch, 1, 5, 0), 0.0);
    }
}
