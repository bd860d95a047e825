//! What most families begin with, and the keys that they share.

use serde_json::Value;

use crate::arch::keys::{Keys, unsupported};
use crate::arch::rope_config::{Defaults, rope};
use crate::arch::{Activation, Architecture, Family, LayerKind, NormKind, QkNorm, Xielu};
use crate::error::Result;

/// More layers than any model has.
pub(super) const MOST_LAYERS: usize = 1 << 14;
/// More experts than any layer has.
pub(super) const MOST_EXPERTS: usize = 1 << 14;

/// What a family's readers of `config.json` differ in before the details.
pub(super) struct Start {
    pub(super) family: Family,
    pub(super) num_heads: usize,
    pub(super) hidden_size: usize,
    pub(super) num_layers: usize,
    pub(super) intermediate_size: usize,
    pub(super) context: usize,
    pub(super) head_dim: usize,
}

impl Start {
    pub(super) fn new(family: Family, keys: Keys<'_>, context: usize, head_dim: Option<usize>) -> Result<Self> {
        let hidden_size = keys.size("hidden_size")?;
        let num_heads = keys.size("num_attention_heads")?;
        Ok(Self {
            family,
            num_heads,
            hidden_size,
            num_layers: keys.count_or("num_hidden_layers", None, MOST_LAYERS)?,
            intermediate_size: keys.size("intermediate_size")?,
            context: keys.size_or("max_position_embeddings", Some(context))?,
            head_dim: keys.size_or("head_dim", Some(head_dim.unwrap_or(hidden_size / num_heads)))?,
        })
    }

    /// The block of Llama 1 in these sizes.
    pub(super) fn plain(self, keys: Keys<'_>, tied: bool) -> Result<Architecture> {
        Ok(Architecture {
            family: self.family,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: keys.size_or("num_key_value_heads", Some(self.num_heads))?,
            head_dim: self.head_dim,
            vocab_size: keys.size("vocab_size")?,
            norm: NormKind::Rms,
            norm_eps: keys.number_or("rms_norm_eps", Some(1e-6))?,
            norm_plus_one: false,
            qk_norm: QkNorm::None,
            turns_first: false,
            query_growth: None,
            parallel: false,
            attention_scale: 1.0 / (self.head_dim as f64).sqrt(),
            scales_by_layer: false,
            attention_softcap: None,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            gated: true,
            activation: activation(keys, "hidden_act", Activation::Silu)?,
            experts: None,
            layers: vec![LayerKind { sliding_window: None, rope: Some(0), is_mixture: false }; self.num_layers],
            ropes: Vec::new(),
            learned_positions: None,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            logit_softcap: None,
            head_bias: false,
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", tied)?,
            base_dropout: Vec::new(),
            max_position_embeddings: self.context,
            bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
            eos_token_ids: keys.tokens("eos_token_id")?,
            pad_token_id: keys.tokens("pad_token_id")?.first().copied(),
            raw: Value::Null,
        })
    }
}

/// A gated, normalised block with one rotary embedding: Llama's, and the start of most others.
pub(super) fn common(family: Family, keys: Keys<'_>, defaults: &Defaults<'_>, tied: bool) -> Result<Architecture> {
    let mut arch = Start::new(family, keys, 2048, usual_head_dim(family))?.plain(keys, tied)?;
    arch.ropes = vec![rope(keys, arch.head_dim, arch.max_position_embeddings, defaults)?];
    Ok(arch)
}

/// The width of a head where the file does not say it; none where that is the hidden size over the heads.
fn usual_head_dim(family: Family) -> Option<usize> {
    match family {
        Family::Gemma | Family::Gemma2 => Some(256),
        Family::Qwen3
        | Family::SeedOss
        | Family::InternLm3
        | Family::Helium
        | Family::Ernie45
        | Family::Glm4
        | Family::Ministral3 => Some(128),
        _ => None,
    }
}

/// `sliding_window`
pub(super) fn window(keys: Keys<'_>) -> Result<Option<usize>> {
    if keys.get("sliding_window").is_some() { keys.size("sliding_window").map(Some) } else { Ok(None) }
}

/// The activation of transformers' name.
pub(super) fn activation(keys: Keys<'_>, key: &str, default: Activation) -> Result<Activation> {
    let Some(value) = keys.get(key) else { return Ok(default) };
    match value.as_str() {
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some("gelu") => Ok(Activation::Gelu),
        Some("relu") => Ok(Activation::Relu),
        Some("relu2") => Ok(Activation::ReluSquared),
        Some("xielu") => Ok(Activation::Xielu(Xielu::default())),
        _ => Err(unsupported(key, value, "silu, gelu, gelu_new, gelu_pytorch_tanh, relu, relu2 or xielu")),
    }
}
