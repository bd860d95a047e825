use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::error::Error;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference")
}

fn reference(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(root().join(file)).unwrap()).unwrap()
}

fn small(changes: &Value) -> Value {
    let mut config = reference("llama-s0/model/config.json");
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// The names of all reference models.
fn references() -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn both_key_styles_give_the_same_architecture() {
    for name in references() {
        let new = Architecture::from_config(&reference(&format!("{name}/model/config.json"))).unwrap();
        let mut old = Architecture::from_config(&reference(&format!("{name}/model/config_v4.json"))).unwrap();
        old.raw = new.raw.clone();
        assert_eq!(new, old, "{name}");
        let early = format!("{name}/model/config_early.json");
        if root().join(&early).is_file() {
            let mut early = Architecture::from_config(&reference(&early)).unwrap();
            early.raw = new.raw.clone();
            assert_eq!(new, early, "{name}");
        }
    }
}

#[test]
fn every_family_has_a_reference() {
    let read = |name: &String| Architecture::from_config(&reference(&format!("{name}/model/config.json"))).unwrap();
    let families: Vec<_> = references().iter().map(|name| read(name).family).collect();
    for family in Family::ALL {
        assert!(families.contains(&family), "{family:?}");
    }
}

#[test]
fn the_fields_are_the_files() {
    let arch = Architecture::from_config(&reference("llama_tied_bias-s0/model/config.json")).unwrap();
    assert_eq!((arch.num_heads, arch.num_kv_heads, arch.head_dim), (4, 2, 24));
    assert!(arch.tie_word_embeddings && arch.qkv_bias && arch.o_bias && arch.mlp_bias);
    assert_eq!(arch.ropes, [Rope { theta: 100_000.0, dims: 24, pairs: false, scaling: RopeScaling::None }]);
    assert_eq!((arch.bos_token_id, arch.eos_token_ids.as_slice()), (Some(1), &[2][..]));
    let names: Vec<_> = arch.tensors().into_iter().map(|t| t.name).collect();
    assert!(names.contains(&"model.layers.1.mlp.down_proj.bias".to_owned()));
    assert!(!names.contains(&"lm_head.weight".to_owned()));
    assert_eq!(arch.to_config(candle_core::DType::BF16)["dtype"], "bfloat16");
}

#[test]
fn unknown_architectures_are_refused_by_name() {
    let error = Architecture::from_config(&small(&json!({"model_type": "mamba"}))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("'mamba'") && text.contains("llama, mistral"), "{text}");
    for (name, nearest) in [("gemma4_text", "'gemma'"), ("Qwen3NextForCausalLM", "'qwen3'"), ("mistral4", "'mistral'")]
    {
        let text = Architecture::from_config(&small(&json!({"model_type": name}))).unwrap_err().to_string();
        assert!(text.contains(&format!("'{name}' is not known here; most like it is {nearest}")), "{text}");
    }
    let text = Architecture::from_config(&small(&json!({"model_type": "rwkv"}))).unwrap_err().to_string();
    assert!(text.contains("'rwkv' is not known here; known are"), "{text}");
    let classifier = json!({"architectures": ["LlamaForSequenceClassification"]});
    let text = Architecture::from_config(&small(&classifier)).unwrap_err().to_string();
    assert!(text.contains("LlamaForSequenceClassification"), "{text}");
}

#[test]
fn keys_that_change_the_mathematics_are_refused() {
    for change in [
        json!({"hidden_act": "quick_gelu"}),
        json!({"sliding_window": 8}),
        json!({"partial_rotary_factor": 0.5}),
        json!({"rope_parameters": {"rope_type": "proportional", "factor": 2.0}}),
        json!({"attention_multiplier": 0.5}),
        json!({"final_logit_softcapping": 30.0}),
        json!({"quantization_config": {"load_in_4bit": true}}),
        json!({"layer_types": ["full_attention", "sliding_attention"]}),
        json!({"no_rope_layers": [1, 0]}),
    ] {
        let error = Architecture::from_config(&small(&change)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{change}: {error}");
    }
    let harmless = json!({"sliding_window": null, "partial_rotary_factor": 1.0, "unsloth_version": "x"});
    Architecture::from_config(&small(&harmless)).unwrap();
    let drops = Architecture::from_config(&small(&json!({"attention_dropout": 0.1}))).unwrap();
    assert_eq!(drops.base_dropout, [("attention_dropout".to_owned(), 0.1)]);
}

#[test]
fn wrong_keys_are_named() {
    let text = Architecture::from_config(&small(&json!({"hidden_size": null}))).unwrap_err().to_string();
    assert_eq!(text, "'hidden_size' is missing, expected a whole number above 0");
    let text = Architecture::from_config(&small(&json!({"num_key_value_heads": 3}))).unwrap_err().to_string();
    assert!(text.contains("num_key_value_heads") && text.contains("divisor"), "{text}");
}

#[test]
fn a_padding_token_of_minus_one_is_none() {
    assert_eq!(Architecture::from_config(&small(&json!({"pad_token_id": -1}))).unwrap().pad_token_id, None);
    let text = Architecture::from_config(&small(&json!({"pad_token_id": -2}))).unwrap_err().to_string();
    assert!(text.contains("'pad_token_id' is -2"), "{text}");
}

#[test]
fn what_a_mixture_of_experts_cannot_be_is_named() {
    for (key, value, expected) in [
        ("num_experts_per_tok", json!(5), "at most the number of experts, which is 4"),
        ("output_router_logits", json!(true), "auxiliary loss"),
        ("router_jitter_noise", json!(0.1), "router_jitter_noise"),
        ("num_local_experts", json!(0), "num_local_experts"),
    ] {
        let mut config = reference("mixtral-s36/model/config.json");
        config[key] = value;
        let text = Architecture::from_config(&config).unwrap_err().to_string();
        assert!(text.contains(key) && text.contains(expected), "{text}");
    }
    let mut config = reference("qwen3_moe_sparse-s39/model/config.json");
    let kinds = |config: &Value| {
        let arch = Architecture::from_config(config).unwrap();
        (0..arch.num_layers).map(|layer| arch.experts_of(layer).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&config), [false, true, false, false]);
    config["mlp_only_layers"] = json!([]);
    assert_eq!(kinds(&config), [false, true, false, true]);
    config["decoder_sparse_step"] = json!(1);
    assert_eq!(kinds(&config), [true; 4]);
}

#[test]
fn frequencies_stretch_as_asked() {
    let plain = Rope { theta: 10_000.0, dims: 16, pairs: false, scaling: RopeScaling::None }.frequencies(9);
    assert!((plain[0] - 1.0).abs() < 1e-12);
    assert!((plain[4] - 0.01).abs() < 1e-8);
    let linear =
        Rope { theta: 10_000.0, dims: 16, pairs: false, scaling: RopeScaling::Linear { factor: 4.0 } }.frequencies(9);
    assert!(plain.iter().zip(&linear).all(|(p, l)| (p / l - 4.0).abs() < 1e-6));
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 64,
    };
    let llama3 = Rope { theta: 10_000.0, dims: 16, pairs: false, scaling }.frequencies(9);
    assert_eq!(llama3[0].to_bits(), plain[0].to_bits(), "short wavelengths stay");
    assert!((plain[7] / llama3[7] - 8.0).abs() < 1e-6, "long ones are divided");
    assert!(llama3[1] < plain[1] && llama3[1] > plain[1] / 8.0, "and those between are between");
}
