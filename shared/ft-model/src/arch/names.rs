//! What the families' checkpoints call each part.

use crate::projection::Projection;

/// A projection and its module's name within a layer.
pub type NamedProjection = (Projection, &'static str);

/// What a family's Hugging Face checkpoints call each part. Names of norms and projections are those within a layer,
/// without `.weight`.
#[derive(Debug)]
pub struct Names {
    /// What a layer's name begins with, before its number.
    pub layers: &'static str,
    /// The token embedding.
    pub embedding: &'static str,
    /// The table of learned positions.
    pub positions: Option<&'static str>,
    /// The norm after the last layer.
    pub final_norm: &'static str,
    /// The output head, where it is not the embedding.
    pub head: &'static str,
    /// The norm of the attention's input.
    pub input_norm: Option<&'static str>,
    /// The norm of the attention's output.
    pub attention_norm: Option<&'static str>,
    /// The norm of the MLP's input.
    pub mlp_norm: Option<&'static str>,
    /// The norm of the MLP's output.
    pub output_norm: Option<&'static str>,
    /// The norms of queries and of keys.
    pub qk_norm: [&'static str; 2],
    /// Queries, keys and values: three projections, or one.
    pub qkv: &'static [NamedProjection],
    /// The attention's output projection.
    pub o: &'static [NamedProjection],
    /// Gate and up: two projections, or one; or the only one of an MLP without a gate.
    pub gate_up: &'static [NamedProjection],
    /// The MLP's output projection.
    pub down: &'static [NamedProjection],
    /// What stands in the MLP's place in a layer with a mixture of experts.
    pub experts: Option<ExpertNames>,
}

/// What a family's checkpoints call the parts of a mixture of experts, within a layer and without `.weight`.
#[derive(Debug, Clone, Copy)]
pub struct ExpertNames {
    /// The product that says which experts a token sees.
    pub router: &'static str,
    /// What an expert's name begins with, before its number.
    pub experts: &'static str,
    /// Gate and up of an expert.
    pub gate_up: [&'static str; 2],
    /// Its output projection.
    pub down: &'static str,
}

pub(super) const LLAMA: Names = Names {
    layers: "model.layers",
    embedding: "model.embed_tokens",
    positions: None,
    final_norm: "model.norm",
    head: "lm_head",
    input_norm: Some("input_layernorm"),
    attention_norm: None,
    mlp_norm: Some("post_attention_layernorm"),
    output_norm: None,
    qk_norm: ["self_attn.q_norm", "self_attn.k_norm"],
    qkv: &[
        (Projection::Q, "self_attn.q_proj"),
        (Projection::K, "self_attn.k_proj"),
        (Projection::V, "self_attn.v_proj"),
    ],
    o: &[(Projection::O, "self_attn.o_proj")],
    gate_up: &[(Projection::Gate, "mlp.gate_proj"), (Projection::Up, "mlp.up_proj")],
    down: &[(Projection::Down, "mlp.down_proj")],
    experts: None,
};

pub(super) const PHI3: Names = Names {
    qkv: &[(Projection::Qkv, "self_attn.qkv_proj")],
    gate_up: &[(Projection::GateUp, "mlp.gate_up_proj")],
    ..LLAMA
};

pub(super) const GEMMA2: Names = Names {
    attention_norm: Some("post_attention_layernorm"),
    mlp_norm: Some("pre_feedforward_layernorm"),
    output_norm: Some("post_feedforward_layernorm"),
    ..LLAMA
};

pub(super) const OLMO2: Names = Names {
    input_norm: None,
    attention_norm: Some("post_attention_layernorm"),
    mlp_norm: None,
    output_norm: Some("post_feedforward_layernorm"),
    ..LLAMA
};

pub(super) const GPT2: Names = Names {
    layers: "transformer.h",
    embedding: "transformer.wte",
    positions: Some("transformer.wpe"),
    final_norm: "transformer.ln_f",
    input_norm: Some("ln_1"),
    mlp_norm: Some("ln_2"),
    qkv: &[(Projection::Qkv, "attn.c_attn")],
    o: &[(Projection::O, "attn.c_proj")],
    gate_up: &[(Projection::UpOnly, "mlp.c_fc")],
    down: &[(Projection::Down, "mlp.c_proj")],
    ..LLAMA
};

pub(super) const GPT_NEOX: Names = Names {
    layers: "gpt_neox.layers",
    embedding: "gpt_neox.embed_in",
    final_norm: "gpt_neox.final_layer_norm",
    head: "embed_out",
    qkv: &[(Projection::Qkv, "attention.query_key_value")],
    o: &[(Projection::O, "attention.dense")],
    gate_up: &[(Projection::UpOnly, "mlp.dense_h_to_4h")],
    down: &[(Projection::Down, "mlp.dense_4h_to_h")],
    ..LLAMA
};

/// Attention and MLP share the norm of their input.
pub(super) const PHI: Names = Names {
    final_norm: "model.final_layernorm",
    mlp_norm: Some("input_layernorm"),
    qk_norm: ["self_attn.q_layernorm", "self_attn.k_layernorm"],
    o: &[(Projection::O, "self_attn.dense")],
    gate_up: &[(Projection::UpOnly, "mlp.fc1")],
    down: &[(Projection::Down, "mlp.fc2")],
    ..LLAMA
};

pub(super) const STARCODER2: Names =
    Names { gate_up: &[(Projection::UpOnly, "mlp.c_fc")], down: &[(Projection::Down, "mlp.c_proj")], ..LLAMA };

/// An MLP without a gate, whose first projection is called as the other families' second one.
pub(super) const ARCEE: Names = Names { gate_up: &[(Projection::Up, "mlp.up_proj")], ..LLAMA };

pub(super) const APERTUS: Names =
    Names { input_norm: Some("attention_layernorm"), mlp_norm: Some("feedforward_layernorm"), ..ARCEE };

/// The norm that is called after the attention stands before the MLP.
pub(super) const GLM4: Names = Names {
    attention_norm: Some("post_self_attn_layernorm"),
    output_norm: Some("post_mlp_layernorm"),
    gate_up: &[(Projection::GateUp, "mlp.gate_up_proj")],
    ..LLAMA
};

/// Attention and MLP share the norm of their input.
pub(super) const COHERE2: Names = Names { mlp_norm: Some("input_layernorm"), ..LLAMA };

pub(super) const STABLELM: Names = Names { qk_norm: ["self_attn.q_layernorm", "self_attn.k_layernorm"], ..LLAMA };

pub(super) const STABLELM_PARALLEL: Names = Names { mlp_norm: Some("input_layernorm"), ..STABLELM };

pub(super) const HUNYUAN: Names = Names { qk_norm: ["self_attn.query_layernorm", "self_attn.key_layernorm"], ..LLAMA };

pub(super) const MIXTRAL: Names = Names {
    gate_up: &[],
    down: &[],
    experts: Some(ExpertNames {
        router: "block_sparse_moe.gate",
        experts: "block_sparse_moe.experts",
        gate_up: ["w1", "w3"],
        down: "w2",
    }),
    ..LLAMA
};

/// Some layers may have a plain MLP.
pub(super) const QWEN3_MOE: Names = Names {
    experts: Some(ExpertNames {
        router: "mlp.gate",
        experts: "mlp.experts",
        gate_up: ["gate_proj", "up_proj"],
        down: "down_proj",
    }),
    ..LLAMA
};

impl Names {
    /// The full name of `part` of layer `layer`.
    pub fn in_layer(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.layers)
    }
}
