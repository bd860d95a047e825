//! The architecture in a GGUF file's metadata: they are told as a `config.json`, which is then read like any other.
//!
//! Some things a GGUF file cannot say. Where llama.cpp's loader (`src/models/*.cpp`) takes a value for granted, so does
//! this, since that is what the file was made to be read with:
//!
//! - the window of Llama, Mistral, Mixtral, Qwen2, Qwen3 and `StarCoder2`: none; and that a file is of Mistral or of
//!   InternLM 3: Llama;
//! - whether the weights of a token's experts are divided by their sum: yes;
//! - `query_pre_attn_scalar` of Gemma 2 and 3: the head's width, but for the largest of each;
//! - `no_rope_layer_interval` of SmolLM3: 4; the layers with a window of Gemma 2 and 3: all but every second and sixth,
//!   and of Cohere 2, EXAONE 4 and OLMo 3 all but every fourth, unless `attention.sliding_window_pattern` says so;
//! - `mscale` of YaRN, dynamic scaling, and Llama 3's four numbers, which are found again from its divisors;
//! - the activation: GPT-NeoX has the exact GELU of its published configurations, where llama.cpp computes the
//!   approximation.

mod families;
mod keys;
mod names;
mod rope;

pub(crate) use families::epsilon_keys;
pub(crate) use keys::ARCHITECTURE;
pub(crate) use names::{Layout, activation_key, layout, name, number_within, offset};
pub(crate) use rope::{LONG_FACTORS, ROPE_FACTORS, RopeTensors, SHORT_FACTORS};

use ft_io::gguf::Content;
use serde_json::Value;

use self::keys::GgufKeys;
use super::config::unknown;
use super::{Architecture, Family};
use crate::error::Result;

/// The families that llama.cpp's files are read of, with its name for each. It has one name for Llama, Mistral, InternLM 3
/// and Mixtral, whose experts tell it from the others; and one for OLMo 2 and 3, whose windows do.
const KNOWN: [(&str, Family); 26] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("qwen3moe", Family::Qwen3Moe),
    ("phi3", Family::Phi3),
    ("gemma", Family::Gemma),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("smollm3", Family::SmolLm3),
    ("olmo2", Family::Olmo2),
    ("granite", Family::Granite),
    ("gpt2", Family::Gpt2),
    ("gptneox", Family::GptNeox),
    ("phi2", Family::Phi),
    ("starcoder2", Family::Starcoder2),
    ("seed_oss", Family::SeedOss),
    ("arcee", Family::Arcee),
    ("ernie4_5", Family::Ernie45),
    ("glm4", Family::Glm4),
    ("nemotron", Family::Nemotron),
    ("cohere2", Family::Cohere2),
    ("exaone4", Family::Exaone4),
    ("stablelm", Family::StableLm),
    ("hunyuan-dense", Family::Hunyuan),
    ("mistral3", Family::Ministral3),
    ("apertus", Family::Apertus),
];

/// llama.cpp's name for a family.
pub(crate) fn architecture_name(family: Family) -> &'static str {
    let found = KNOWN.into_iter().find(|(_, known)| *known == family);
    match family {
        Family::Mistral | Family::Mixtral => "llama",
        _ => found.map_or(family.name(), |(name, _)| name),
    }
}

impl Architecture {
    /// Reads a GGUF file's metadata; `rope` are the values of its tensors that change the rotary embedding.
    ///
    /// # Errors
    /// As [`Architecture::from_config`].
    pub(crate) fn from_gguf(content: &Content, rope: &RopeTensors) -> Result<Self> {
        let name = keys::architecture(content)?;
        let (_, family) = KNOWN.into_iter().find(|(known, _)| *known == name).ok_or_else(|| unknown(&name))?;
        let keys = GgufKeys::new(content, name);
        let family = match family {
            Family::Llama if keys.has_experts() => Family::Mixtral,
            Family::Olmo2 if keys.has_window() => Family::Olmo3,
            // The text part of Mistral Small 3.
            Family::Ministral3 if keys.get("attention.temperature_scale").is_none() => Family::Mistral,
            _ => family,
        };
        keys.refuse_unsupported(family)?;
        let sizes = families::Sizes::read(&keys)?;
        let mut config = families::common(&keys, family, &sizes)?;
        config.extend(families::own(&keys, family, &sizes)?);
        if family != Family::Gpt2 {
            config.extend(rope::config(&keys, family, &sizes, rope)?);
        }
        Self::from_config(&Value::Object(config))
    }
}
