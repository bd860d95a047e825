//! The architecture in a GGUF file's metadata.

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::json;

use super::config::unknown;
use super::keys::wrong;
use super::{Architecture, EMBEDDING, FINAL_NORM, Family, HEAD, Rope, RopeScaling};
use crate::error::{Error, Result};

/// The tensor with the factors of the rotary frequencies.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Architecture {
    /// Reads a GGUF file's metadata; `rope_factors` are the values of its tensor `rope_freqs.weight`,
    /// where there is one.
    ///
    /// # Errors
    /// As [`Architecture::from_config`].
    pub fn from_gguf(content: &Content, rope_factors: Option<&[f32]>) -> Result<Self> {
        let keys = GgufKeys::new(content)?;
        keys.refuse_unsupported()?;
        let hidden_size = keys.size("embedding_length")?;
        let num_heads = keys.size("attention.head_count")?;
        let head_dim = keys.size_or("attention.key_length", hidden_size / num_heads)?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            if keys.size_or(key, head_dim)? != head_dim {
                return Err(keys.unsupported(key, &format!("the width of a head, {head_dim}")));
            }
        }
        let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
        let max_position_embeddings = keys.size("context_length")?;
        let mut arch = Self {
            family: Family::Llama,
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            num_layers: keys.size("block_count")?,
            num_heads,
            num_kv_heads: keys.size_or("attention.head_count_kv", num_heads)?,
            head_dim,
            vocab_size: vocabulary(content)?,
            rms_norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope: Rope { theta, scaling: RopeScaling::None },
            tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
            attention_bias: content.tensor_infos.contains_key("blk.0.attn_q.bias"),
            mlp_bias: content.tensor_infos.contains_key("blk.0.ffn_down.bias"),
            max_position_embeddings,
            bos_token_id: keys.token("bos"),
            eos_token_ids: keys.token("eos").into_iter().collect(),
            pad_token_id: keys.token("padding"),
            raw: serde_json::Value::Null,
        };
        arch.check()?;
        arch.rope.scaling = match rope_factors {
            Some(factors) => llama3_from_factors(&arch, factors)?,
            None => keys.scaling()?,
        };
        arch.raw = arch.to_config(candle_core::DType::F32);
        Ok(arch)
    }

    /// The name that a GGUF file has for a tensor of a Hugging Face checkpoint.
    pub(crate) fn gguf_name(name: &str) -> Option<String> {
        match name {
            EMBEDDING => return Some("token_embd.weight".into()),
            FINAL_NORM => return Some("output_norm.weight".into()),
            HEAD => return Some("output.weight".into()),
            _ => {}
        }
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (module, kind) = rest.rsplit_once('.')?;
        let module = match module {
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" => "ffn_norm",
            _ => return None,
        };
        Some(format!("blk.{layer}.{module}.{kind}"))
    }

    /// Whether llama's GGUF files hold this tensor's rows in another order: each head's two halves
    /// interleaved, for the rotary embedding of llama.cpp turns neighbours.
    pub(crate) fn gguf_interleaves(name: &str) -> bool {
        name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj.")
    }
}

/// The metadata, where keys begin with the architecture's name.
struct GgufKeys<'a> {
    content: &'a Content,
    prefix: String,
}

