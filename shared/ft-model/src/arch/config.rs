//! `config.json`, in the keys of transformers 4 and of transformers 5.

use candle_core::DType;
use serde_json::{Map, Value, json};

use super::keys::{Keys, wrong};
use super::{Architecture, Family, Rope, RopeScaling};
use crate::error::{Error, Result};

impl Architecture {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the architecture is not known, a key is missing or of another type, or a key changes the
    /// mathematics in a way that is not implemented. The errors do not name the file.
    pub fn from_config(config: &Value) -> Result<Self> {
        let map = config.as_object().ok_or_else(|| wrong("config", Some(config), "an object"))?;
        let keys = Keys(map);
        let family = family(keys)?;
        refuse_unsupported(keys, family)?;
        let hidden_size = keys.size("hidden_size")?;
        let num_heads = keys.size("num_attention_heads")?;
        let default_kv = if family == Family::Mistral { 8 } else { num_heads };
        let arch = Self {
            family,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_layers: keys.size("num_hidden_layers")?,
            num_heads,
            num_kv_heads: keys.size_or("num_key_value_heads", Some(default_kv))?,
            head_dim: keys.size_or("head_dim", Some(hidden_size / num_heads))?,
            vocab_size: keys.size("vocab_size")?,
            rms_norm_eps: keys.number_or("rms_norm_eps", Some(1e-6))?,
            rope: rope(keys)?,
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
            attention_bias: family == Family::Llama && keys.flag_or("attention_bias", false)?,
            mlp_bias: family == Family::Llama && keys.flag_or("mlp_bias", false)?,
            max_position_embeddings: keys.size_or("max_position_embeddings", Some(2048))?,
            bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
            eos_token_ids: keys.tokens("eos_token_id")?,
            pad_token_id: keys.tokens("pad_token_id")?.first().copied(),
            raw: config.clone(),
        };
        arch.check()?;
        Ok(arch)
    }

    /// Fails where the sizes contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let expected = format!("a divisor of num_attention_heads, which is {}", self.num_heads);
            return Err(wrong("num_key_value_heads", Some(&json!(self.num_kv_heads)), expected));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return Err(wrong("head_dim", Some(&json!(self.head_dim)), "an even number above 0"));
        }
        Ok(())
    }

    /// The `config.json` of this model with weights of type `dtype`: the one that was read, or one
    /// made from the fields, which both transformers 4 and 5 load.
    pub fn to_config(&self, dtype: DType) -> Value {
        let mut config = match &self.raw {
            Value::Object(map) => map.clone(),
            _ => self.fresh_config(),
        };
        let name = match dtype {
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            DType::F64 => "float64",
            _ => "float32",
        };
        if config.contains_key("torch_dtype") {
            config.insert("torch_dtype".into(), json!(name));
        }
        if config.contains_key("dtype") || !config.contains_key("torch_dtype") {
            config.insert("dtype".into(), json!(name));
        }
        Value::Object(config)
    }

    /// A `config.json` from the fields alone.
    fn fresh_config(&self) -> Map<String, Value> {
        let mut rope = match self.rope.scaling {
            RopeScaling::None => json!({"rope_type": "default"}),
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                json!({
                    "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": original_max_position_embeddings,
                })
            }
        };
        let old_rope = if self.rope.scaling == RopeScaling::None { Value::Null } else { rope.clone() };
        rope["rope_theta"] = json!(self.rope.theta);
        let eos = match self.eos_token_ids.as_slice() {
            [one] => json!(one),
            [] => Value::Null,
            list => json!(list),
        };
        let config = json!({
            "architectures": [self.family.class()],
            "attention_bias": self.attention_bias,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "mlp_bias": self.mlp_bias,
            "model_type": self.family.name(),
            "num_attention_heads": self.num_heads,
            "num_hidden_layers": self.num_layers,
            "num_key_value_heads": self.num_kv_heads,
            "pad_token_id": self.pad_token_id,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "rope_scaling": old_rope,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "dtype": "float32",
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        config.as_object().cloned().unwrap_or_default()
    }
}

