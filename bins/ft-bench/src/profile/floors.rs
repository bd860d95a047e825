//! The least that a step's parts could take: operations over the rate of the best product, bytes over that of copies.
//!
//! Counted as in [`crate::flops`]: what the step asks for, not what is done twice. Of elementwise operators the bytes are
//! those of each input read once and each output written once.

use std::time::Instant;

use ft_model::Architecture;
use ft_model::lora::Adapter;
use ft_model::projection::{Projection, Site};
use rayon::prelude::*;

use super::listener::Key;

/// The sizes of a step, and what the machine can do.
pub struct Floors<'a> {
    pub arch: &'a Architecture,
    pub adapter: &'a Adapter,
    pub sequences: usize,
    pub length: usize,
    /// Operations a second.
    pub flops: f64,
    /// Bytes a second, those read and those written.
    pub bytes: f64,
}

impl Floors<'_> {
    /// The least seconds of an operator in one step; none of what is not counted.
    pub fn seconds(&self, key: Key) -> Option<f64> {
        if self.arch.experts.is_some() {
            return None;
        }
        let backward = key.pass == "backward";
        let site = [("qkv", Site::Qkv), ("o", Site::O), ("gate_up", Site::GateUp), ("down", Site::Down)];
        if let Some((_, site)) = site.into_iter().find(|(name, _)| *name == key.name) {
            return Some(self.product(site, backward) / self.flops);
        }
        let (arch, tokens, layers) = (self.arch, self.tokens(), self.arch.num_layers as f64);
        let columns = |columns: usize| tokens * layers * columns as f64 * 4.0 / self.bytes;
        Some(match key.name {
            "attention" => {
                let pairs = tokens * (self.length + 1) as f64 / 2.0;
                let width = (arch.num_heads * arch.head_dim) as f64;
                layers * width * pairs * if backward { 8.0 } else { 4.0 } / self.flops
            }
            "head" => {
                let rows = (self.sequences * (self.length - 1)) as f64;
                2.0 * rows * (arch.vocab_size * arch.hidden_size) as f64 / self.flops
            }
            // Two a layer. Backward they are formed again, and three inputs make a gradient.
            "norm" => columns(arch.hidden_size * if backward { 2 * (2 + 4) } else { 2 * 2 }),
            "rotation" => columns(2 * (arch.query_columns() + arch.key_columns())),
            "activation" => {
                let (read, write) = (arch.gate_up_columns(arch.intermediate_size), arch.intermediate_size);
                columns(if backward { (read + write) + (write + 2 * read) } else { read + write })
            }
            _ => return None,
        })
    }

    fn tokens(&self) -> f64 {
        (self.sequences * self.length) as f64
    }

    /// The operations of a site's product in all layers, adapters included. Nothing asks for the first layer's input.
    fn product(&self, site: Site, backward: bool) -> f64 {
        let mut sum = 0.0;
        for layer in 0..self.arch.num_layers {
            let wanted = !backward || layer > 0 || site != Site::Qkv;
            let projections = Projection::of_layer(self.arch, layer).into_iter().filter(|p| p.site() == site);
            for (out, inner) in projections.map(|p| p.shape(self.arch, layer)) {
                sum += (out * inner) as f64 * f64::from(u8::from(wanted));
            }
            let on_site = |module: &str| matches!(Projection::parse_in(self.arch.family, module), Some((l, p)) if l == layer && p.site() == site);
            for pair in self.adapter.modules().iter().filter(|pair| on_site(&pair.module)) {
                let (a, b) = (pair.a.elem_count() as f64, pair.b.elem_count() as f64);
                sum += match (backward, wanted) {
                    (false, _) => a + b,
                    (true, true) => 2.0 * (a + b),
                    (true, false) => a + 2.0 * b,
                };
            }
        }
        2.0 * self.tokens() * sum
    }
}

/// The bytes a second, read and written, of copying what no cache holds, with all threads; the best of some runs.
pub fn copy_rate() -> f64 {
    const ELEMENTS: usize = 1 << 25;
    const PIECE: usize = 1 << 16;
    let (from, mut to) = (vec![1.0f32; ELEMENTS], vec![0.0f32; ELEMENTS]);
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let began = Instant::now();
        to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
        best = best.min(began.elapsed().as_secs_f64());
        std::hint::black_box(&mut to);
    }
    (2 * ELEMENTS * size_of::<f32>()) as f64 / best
}

#[cfg(test)]
mod tests {
    use ft_model::lora::LoraConfig;
    use serde_json::json;

    use super::*;
    use crate::flops::StepFlops;

    /// The products' operations are those that a step counts.
    #[test]
    fn the_parts_are_the_whole() {
        let arch = Architecture::from_config(&json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
            "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        }))
        .unwrap();
        let adapter = Adapter::init(&arch, LoraConfig::new(3, 6.0, "all-linear"), 0).unwrap();
        let floors = Floors { arch: &arch, adapter: &adapter, sequences: 2, length: 5, flops: 1.0, bytes: 1.0 };
        let names = ["qkv", "o", "gate_up", "down", "attention", "head"];
        let keys = names.into_iter().flat_map(|name| ["forward", "backward"].map(|pass| Key { name, pass }));
        let sum: f64 = keys.filter_map(|key| floors.seconds(key)).sum();
        assert_eq!(sum, StepFlops::new(&arch, &adapter, 2, 5).total());
        // [10, 8] read and written twice in three layers, of four bytes each.
        assert_eq!(floors.seconds(Key { name: "norm", pass: "forward" }), Some(10.0 * 8.0 * 4.0 * 4.0 * 3.0));
        assert_eq!(floors.seconds(Key { name: "optimizer", pass: "" }), None);
    }
}