impl<'a> GgufKeys<'a> {
    fn new(content: &'a Content) -> Result<Self> {
        let key = "general.architecture";
        match content.metadata.get(key) {
            Some(Value::String(name)) if name == "llama" => Ok(Self { content, prefix: name.clone() }),
            Some(Value::String(name)) => Err(unknown(name)),
            _ => Err(wrong(key, None, "the architecture's name")),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.content.metadata.get(&format!("{}.{key}", self.prefix))
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or_else(|| "missing".into(), |value| format!("{value:?}"));
        Error::Key { key: format!("{}.{key}", self.prefix), found, expected: expected.into() }
    }

    fn unsupported(&self, key: &str, expected: &str) -> Error {
        let value = self.get(key).map_or_else(|| "missing".into(), |value| format!("{value:?}"));
        Error::Unsupported { key: format!("{}.{key}", self.prefix), value, expected: expected.into() }
    }

    fn size(&self, key: &str) -> Result<usize> {
        let number = self.get(key).and_then(whole).filter(|&n| n > 0 && n < 1 << 40);
        number.map(|n| n as usize).ok_or_else(|| self.wrong(key, "a whole number above 0"))
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            // The shortest decimal: 1e-5, not the 9.99999974e-6 of the nearest f32.
            Value::F32(x) => x.to_string().parse().ok(),
            Value::F64(x) => Some(*x),
            other => whole(other).map(|n| n as f64),
        };
        let number = number.filter(|x: &f64| x.is_finite() && *x > 0.0);
        number.map(Some).ok_or_else(|| self.wrong(key, "a number above 0"))
    }

    fn token(&self, name: &str) -> Option<u32> {
        let value = self.content.metadata.get(&format!("tokenizer.ggml.{name}_token_id"))?;
        whole(value).and_then(|n| u32::try_from(n).ok())
    }

    fn scaling(&self) -> Result<RopeScaling> {
        let key = "rope.scaling.type";
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match (self.get(key), factor) {
            (None, None) => Ok(RopeScaling::None),
            (None, Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some(Value::String(kind)), _) if kind == "none" => Ok(RopeScaling::None),
            (Some(Value::String(kind)), factor) if kind == "linear" => match factor {
                Some(factor) => Ok(RopeScaling::Linear { factor }),
                None => Err(self.wrong("rope.scaling.factor", "a number above 0")),
            },
            _ => Err(self.unsupported(key, "none or linear")),
        }
    }

    /// Keys that the llama architecture may carry and that change what is computed.
    fn refuse_unsupported(&self) -> Result<()> {
        for key in ["expert_count", "attention.sliding_window"] {
            if self.get(key).and_then(whole).is_some_and(|n| n > 0) {
                return Err(self.unsupported(key, "0"));
            }
        }
        for key in ["logit_scale", "embedding_scale", "residual_scale", "attention.scale"] {
            if self.get(key).is_some() {
                return Err(self.unsupported(key, "none"));
            }
        }
        Ok(())
    }
}

/// A whole number of any width.
fn whole(value: &Value) -> Option<u64> {
    match *value {
        Value::I8(n) => u64::try_from(n).ok(),
        Value::I16(n) => u64::try_from(n).ok(),
        Value::I32(n) => u64::try_from(n).ok(),
        Value::I64(n) => u64::try_from(n).ok(),
        Value::Bool(_) => None,
        ref other => other.to_u64().ok(),
    }
}

/// The rows of the embedding.
fn vocabulary(content: &Content) -> Result<usize> {
    let rows = content.tensor_infos.get("token_embd.weight").and_then(|info| info.shape.dims().first().copied());
    rows.ok_or_else(|| wrong("token_embd.weight", None, "the embedding's tensor"))
}

/// llama.cpp keeps of Llama 3.1's scaling only what each frequency is divided by. Llama's four numbers
/// are found again, for a Hugging Face folder has to say them.
fn llama3_from_factors(arch: &Architecture, factors: &[f32]) -> Result<RopeScaling> {
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let plain = arch.rope.frequencies(arch.head_dim);
    let contexts = [8192].into_iter().chain((5..=20).map(|power| 1 << power));
    for original_max_position_embeddings in contexts {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings,
        };
        let scaled = Rope { theta: arch.rope.theta, scaling }.frequencies(arch.head_dim);
        let same = |((f, plain), scaled): ((&f32, f64), f64)| (plain / scaled / f64::from(*f) - 1.0).abs() < 1e-4;
        if factors.len() == plain.len() && factors.iter().zip(plain.iter().copied()).zip(scaled).all(same) {
            return Ok(scaling);
        }
    }
    let value = json!(factors).to_string();
    let expected = "the factors that Llama 3's scaling gives".into();
    Err(Error::Unsupported { key: ROPE_FACTORS.into(), value, expected })
}
