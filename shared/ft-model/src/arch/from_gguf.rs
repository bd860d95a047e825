//! Reads a GGUF file's metadata.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};

use super::{Architecture, Rope, RopeScaling};
use crate::error::{Error, Result};

impl Architecture {
    /// Reads the metadata; `rope_divisors` is the tensor `rope_freqs.weight`, where the file has it.
    ///
    /// # Errors
    /// If the architecture is not known, or a key is missing or of the wrong kind.
    pub fn from_gguf(content: &Content, rope_divisors: Option<Vec<f64>>, path: &Path) -> Result<Self> {
        let keys = Keys { content, path };
        let family = keys.text("general.architecture")?;
        if family != "llama" {
            let message = format!("general.architecture '{family}' is not one that ft knows; it knows llama");
            return Err(Error::Architecture(format!("'{}': {message}", path.display())));
        }
        let hidden_size = keys.size("llama.embedding_length")?;
        let num_heads = keys.size("llama.attention.head_count")?;
        let head_dim = keys.maybe("llama.attention.key_length")?.unwrap_or(hidden_size / num_heads.max(1));
        let scaling = match (rope_divisors, keys.linear_factor()) {
            (Some(divisors), _) => RopeScaling::Divisors(divisors),
            (None, Some(factor)) => RopeScaling::Linear { factor },
            (None, None) => RopeScaling::None,
        };
        let token = |key: &str| keys.maybe(key).map(|id| id.map(|id| id as u32));
        let arch = Self {
            family,
            hidden_size,
            intermediate_size: keys.size("llama.feed_forward_length")?,
            num_layers: keys.size("llama.block_count")?,
            num_heads,
            num_kv_heads: keys.maybe("llama.attention.head_count_kv")?.unwrap_or(num_heads),
            head_dim,
            vocab_size: keys.vocabulary()?,
            max_position_embeddings: keys.maybe("llama.context_length")?.unwrap_or(2048),
            rms_norm_eps: shortest(keys.float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5)),
            rope: Rope { theta: shortest(keys.float("llama.rope.freq_base").unwrap_or(10_000.0)), scaling },
            tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
            attention_bias: content.tensor_infos.contains_key("blk.0.attn_q.bias"),
            mlp_bias: content.tensor_infos.contains_key("blk.0.ffn_gate.bias"),
            bos_token_id: token("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: token("tokenizer.ggml.eos_token_id")?.into_iter().collect(),
            pad_token_id: token("tokenizer.ggml.padding_token_id")?,
        };
        arch.check(path)?;
        Ok(arch)
    }
}

/// The shortest decimal that is this f32, in f64: 1e-5 and not 9.99999974737875e-6.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

struct Keys<'a> {
    content: &'a Content,
    path: &'a Path,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    fn missing(&self, key: &str) -> Error {
        Error::format(self.path, format!("the metadata lack {key}, or it is of the wrong kind"))
    }

    fn text(&self, key: &str) -> Result<String> {
        self.get(key).and_then(|v| v.to_string().ok()).cloned().ok_or_else(|| self.missing(key))
    }

    fn maybe(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.to_u64().or_else(|_| value.to_u32().map(u64::from)).or_else(|_| value.to_i32().map(|n| n as u64));
        number.map(|n| Some(n as usize)).map_err(|_| self.missing(key))
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.maybe(key)?.ok_or_else(|| self.missing(key))
    }

    fn float(&self, key: &str) -> Option<f32> {
        self.get(key)?.to_f32().ok()
    }

    fn linear_factor(&self) -> Option<f64> {
        let kind = self.get("llama.rope.scaling.type")?.to_string().ok()?;
        let factor = self.float("llama.rope.scaling.factor").map(shortest)?;
        (kind == "linear").then_some(factor)
    }

    /// The rows of the embedding.
    fn vocabulary(&self) -> Result<usize> {
        let info = self.content.tensor_infos.get("token_embd.weight");
        info.and_then(|i| i.shape.dims().first().copied()).ok_or_else(|| Error::format(self.path, "tensor token_embd.weight is missing"))
    }
}
