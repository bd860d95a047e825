//! What each family's `config.json` would say.

use ft_io::gguf::{Content, Value as Gguf};
use serde_json::{Map, Value, json};

use super::keys::GgufKeys;
use crate::arch::Family;
use crate::arch::keys::wrong;
use crate::error::Result;

/// The sizes that all families have.
pub(super) struct Sizes {
    hidden: usize,
    heads: usize,
    layers: usize,
    intermediate: usize,
    /// The longest sequence.
    pub context: usize,
    /// The width of a head.
    pub head_dim: usize,
    vocabulary: usize,
}

impl Sizes {
    pub fn read(keys: &GgufKeys<'_>) -> Result<Self> {
        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = keys.size_or("attention.key_length", hidden / heads)?;
        if keys.size_or("attention.value_length", head_dim)? != head_dim {
            return Err(keys.unsupported("attention.value_length", &format!("the width of a head, {head_dim}")));
        }
        Ok(Self {
            hidden,
            heads,
            layers: keys.size_up_to("block_count", keys.content.tensors.len(), "tensors of the file")?,
            intermediate: keys.size("feed_forward_length")?,
            context: keys.size("context_length")?,
            head_dim,
            vocabulary: vocabulary(keys.content)?,
        })
    }
}

/// The keys of what is added to the mean square, or the variance: `config.json`'s, and the file's.
pub(crate) fn epsilon_keys(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::Starcoder2 => ("norm_epsilon", "attention.layer_norm_epsilon"),
        Family::Gpt2 => ("layer_norm_epsilon", "attention.layer_norm_epsilon"),
        Family::GptNeox | Family::Phi | Family::Cohere2 | Family::StableLm => {
            ("layer_norm_eps", "attention.layer_norm_epsilon")
        }
        Family::Nemotron => ("norm_eps", "attention.layer_norm_epsilon"),
        _ => ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    }
}

/// The keys that all families have, though not all of them by the same name.
pub(super) fn common(keys: &GgufKeys<'_>, family: Family, sizes: &Sizes) -> Result<Map<String, Value>> {
    let (eps_key, gguf_eps) = epsilon_keys(family);
    let mut config = json!({
        "architectures": [family.class()],
        "bos_token_id": keys.token("bos"),
        "eos_token_id": keys.token("eos"),
        "pad_token_id": keys.token("padding"),
        "initializer_range": 0.02,
        "model_type": family.name(),
        eps_key: keys.number(gguf_eps)?.ok_or_else(|| keys.wrong(gguf_eps, "a number above 0"))?,
        "tie_word_embeddings": !keys.has_tensor("output.weight"),
        "use_cache": true,
        "torch_dtype": "float32",
        "dtype": "float32",
        "vocab_size": sizes.vocabulary,
    });
    let named = if family == Family::Gpt2 {
        json!({
            "n_embd": sizes.hidden, "n_head": sizes.heads, "n_layer": sizes.layers, "n_inner": sizes.intermediate,
            "n_positions": sizes.context,
        })
    } else {
        json!({
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.intermediate,
            "max_position_embeddings": sizes.context,
            "num_attention_heads": sizes.heads,
            "num_hidden_layers": sizes.layers,
            "num_key_value_heads": keys.size_or("attention.head_count_kv", sizes.heads)?,
            "head_dim": sizes.head_dim,
        })
    };
    merge(&mut config, named);
    Ok(object(config))
}

