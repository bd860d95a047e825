//! The architecture in a GGUF file's metadata: they are told as a `config.json`, which is then read like any other.

mod keys;
mod names;
mod rope;

pub(crate) use names::{interleaves, name, offset};
pub(crate) use rope::{LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS};

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Content;
use serde_json::{Map, Value, json};

use self::keys::GgufKeys;
use super::config::unknown;
use super::keys::wrong;
use super::{Architecture, Family};
use crate::error::Result;

/// The families that llama.cpp's files are read of, with its name for each. It has one name for Llama and Mistral.
const KNOWN: [(&str, Family); 11] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("phi3", Family::Phi3),
    ("gemma", Family::Gemma),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("smollm3", Family::SmolLm3),
    ("olmo2", Family::Olmo2),
    ("granite", Family::Granite),
    ("starcoder2", Family::Starcoder2),
];

/// Small tensors that change the rotary embedding, by their names.
pub(crate) type RopeTensors = HashMap<&'static str, Vec<f32>>;

impl Architecture {
    /// Reads a GGUF file's metadata; `rope` are the values of its tensors that change the rotary embedding.
    ///
    /// # Errors
    /// As [`Architecture::from_config`].
    pub(crate) fn from_gguf(content: &Content, rope: &RopeTensors) -> Result<Self> {
        let name = keys::architecture(content)?;
        let (_, family) = KNOWN.into_iter().find(|(known, _)| *known == name).ok_or_else(|| unknown(&name))?;
        let keys = GgufKeys::new(content, name);
        keys.refuse_unsupported(family)?;
        let mut config = common(&keys, family)?;
        config.extend(own(&keys, family)?);
        config.extend(rope::config(&keys, family, &config, rope)?);
        let config = Value::Object(config);
        Self::from_config(&config)
    }
}

/// The keys that all families have.
fn common(keys: &GgufKeys<'_>, family: Family) -> Result<Map<String, Value>> {
    let hidden = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let head_dim = keys.size_or("attention.key_length", hidden / heads)?;
    if keys.size_or("attention.value_length", head_dim)? != head_dim {
        return Err(keys.unsupported("attention.value_length", &format!("the width of a head, {head_dim}")));
    }
    let (eps_key, gguf_eps) = match family {
        Family::Starcoder2 => ("norm_epsilon", "attention.layer_norm_epsilon"),
        _ => ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    };
    let has = |tensor: &str| keys.content.tensor_infos.contains_key(tensor);
    let config = json!({
        "architectures": [family.class()],
        "attention_dropout": 0.0,
        "bos_token_id": keys.token("bos"),
        "eos_token_id": keys.token("eos"),
        "pad_token_id": keys.token("padding"),
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": keys.size("feed_forward_length")?,
        "max_position_embeddings": keys.size("context_length")?,
        "model_type": family.name(),
        "num_attention_heads": heads,
        "num_hidden_layers": keys.size("block_count")?,
        "num_key_value_heads": keys.size_or("attention.head_count_kv", heads)?,
        "head_dim": head_dim,
        eps_key: keys.number(gguf_eps)?.unwrap_or(1e-5),
        "tie_word_embeddings": !has("output.weight"),
        "use_cache": true,
        "torch_dtype": "float32",
        "dtype": "float32",
        "vocab_size": vocabulary(keys.content)?,
    });
    Ok(config.as_object().cloned().unwrap_or_default())
}

/// The keys that only some families have.
fn own(keys: &GgufKeys<'_>, family: Family) -> Result<Map<String, Value>> {
    let has = |tensor: &str| keys.content.tensor_infos.contains_key(tensor);
    let (attention_bias, mlp_bias) = (has("blk.0.attn_q.bias"), has("blk.0.ffn_down.bias"));
    let window = keys.whole("attention.sliding_window").filter(|&n| n > 0);
    let gelu = "gelu_pytorch_tanh";
    let config = match family {
        Family::Llama => json!({"attention_bias": attention_bias, "mlp_bias": mlp_bias}),
        Family::Qwen2 => json!({"use_sliding_window": false}),
        Family::Qwen3 => json!({"use_sliding_window": false, "attention_bias": attention_bias}),
        Family::Phi3 => json!({"sliding_window": window, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
        Family::Gemma => json!({"hidden_act": gelu, "hidden_activation": gelu}),
        Family::Gemma2 | Family::Gemma3 => {
            let head_dim = keys.size_or("attention.key_length", 256)?;
            let layers = keys.size("block_count")?;
            // What llama.cpp takes for granted: every second layer, or five of six, with a window.
            let pattern = if family == Family::Gemma2 { 2 } else { 6 };
            let kind = |i: usize| if (i + 1).is_multiple_of(pattern) { "full_attention" } else { "sliding_attention" };
            json!({
                "hidden_act": gelu, "hidden_activation": gelu, "sliding_window": window,
                "layer_types": (0..layers).map(kind).collect::<Vec<_>>(),
                "query_pre_attn_scalar": query_scalar(keys, family, head_dim)?,
                "attn_logit_softcapping": keys.number("attn_logit_softcapping")?,
                "final_logit_softcapping": keys.number("final_logit_softcapping")?,
            })
        }
        Family::SmolLm3 => {
            json!({"attention_bias": attention_bias, "mlp_bias": mlp_bias, "no_rope_layer_interval": 4})
        }
        Family::Olmo2 => json!({"attention_bias": attention_bias}),
        Family::Granite => json!({
            "attention_bias": attention_bias, "mlp_bias": mlp_bias,
            "attention_multiplier": keys.number("attention.scale")?.unwrap_or(1.0),
            "embedding_multiplier": keys.number("embedding_scale")?.unwrap_or(1.0),
            "residual_multiplier": keys.number("residual_scale")?.unwrap_or(1.0),
            "logits_scaling": keys.number("logit_scale")?.unwrap_or(1.0),
        }),
        Family::Starcoder2 => json!({
            "hidden_act": gelu, "use_bias": attention_bias, "sliding_window": window,
            "residual_dropout": 0.0, "embedding_dropout": 0.0,
        }),
        _ => json!({}),
    };
    Ok(config.as_object().cloned().unwrap_or_default())
}

/// What llama.cpp's loader decides by the model's size: the largest of each divides by the hidden size's share of a
/// head, all others by the head's width.
fn query_scalar(keys: &GgufKeys<'_>, family: Family, head_dim: usize) -> Result<usize> {
    let largest = if family == Family::Gemma2 { 46 } else { 62 };
    if keys.size("block_count")? == largest {
        return Ok(keys.size("embedding_length")? / keys.size("attention.head_count")?);
    }
    Ok(head_dim)
}

/// The rows of the embedding.
fn vocabulary(content: &Content) -> Result<usize> {
    let rows = content.tensor_infos.get("token_embd.weight").and_then(|info| info.shape.dims().first().copied());
    rows.ok_or_else(|| wrong("token_embd.weight", None, "the embedding's tensor"))
}
