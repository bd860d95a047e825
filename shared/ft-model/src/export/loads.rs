//! What llama.cpp's loader of each architecture takes (`src/models/*.cpp`): a file with a tensor that it does not ask
//! for, or without one that it does, is no model to it.

use super::refused::refused;
use crate::arch::{Architecture, Family};
use crate::error::Result;
use crate::projection::Site;

/// The architectures that are written: those whose loaders were gone through for what is said below.
const WRITTEN: [&str; 15] = [
    "llama",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "phi3",
    "gemma",
    "gemma2",
    "gemma3",
    "smollm3",
    "olmo2",
    "granite",
    "gpt2",
    "gptneox",
    "phi2",
    "starcoder2",
];

/// Whether the loader asks for a head even where that is the embedding.
pub(super) fn needs_head(architecture: &str) -> bool {
    ["olmo2", "gptneox", "phi2"].contains(&architecture)
}

/// Fails where the loader has no place for something of the model, or asks for what it does not have.
pub(super) fn check(arch: &Architecture, name: &str) -> Result<()> {
    if !WRITTEN.contains(&name) {
        return Err(refused(
            "model_type",
            arch.family.name(),
            format!("one of {}: this family is read but not written", WRITTEN.join(", ")),
        ));
    }
    let all_biases = ["gpt2", "gptneox", "phi2", "starcoder2"].contains(&name);
    let some_biases = ["llama", "granite"].contains(&name);
    for site in Site::ALL {
        let takes = match site {
            Site::Qkv => true,
            Site::O => all_biases || some_biases,
            Site::GateUp | Site::Down => all_biases || some_biases && arch.experts.is_none(),
        };
        if arch.has_bias(site) != takes && (arch.has_bias(site) || all_biases) {
            let (found, expected) = if takes { ("without", "with") } else { ("with", "without") };
            let key = match site {
                Site::Qkv | Site::O => "attention_bias",
                Site::GateUp | Site::Down => "mlp_bias",
            };
            let told = format!("{expected}: llama.cpp's '{name}' has no other ({site:?})");
            return Err(refused(key, format!("projections {found} biases"), told));
        }
    }
    if arch.head_bias && !["phi2", "qwen2"].contains(&name) {
        return Err(refused("lm_head.bias", "a tensor", format!("none: llama.cpp's '{name}' has no such one")));
    }
    if !arch.tie_word_embeddings && ["gemma", "gemma2"].contains(&name) {
        let told = format!("true: llama.cpp's '{name}' has no head of its own");
        return Err(refused("tie_word_embeddings", "false", told));
    }
    let own_width = ["qwen2", "phi3", "olmo2", "gpt2", "gptneox", "phi2", "starcoder2"].contains(&name);
    if own_width && arch.query_columns() != arch.hidden_size {
        let told = format!(
            "{}, the hidden size by the number of heads: llama.cpp's '{name}' has no other",
            arch.hidden_size / arch.num_heads
        );
        return Err(refused("head_dim", arch.head_dim, told));
    }
    if arch.family == Family::Qwen3Moe && arch.layers.iter().any(|layer| !layer.is_mixture) {
        return Err(refused(
            "mlp_only_layers, decoder_sparse_step",
            "layers without experts",
            "none: llama.cpp's 'qwen3moe' asks for experts in each",
        ));
    }
    Ok(())
}