/// The keys that only some families have.
pub(super) fn own(keys: &GgufKeys<'_>, family: Family, sizes: &Sizes) -> Result<Map<String, Value>> {
    let attention_bias = keys.has_tensor("blk.0.attn_q.bias");
    let mlp_bias = keys.has_tensor("blk.0.ffn_down.bias");
    let window = keys.whole("attention.sliding_window").filter(|&n| n > 0);
    let gelu = "gelu_pytorch_tanh";
    let config = match family {
        Family::Llama | Family::InternLm3 | Family::Helium => {
            json!({"attention_bias": attention_bias, "mlp_bias": mlp_bias})
        }
        Family::Qwen2 => json!({"use_sliding_window": false}),
        Family::Qwen3 => json!({"use_sliding_window": false, "attention_bias": attention_bias}),
        Family::Phi3 => json!({"sliding_window": window, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
        Family::Gemma => json!({"hidden_act": gelu, "hidden_activation": gelu}),
        Family::Gemma2 | Family::Gemma3 => gemma(keys, family, sizes)?,
        Family::SmolLm3 => {
            json!({"attention_bias": attention_bias, "mlp_bias": mlp_bias, "no_rope_layer_interval": 4})
        }
        Family::Olmo2 | Family::Glm4 | Family::Hunyuan => json!({"attention_bias": attention_bias}),
        Family::Granite => json!({
            "attention_bias": attention_bias, "mlp_bias": mlp_bias,
            "attention_multiplier":
                keys.number("attention.scale")?.unwrap_or_else(|| 1.0 / (sizes.head_dim as f64).sqrt()),
            "embedding_multiplier": keys.number("embedding_scale")?.unwrap_or(1.0),
            "residual_multiplier": keys.number("residual_scale")?.unwrap_or(1.0),
            "logits_scaling": keys.number("logit_scale")?.unwrap_or(1.0),
        }),
        Family::Gpt2 => json!({
            "activation_function": "gelu_new", "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
        }),
        Family::GptNeox => json!({
            "hidden_act": "gelu", "hidden_dropout": 0.0,
            "attention_bias": keys.has_tensor("blk.0.attn_qkv.bias"),
            "use_parallel_residual": keys.flag("use_parallel_residual")?,
        }),
        Family::Phi => json!({"hidden_act": "gelu_new", "embd_pdrop": 0.0, "resid_pdrop": 0.0, "qk_layernorm": false}),
        Family::Starcoder2 => json!({
            "hidden_act": gelu, "use_bias": attention_bias, "sliding_window": null,
            "residual_dropout": 0.0, "embedding_dropout": 0.0,
        }),
        Family::Mistral | Family::Ministral3 => json!({"sliding_window": null}),
        Family::SeedOss => json!({
            "attention_bias": attention_bias, "attention_out_bias": keys.has_tensor("blk.0.attn_output.bias"),
            "mlp_bias": mlp_bias, "residual_dropout": 0.0,
        }),
        Family::Arcee | Family::Nemotron => {
            json!({"hidden_act": "relu2", "attention_bias": attention_bias, "mlp_bias": mlp_bias})
        }
        Family::Ernie45 => json!({"use_bias": attention_bias}),
        Family::Apertus => json!({"hidden_act": "xielu", "attention_bias": attention_bias}),
        Family::Olmo3 => with_windows(keys, sizes, json!({"attention_bias": attention_bias}))?,
        Family::Exaone4 => with_windows(keys, sizes, json!({}))?,
        Family::Cohere2 => {
            let logit_scale =
                keys.number("logit_scale")?.ok_or_else(|| keys.wrong("logit_scale", "a number above 0"))?;
            with_windows(keys, sizes, json!({"attention_bias": attention_bias, "logit_scale": logit_scale}))?
        }
        Family::StableLm => json!({
            "use_qkv_bias": attention_bias, "hidden_dropout": 0.0,
            // llama.cpp asks the tensors.
            "use_parallel_residual": !keys.has_tensor("blk.0.ffn_norm.weight"),
            "qk_layernorm": keys.has_tensor("blk.0.attn_q_norm.weight"),
        }),
        // No file of it is read.
        Family::OlMoe => json!({}),
        Family::Mixtral => experts(keys, "num_local_experts")?,
        Family::Qwen3Moe => {
            let mut config = experts(keys, "num_experts")?;
            let own = json!({
                "moe_intermediate_size": keys.size("expert_feed_forward_length")?, "norm_topk_prob": true,
                "decoder_sparse_step": 1, "mlp_only_layers": plain_layers(keys, sizes),
                "use_sliding_window": false, "attention_bias": attention_bias,
            });
            merge(&mut config, own);
            config
        }
    };
    Ok(object(config))
}

/// The experts' numbers.
fn experts(keys: &GgufKeys<'_>, count: &str) -> Result<Value> {
    let used = keys.size("expert_used_count")?;
    let first = keys.content.tensors.iter().find(|(name, _)| name.ends_with("_exps.weight"));
    let there = first.and_then(|(_, info)| info.shape.first().copied()).unwrap_or(0);
    Ok(json!({
        count: keys.size_up_to("expert_count", there, "experts in the file's tensors")?, "num_experts_per_tok": used,
        "output_router_logits": false,
    }))
}

/// The layers that have a plain MLP where others have experts.
fn plain_layers(keys: &GgufKeys<'_>, sizes: &Sizes) -> Vec<usize> {
    (0..sizes.layers).filter(|i| !keys.has_tensor(&format!("blk.{i}.ffn_gate_inp.weight"))).collect()
}

/// Gemma 2 and 3: windows, bounds, and what queries are divided by.
fn gemma(keys: &GgufKeys<'_>, family: Family, sizes: &Sizes) -> Result<Value> {
    let gelu = "gelu_pytorch_tanh";
    let two = family == Family::Gemma2;
    let window = match keys.whole("attention.sliding_window") {
        None if two => Some(4096),
        given => given.filter(|&n| n > 0),
    };
    let slides =
        if window.is_some() { windows(keys, sizes, if two { 2 } else { 6 })? } else { vec![false; sizes.layers] };
    let mut config = json!({
        "hidden_act": gelu, "hidden_activation": gelu, "sliding_window": window,
        "layer_types": kinds(&slides),
        "query_pre_attn_scalar": query_scalar(family, sizes),
    });
    let (attention, last) = ("attn_logit_softcapping", "final_logit_softcapping");
    if two {
        // The loader's own, which are those of transformers.
        merge(
            &mut config,
            json!({attention: keys.number(attention)?.unwrap_or(50.0), last: keys.number(last)?.unwrap_or(30.0)}),
        );
    } else {
        merge(&mut config, json!({last: keys.number(last)?}));
    }
    Ok(config)
}

/// `config` with the window of all but every fourth layer, or of those that the file says.
fn with_windows(keys: &GgufKeys<'_>, sizes: &Sizes, mut config: Value) -> Result<Value> {
    let window = keys.whole("attention.sliding_window").filter(|&n| n > 0);
    let slides = if window.is_some() { windows(keys, sizes, 4)? } else { vec![false; sizes.layers] };
    merge(&mut config, json!({"sliding_window": window, "layer_types": kinds(&slides)}));
    Ok(config)
}

/// `layer_types`
fn kinds(slides: &[bool]) -> Vec<&'static str> {
    slides.iter().map(|slides| if *slides { "sliding_attention" } else { "full_attention" }).collect()
}

/// Which layers have a window: what the file says of each, or all but every so manieth.
fn windows(keys: &GgufKeys<'_>, sizes: &Sizes, every: usize) -> Result<Vec<bool>> {
    let key = "attention.sliding_window_pattern";
    if let Some(Gguf::Array(list)) = keys.get(key) {
        let flag = |value: Gguf| if let Gguf::Bool(flag) = value { Some(flag) } else { None };
        let given: Option<Vec<bool>> = list.values().and_then(|values| values.map(flag).collect());
        let given = given.filter(|list| list.len() == sizes.layers);
        return given.ok_or_else(|| keys.wrong(key, "a number, or true or false for each layer"));
    }
    let every = keys.size_or(key, every)?;
    Ok((0..sizes.layers).map(|i| !(i + 1).is_multiple_of(every)).collect())
}

/// What llama.cpp's loader decides by the model's size: the largest of each divides by the hidden size's share of a
/// head, all others by the head's width.
fn query_scalar(family: Family, sizes: &Sizes) -> usize {
    let largest = if family == Family::Gemma2 { 46 } else { 62 };
    if sizes.layers == largest { sizes.hidden / sizes.heads } else { sizes.head_dim }
}

/// The rows of the embedding.
fn vocabulary(content: &Content) -> Result<usize> {
    let rows = content.tensors.get("token_embd.weight").and_then(|info| info.shape.first().copied());
    rows.ok_or_else(|| wrong("token_embd.weight", None, "the embedding's tensor"))
}

fn merge(config: &mut Value, more: Value) {
    if let (Value::Object(config), Value::Object(more)) = (config, more) {
        config.extend(more);
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
