//! `ft-eval choice` with a tokenizer of Llama 2's kind, which puts a word mark before any text that it is given alone.
//! The models here know the answer, as long as they are asked in the tokens that the whole text has.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use crate::bench::Bench;

const HIDDEN: usize = 128;
const TEMPLATE: &str = "[INST] {{ messages[0]['content'] }} [/INST]";
const MARK: &str = "\u{2581}";

/// Single characters and a few merges, as Llama 2's `tokenizer.json` has its pipeline.
fn tokenizer() -> (Value, HashMap<String, u32>) {
    const MERGES: [&str; 5] = ["\u{2581} A", "\u{2581} B", "y e", "ye s", "\u{2581} yes"];
    let single = [String::from("<unk>"), MARK.into(), "\n".into()].into_iter().chain((' '..='~').map(String::from));
    let ids: HashMap<String, u32> = single.chain(MERGES.map(|merge| merge.replace(' ', ""))).zip(0..).collect();
    let vocabulary: Map<String, Value> = ids.iter().map(|(token, id)| (token.clone(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "pre_tokenizer": null,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": MARK},
            {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]},
        "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": MERGES},
    });
    (tokenizer, ids)
}

/// Writes a model whose next token depends on the last one alone: embeddings of a single one, layers that add nothing,
/// and a head with the logits of `likes` (after, next, logit); all others are 0.
fn write_bigrams(folder: &Path, likes: &[(&str, &str, f32)]) {
    let (tokenizer, ids) = tokenizer();
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
        "vocab_size": ids.len(), "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "max_position_embeddings": 512,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let matrix = |rows: usize, columns: usize, values: &[(usize, usize, f32)]| {
        let mut all = vec![0.0; rows * columns];
        for &(row, column, value) in values {
            all[row * columns + column] = value;
        }
        Tensor::from_vec(all, (rows, columns), &Device::Cpu).unwrap()
    };
    let ones = || Tensor::ones(HIDDEN, candle_core::DType::F32, &Device::Cpu).unwrap();
    let embeddings: Vec<_> = (0..ids.len()).map(|id| (id, id, 1.0)).collect();
    // The final norm makes the one of an embedding the root of HIDDEN.
    let id = |token: &str| ids[token] as usize;
    let head: Vec<_> = likes.iter().map(|&(a, b, logit)| (id(b), id(a), logit / (HIDDEN as f32).sqrt())).collect();
    let mut tensors = HashMap::from([
        ("model.embed_tokens.weight".to_owned(), matrix(ids.len(), HIDDEN, &embeddings)),
        ("lm_head.weight".to_owned(), matrix(ids.len(), HIDDEN, &head)),
        ("model.norm.weight".to_owned(), ones()),
        ("model.layers.0.mlp.gate_proj.weight".to_owned(), matrix(32, HIDDEN, &[])),
        ("model.layers.0.mlp.up_proj.weight".to_owned(), matrix(32, HIDDEN, &[])),
        ("model.layers.0.mlp.down_proj.weight".to_owned(), matrix(HIDDEN, 32, &[])),
    ]);
    for name in ["input_layernorm", "post_attention_layernorm"] {
        tensors.insert(format!("model.layers.0.{name}.weight"), ones());
    }
    for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
        tensors.insert(format!("model.layers.0.self_attn.{name}.weight"), matrix(HIDDEN, HIDDEN, &[]));
    }
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

/// The accuracy on questions whose second choice is right.
fn accuracy(bench: &Bench, format: &str) -> f64 {
    let line = |i: u32| json!({"question": format!("{i}?"), "choices": ["no", "yes"], "answer": 1}).to_string() + "\n";
    std::fs::write(bench.path("q.jsonl"), (0..5).map(line).collect::<String>()).unwrap();
    let out = bench.run_on("choice", "bigrams".as_ref(), &["q.jsonl", "--format", format], b"");
    out.figures()["accuracy"].as_f64().unwrap()
}

#[test]
fn a_model_that_is_always_right_is_right_in_plain_text() {
    let bench = Bench::new();
    // After a lone word mark it would be wrong.
    let wrong = [(MARK, "\u{2581}A", 9.0), (MARK, MARK, 9.0), (MARK, "n", 9.0), ("n", "o", 9.0)];
    let right = [(":", "\u{2581}B", 8.0), (":", "\u{2581}A", 4.0), (":", "\u{2581}yes", 8.0), (":", MARK, 4.0)];
    write_bigrams(&bench.path("bigrams"), &[&wrong[..], &right].concat());
    assert_eq!((accuracy(&bench, "letters"), accuracy(&bench, "text")), (1.0, 1.0));
}

#[test]
fn a_model_that_is_always_right_is_right_in_its_template() {
    let bench = Bench::new();
    // Where the choice begins with a word mark of its own it would be wrong.
    let wrong = [("]", "\u{2581}A", 9.0), ("]", MARK, 9.0), (MARK, "n", 9.0), ("n", "o", 9.0)];
    let right = [("]", "B", 8.0), ("]", "A", 4.0), ("]", "yes", 8.0), ("]", "n", 4.0)];
    write_bigrams(&bench.path("bigrams"), &[&wrong[..], &right].concat());
    std::fs::write(bench.path("bigrams").join("chat_template.jinja"), TEMPLATE).unwrap();
    assert_eq!((accuracy(&bench, "letters"), accuracy(&bench, "text")), (1.0, 1.0));
}
