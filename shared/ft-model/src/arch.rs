//! What a decoder is made of, the same from whatever file it was read.

mod config;
mod gguf;
mod keys;
mod rope;

pub(crate) use gguf::ROPE_FACTORS;
pub use rope::{Rope, RopeScaling};

use serde_json::Value;

/// The families of decoders that are implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3.3, and what is built alike (SmolLM2).
    Llama,
    /// Mistral, where it has no sliding window: the same block as Llama's.
    Mistral,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 2] = [Family::Llama, Family::Mistral];

    /// `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Mistral => "mistral",
        }
    }

    /// The model's class in `architectures` of `config.json`.
    pub fn class(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Mistral => "MistralForCausalLM",
        }
    }
}

/// A decoder's shape and the constants of its mathematics.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Which family it belongs to.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; `num_heads` is a multiple of it.
    pub num_kv_heads: usize,
    /// Width of a head, which need not be `hidden_size / num_heads`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// The rotary position embedding.
    pub rope: Rope,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the four attention projections have a bias.
    pub attention_bias: bool,
    /// Whether the three MLP projections have a bias.
    pub mlp_bias: bool,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text; the first is the one to write.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills up a batch.
    pub pad_token_id: Option<u32>,
    /// `config.json` as it was read, or as it was made from a GGUF file.
    pub raw: Value,
}

/// A tensor that an architecture asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name in a Hugging Face checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Architecture {
    /// The frequencies of the rotary embedding, radians a position, one for each pair of a head's
    /// elements; and the factor of cosines and sines.
    pub fn rope_frequencies(&self) -> (Vec<f64>, f64) {
        (self.rope.frequencies(self.head_dim), 1.0)
    }

    /// The tensors of block `layer`, in the order of the computation.
    pub fn layer_tensors(&self, layer: usize) -> Vec<Expected> {
        let (h, m) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let mut all = Vec::new();
        let mut add = |name: &str, shape: &[usize]| {
            all.push(Expected { name: format!("model.layers.{layer}.{name}"), shape: shape.to_vec() });
        };
        let mut linear = |name: &str, out: usize, inner: usize, bias: bool| {
            add(&format!("{name}.weight"), &[out, inner]);
            if bias {
                add(&format!("{name}.bias"), &[out]);
            }
        };
        linear("self_attn.q_proj", q, h, self.attention_bias);
        linear("self_attn.k_proj", kv, h, self.attention_bias);
        linear("self_attn.v_proj", kv, h, self.attention_bias);
        linear("self_attn.o_proj", h, q, self.attention_bias);
        linear("mlp.gate_proj", m, h, self.mlp_bias);
        linear("mlp.up_proj", m, h, self.mlp_bias);
        linear("mlp.down_proj", h, m, self.mlp_bias);
        add("input_layernorm.weight", &[h]);
        add("post_attention_layernorm.weight", &[h]);
        all
    }

    /// All tensors: the embedding, the blocks', the final norm, and the head where it is not the
    /// embedding.
    pub fn tensors(&self) -> Vec<Expected> {
        let table = |name: &str| Expected { name: name.into(), shape: vec![self.vocab_size, self.hidden_size] };
        let mut all = vec![table(EMBEDDING)];
        all.extend((0..self.num_layers).flat_map(|layer| self.layer_tensors(layer)));
        all.push(Expected { name: FINAL_NORM.into(), shape: vec![self.hidden_size] });
        if !self.tie_word_embeddings {
            all.push(table(HEAD));
        }
        all
    }

    /// The number of parameters; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }

    /// Whether a stored tensor may be left unread: what it says is computed, or is the embedding once more.
    pub(crate) fn is_redundant(&self, tensor: &str) -> bool {
        tensor.ends_with(".rotary_emb.inv_freq") || (self.tie_word_embeddings && tensor == HEAD)
    }
}

/// The embedding's name.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The final norm's name.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The head's name.
pub const HEAD: &str = "lm_head.weight";

#[cfg(test)]
mod tests;
