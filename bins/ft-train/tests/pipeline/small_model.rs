//! A model of two narrow layers that speaks with SmolLM2's tokenizer and template.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

const HIDDEN: usize = 32;
const INNER: usize = 64;

/// Makes the SmolLM2 in a folder such a model; its weights are always the same.
pub fn shrink(folder: &Path) {
    let file = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let vocabulary = usize::try_from(config["vocab_size"].as_u64().unwrap()).unwrap();
    for (key, size) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INNER),
        ("num_hidden_layers", 2),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("head_dim", HIDDEN / 2),
    ] {
        config[key] = json!(size);
    }
    fs::write(file, config.to_string()).unwrap();
    let shapes = shapes(vocabulary);
    let mut state = 7u32;
    let values: Vec<Vec<u8>> = shapes.values().map(|shape| numbers(shape, &mut state)).collect();
    let views: HashMap<&String, TensorView<'_>> = shapes
        .iter()
        .zip(&values)
        .map(|((name, shape), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// The little-endian f32 of a tensor: ones for a norm, else numbers within 0.2 of 0.
fn numbers(shape: &[usize], state: &mut u32) -> Vec<u8> {
    let mut next = || {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.2 * (((*state >> 8) as f32) / (1 << 23) as f32 - 1.0)
    };
    let is_norm = shape.len() == 1;
    (0..shape.iter().product()).flat_map(|_| if is_norm { 1.0f32 } else { next() }.to_le_bytes()).collect()
}

fn shapes(vocabulary: usize) -> std::collections::BTreeMap<String, Vec<usize>> {
    let mut shapes = std::collections::BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ]);
    let of_a_layer: [(&str, Vec<usize>); 9] = [
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![HIDDEN / 2, HIDDEN]),
        ("self_attn.v_proj", vec![HIDDEN / 2, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("mlp.gate_proj", vec![INNER, HIDDEN]),
        ("mlp.up_proj", vec![INNER, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, INNER]),
        ("input_layernorm", vec![HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
    ];
    for layer in 0..2 {
        shapes.extend(
            of_a_layer.iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape.clone())),
        );
    }
    shapes
}
