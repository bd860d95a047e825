//! The families of decoders.

use super::names::{
    APERTUS, ARCEE, COHERE2, GEMMA2, GLM4, GPT_NEOX, GPT2, HUNYUAN, LLAMA, MIXTRAL, Names, OLMO2, PHI, PHI3, QWEN3_MOE,
    STABLELM, STABLELM_PARALLEL, STARCODER2,
};

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
    /// Seed-OSS.
    SeedOss,
    /// InternLM 3.
    InternLm3,
    /// Arcee's AFM.
    Arcee,
    /// Helium.
    Helium,
    /// Ernie 4.5 without experts.
    Ernie45,
    /// OLMo 3.
    Olmo3,
    /// GLM-4 of April 2025 (9B, 32B) and GLM-Z1.
    Glm4,
    /// Minitron and Nemotron-4.
    Nemotron,
    /// Command R7B, Command A.
    Cohere2,
    /// EXAONE 4.
    Exaone4,
    /// `StableLM` 3B, 2 1.6B and 2 12B.
    StableLm,
    /// Hunyuan without experts.
    Hunyuan,
    /// Ministral 3.
    Ministral3,
    /// Apertus.
    Apertus,
    /// `OLMoE`.
    OlMoe,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 32] = [
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
        Family::SeedOss,
        Family::InternLm3,
        Family::Arcee,
        Family::Helium,
        Family::Ernie45,
        Family::Olmo3,
        Family::Glm4,
        Family::Nemotron,
        Family::Cohere2,
        Family::Exaone4,
        Family::StableLm,
        Family::Hunyuan,
        Family::Ministral3,
        Family::Apertus,
        Family::OlMoe,
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
            Family::Olmo2 | Family::Olmo3 | Family::Exaone4 => &OLMO2,
            Family::Gpt2 => &GPT2,
            Family::GptNeox => &GPT_NEOX,
            Family::Phi => &PHI,
            Family::Starcoder2 => &STARCODER2,
            Family::Mixtral => &MIXTRAL,
            Family::Qwen3Moe | Family::OlMoe => &QWEN3_MOE,
            Family::Arcee | Family::Nemotron => &ARCEE,
            Family::Apertus => &APERTUS,
            Family::Glm4 => &GLM4,
            Family::Cohere2 => &COHERE2,
            Family::StableLm => &STABLELM,
            Family::Hunyuan => &HUNYUAN,
            _ => &LLAMA,
        }
    }

    /// [`Self::names`] of a model whose blocks are `parallel` or not, where that changes which parts there are.
    pub fn names_of(self, parallel: bool) -> &'static Names {
        if self == Family::StableLm && parallel { &STABLELM_PARALLEL } else { self.names() }
    }

    /// Other names of [`Self::class`] in the files of this family: that of the model's own code on the hub.
    pub fn other_classes(self) -> &'static [&'static str] {
        match self {
            Family::InternLm3 => &["InternLM3ForCausalLM"],
            Family::Ernie45 => &["Ernie4_5_ForCausalLM"],
            Family::StableLm => &["StableLMEpochForCausalLM"],
            _ => &[],
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
            Family::SeedOss => ("seed_oss", "SeedOssForCausalLM"),
            // transformers computes it with Llama's class.
            Family::InternLm3 => ("internlm3", "LlamaForCausalLM"),
            Family::Arcee => ("arcee", "ArceeForCausalLM"),
            Family::Helium => ("helium", "HeliumForCausalLM"),
            Family::Ernie45 => ("ernie4_5", "Ernie4_5ForCausalLM"),
            Family::Olmo3 => ("olmo3", "Olmo3ForCausalLM"),
            Family::Glm4 => ("glm4", "Glm4ForCausalLM"),
            Family::Nemotron => ("nemotron", "NemotronForCausalLM"),
            Family::Cohere2 => ("cohere2", "Cohere2ForCausalLM"),
            Family::Exaone4 => ("exaone4", "Exaone4ForCausalLM"),
            Family::StableLm => ("stablelm", "StableLmForCausalLM"),
            Family::Hunyuan => ("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM"),
            Family::Ministral3 => ("ministral3", "Ministral3ForCausalLM"),
            Family::Apertus => ("apertus", "ApertusForCausalLM"),
            Family::OlMoe => ("olmoe", "OlmoeForCausalLM"),
        }
    }
}
