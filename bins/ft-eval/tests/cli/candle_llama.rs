//! The same weights in an independent model: candle-transformers' llama.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use ft_kernels::Compute;
use ft_model::Checkpoint;
use ft_model::batch::Batch;
use ft_model::decoder::Decoder;
use ft_model::layers::Resident;
use serde_json::Value;

use crate::bench::{smollm2, testdata};

#[test]
fn logits_are_those_of_candle_transformers() {
    let checkpoint = Checkpoint::open(&smollm2()).unwrap();
    let arch = checkpoint.architecture().clone();
    let tensors: HashMap<String, Tensor> = checkpoint
        .names()
        .into_iter()
        .map(|name| (name.clone(), checkpoint.tensor(&name, DType::F32).unwrap()))
        .collect();
    let config = LlamaConfig {
        hidden_size: arch.hidden_size,
        intermediate_size: arch.intermediate_size,
        vocab_size: arch.vocab_size,
        num_hidden_layers: arch.num_layers,
        num_attention_heads: arch.num_heads,
        num_key_value_heads: Some(arch.num_kv_heads),
        rms_norm_eps: arch.norm_eps,
        rope_theta: arch.ropes[0].theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: arch.max_position_embeddings,
        tie_word_embeddings: Some(arch.tie_word_embeddings),
    }
    .into_config(false);
    let theirs = Llama::load(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &config).unwrap();
    let source = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
    let ours = Decoder { compute: Compute::cpu(), arch: &arch, source: &source, adapter: None };

    let text = std::fs::read(testdata("smollm2/reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let ids = |key: &str| {
        let ids = reference["greedy"][0][key].as_array().unwrap();
        ids.iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<u32>>()
    };
    let (prompt, answer) = (ids("prompt_ids"), ids("answer_ids"));
    let whole = [prompt.clone(), answer.clone()].concat();
    let logits = ours.logits(&Batch::of_prompts(&[&whole])).unwrap();

    // The prompt at once, then the answer's tokens one by one, through candle's own cache.
    let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let mut largest = 0.0f32;
    let mut position = 0;
    for tokens in std::iter::once(prompt.as_slice()).chain(answer.chunks(1)) {
        let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let expected = theirs.forward(&input, position, &mut cache).unwrap().squeeze(0).unwrap();
        position += tokens.len();
        let found = logits.get(position - 1).unwrap();
        let difference = (found - expected).unwrap().abs().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        largest = largest.max(difference);
    }
    println!("largest difference to candle-transformers: {largest:e}");
    assert!(largest < 2e-3, "{largest}");
}
