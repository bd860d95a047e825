//! The families of decoders, and what their checkpoints call each part.

use crate::projection::Projection;

/// The families of decoders that are implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 1 to 3.3, and what is built alike (SmolLM2).
    Llama,
    /// Mistral and Mistral-Nemo.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Phi-3 and Phi-3.5.
    Phi3,
    /// Gemma.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text only.
    Gemma3,
    /// SmolLM3.
    SmolLm3,
    /// OLMo 2.
    Olmo2,
    /// Granite 3.
    Granite,
    /// GPT-2.
    Gpt2,
    /// GPT-NeoX and Pythia.
    GptNeox,
    /// Phi-1, Phi-1.5 and Phi-2.
    Phi,
    /// `StarCoder2`.
    Starcoder2,
    /// Mixtral: Mistral's blocks with a mixture of experts in each.
    Mixtral,
    /// The mixtures of experts among Qwen3.
    Qwen3Moe,
}

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

/// The norms of queries and keys, in the families that have them.
pub const Q_NORM: &str = "self_attn.q_norm";
/// See [`Q_NORM`].
pub const K_NORM: &str = "self_attn.k_norm";

const LLAMA: Names = Names {
    layers: "model.layers",
    embedding: "model.embed_tokens",
    positions: None,
    final_norm: "model.norm",
    head: "lm_head",
    input_norm: Some("input_layernorm"),
    attention_norm: None,
    mlp_norm: Some("post_attention_layernorm"),
    output_norm: None,
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

const PHI3: Names = Names {
    qkv: &[(Projection::Qkv, "self_attn.qkv_proj")],
    gate_up: &[(Projection::GateUp, "mlp.gate_up_proj")],
    ..LLAMA
};

const GEMMA2: Names = Names {
    attention_norm: Some("post_attention_layernorm"),
    mlp_norm: Some("pre_feedforward_layernorm"),
    output_norm: Some("post_feedforward_layernorm"),
    ..LLAMA
};

const OLMO2: Names = Names {
    input_norm: None,
    attention_norm: Some("post_attention_layernorm"),
    mlp_norm: None,
    output_norm: Some("post_feedforward_layernorm"),
    ..LLAMA
};

const GPT2: Names = Names {
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

const GPT_NEOX: Names = Names {
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
const PHI: Names = Names {
    final_norm: "model.final_layernorm",
    mlp_norm: Some("input_layernorm"),
    o: &[(Projection::O, "self_attn.dense")],
    gate_up: &[(Projection::UpOnly, "mlp.fc1")],
    down: &[(Projection::Down, "mlp.fc2")],
    ..LLAMA
};

const STARCODER2: Names =
    Names { gate_up: &[(Projection::UpOnly, "mlp.c_fc")], down: &[(Projection::Down, "mlp.c_proj")], ..LLAMA };

const MIXTRAL: Names = Names {
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
const QWEN3_MOE: Names = Names {
    experts: Some(ExpertNames {
        router: "mlp.gate",
        experts: "mlp.experts",
        gate_up: ["gate_proj", "up_proj"],
        down: "down_proj",
    }),
    ..LLAMA
};

impl Family {
    /// All of them.
    pub const ALL: [Family; 17] = [
        Family::Llama,
        Family::Mistral,
        Family::Qwen2,
        Family::Qwen3,
        Family::Phi3,
        Family::Gemma,
        Family::Gemma2,
        Family::Gemma3,
        Family::SmolLm3,
        Family::Olmo2,
        Family::Granite,
        Family::Gpt2,
        Family::GptNeox,
        Family::Phi,
        Family::Starcoder2,
        Family::Mixtral,
        Family::Qwen3Moe,
    ];

    /// `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        self.identity().0
    }

    /// The model's class in `architectures` of `config.json`.
    pub fn class(self) -> &'static str {
        self.identity().1
    }

    /// The class of the model without its head, which some folders were saved from.
    pub fn base_class(self) -> String {
        let class = self.class();
        let name = class.strip_suffix("ForCausalLM").or_else(|| class.strip_suffix("LMHeadModel")).unwrap_or(class);
        // Gemma 3's text model has a word of its own, for there is one with pictures.
        format!("{name}{}", if self == Family::Gemma3 { "TextModel" } else { "Model" })
    }

    /// What the names of all its tensors but the head's begin with (`base_model_prefix` in transformers).
    pub fn base_prefix(self) -> &'static str {
        let layers = self.names().layers;
        layers.split_once('.').map_or(layers, |(prefix, _)| prefix)
    }

    /// What its checkpoints call each part.
    pub fn names(self) -> &'static Names {
        match self {
            Family::Phi3 => &PHI3,
            Family::Gemma2 | Family::Gemma3 => &GEMMA2,
            Family::Olmo2 => &OLMO2,
            Family::Gpt2 => &GPT2,
            Family::GptNeox => &GPT_NEOX,
            Family::Phi => &PHI,
            Family::Starcoder2 => &STARCODER2,
            Family::Mixtral => &MIXTRAL,
            Family::Qwen3Moe => &QWEN3_MOE,
            _ => &LLAMA,
        }
    }

    /// Whether projections are stored `[in, out]`, as GPT-2's convolutions of width 1 are (`fan_in_fan_out` in peft).
    pub fn is_transposed(self) -> bool {
        self == Family::Gpt2
    }

    /// Whether the fused product holds queries, keys and values head by head, and not all queries first.
    pub fn is_by_head(self) -> bool {
        self == Family::GptNeox
    }

    fn identity(self) -> (&'static str, &'static str) {
        match self {
            Family::Llama => ("llama", "LlamaForCausalLM"),
            Family::Mistral => ("mistral", "MistralForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Family::Phi3 => ("phi3", "Phi3ForCausalLM"),
            Family::Gemma => ("gemma", "GemmaForCausalLM"),
            Family::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
            Family::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
            Family::SmolLm3 => ("smollm3", "SmolLM3ForCausalLM"),
            Family::Olmo2 => ("olmo2", "Olmo2ForCausalLM"),
            Family::Granite => ("granite", "GraniteForCausalLM"),
            Family::Gpt2 => ("gpt2", "GPT2LMHeadModel"),
            Family::GptNeox => ("gpt_neox", "GPTNeoXForCausalLM"),
            Family::Phi => ("phi", "PhiForCausalLM"),
            Family::Starcoder2 => ("starcoder2", "Starcoder2ForCausalLM"),
            Family::Mixtral => ("mixtral", "MixtralForCausalLM"),
            Family::Qwen3Moe => ("qwen3_moe", "Qwen3MoeForCausalLM"),
        }
    }
}

impl Names {
    /// The full name of `part` of layer `layer`.
    pub fn in_layer(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.layers)
    }
}