/// The family that `model_type` names, or else the class in `architectures`.
fn family(keys: Keys<'_>) -> Result<Family> {
    let class = keys.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let found = match keys.get("model_type") {
        Some(_) => Some(keys.text_or("model_type", "")?),
        None => class,
    };
    let Some(found) = found else {
        return Err(wrong("model_type", None, format!("one of: {}", known())));
    };
    let same = |f: &Family| f.name() == found || f.class() == found;
    let family = Family::ALL.into_iter().find(same).ok_or_else(|| unknown(found))?;
    // A classifier or a reward model of a known family has another head.
    match class {
        Some(class) if class != family.class() => Err(unknown(class)),
        _ => Ok(family),
    }
}

/// The names of all families, for messages.
pub(super) fn known() -> String {
    Family::ALL.map(Family::name).join(", ")
}

/// An architecture that is not implemented.
pub(super) fn unknown(found: &str) -> Error {
    Error::UnknownArchitecture { found: found.into(), known: known() }
}

/// The rotary embedding: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (4).
fn rope(keys: Keys<'_>) -> Result<Rope> {
    let parameters = keys.object("rope_parameters")?;
    let inner = match parameters {
        Some(parameters) => Some(parameters),
        None => keys.object("rope_scaling")?,
    };
    let outer_theta = keys.number_or("rope_theta", Some(10_000.0))?;
    let Some(inner) = inner else {
        return Ok(Rope { theta: outer_theta, scaling: RopeScaling::None });
    };
    let theta = inner.number_or("rope_theta", Some(outer_theta))?;
    let kind = inner.text_or("rope_type", inner.text_or("type", "default")?)?;
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: inner.number_or("factor", None)? },
        "llama3" => RopeScaling::Llama3 {
            factor: inner.number_or("factor", None)?,
            low_freq_factor: inner.number_or("low_freq_factor", None)?,
            high_freq_factor: inner.number_or("high_freq_factor", None)?,
            original_max_position_embeddings: inner.size("original_max_position_embeddings")?,
        },
        other => return Err(unsupported("rope_type", &json!(other), "default, linear or llama3")),
    };
    refuse_unless(inner, "partial_rotary_factor", "1", |v| v.as_f64() == Some(1.0))?;
    Ok(Rope { theta, scaling })
}

fn unsupported(key: &str, value: &Value, expected: &str) -> Error {
    Error::Unsupported { key: key.into(), value: value.to_string(), expected: expected.into() }
}

/// Refuses `key` where it is there and `fine` does not hold of it.
fn refuse_unless(keys: Keys<'_>, key: &str, expected: &str, fine: impl Fn(&Value) -> bool) -> Result<()> {
    match keys.get(key) {
        Some(value) if !fine(value) => Err(unsupported(key, value, expected)),
        _ => Ok(()),
    }
}

/// Keys of transformers' decoders that change what is computed, with the value that changes nothing.
fn refuse_unsupported(keys: Keys<'_>, family: Family) -> Result<()> {
    let is_false = |v: &Value| v == &json!(false);
    let is_one = |v: &Value| v.as_f64() == Some(1.0);
    let is_zero = |v: &Value| v.as_f64() == Some(0.0);
    refuse_unless(keys, "hidden_act", "silu", |v| matches!(v.as_str(), Some("silu" | "swish")))?;
    refuse_unless(keys, "attention_dropout", "0", is_zero)?;
    for key in ["partial_rotary_factor", "embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"]
    {
        refuse_unless(keys, key, "1", is_one)?;
    }
    for key in ["use_qk_norm", "qk_norm", "use_sliding_window", "parallel_residual", "use_parallel_residual"] {
        refuse_unless(keys, key, "false", is_false)?;
    }
    for key in ["sliding_window", "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"] {
        refuse_unless(keys, key, "null", |_| false)?;
    }
    for key in ["attention_multiplier", "clip_qkv", "num_local_experts", "quantization_config", "attention_chunk_size"]
    {
        refuse_unless(keys, key, "null", |_| false)?;
    }
    let all = |v: &Value, word: Value| v.as_array().is_some_and(|list| list.iter().all(|x| *x == word));
    refuse_unless(keys, "layer_types", "full_attention for each layer", |v| all(v, json!("full_attention")))?;
    refuse_unless(keys, "no_rope_layers", "1 for each layer", |v| all(v, json!(1)))?;
    if family == Family::Mistral && !keys.0.contains_key("sliding_window") {
        let missing = json!("missing, which means 4096");
        return Err(unsupported("sliding_window", &missing, "null"));
    }
    Ok(())
}
