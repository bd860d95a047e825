//! llama.cpp's names for tensors, and how it stores them otherwise than Hugging Face does.

use crate::arch::{Architecture, Family, K_NORM, Q_NORM};
use crate::projection::{Projection, Site};

/// The name that a GGUF file has for a tensor of a Hugging Face checkpoint.
pub(crate) fn name(arch: &Architecture, name: &str) -> Option<String> {
    let names = arch.names();
    let (module, kind) = name.rsplit_once('.')?;
    let outer = [(names.embedding, "token_embd"), (names.final_norm, "output_norm"), (names.head, "output")];
    if names.positions == Some(module) {
        return Some(format!("position_embd.{kind}"));
    }
    if let Some((_, own)) = outer.into_iter().find(|(known, _)| *known == module) {
        return Some(format!("{own}.{kind}"));
    }
    let (layer, part) = module.strip_prefix(names.layers)?.strip_prefix('.')?.split_once('.')?;
    let norms = [
        (names.input_norm, "attn_norm"),
        (names.attention_norm, "post_attention_norm"),
        (names.mlp_norm, "ffn_norm"),
        (names.output_norm, "post_ffw_norm"),
        (Some(Q_NORM), "attn_q_norm"),
        (Some(K_NORM), "attn_k_norm"),
    ];
    let own = match norms.into_iter().find(|(known, _)| *known == Some(part)) {
        Some((_, own)) => own,
        None => projection(arch, Projection::parse_in(arch.family, module)?.1),
    };
    Some(format!("blk.{layer}.{own}.{kind}"))
}

fn projection(arch: &Architecture, projection: Projection) -> &'static str {
    let alone = projection.site.paths(arch.family).len() == 1;
    match (projection.site, projection.index) {
        (Site::Qkv, _) if alone => "attn_qkv",
        (Site::Qkv, 0) => "attn_q",
        (Site::Qkv, 1) => "attn_k",
        (Site::Qkv, _) => "attn_v",
        (Site::O, _) => "attn_output",
        // A fused gate and up, and the one projection of an MLP without a gate, have the same name.
        (Site::GateUp, 0) if !alone => "ffn_gate",
        (Site::GateUp, _) => "ffn_up",
        (Site::Down, _) => "ffn_down",
    }
}

/// How the files lay out a tensor's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As Hugging Face.
    Same,
    /// Each head's two halves interleaved, for the rotary embedding of llama.cpp's Llama turns neighbours.
    Interleaved,
    /// All queries, then all keys, then all values, where Hugging Face has them head by head (GPT-NeoX).
    ByPart,
    /// `[out, in]`, where Hugging Face has `[in, out]` (GPT-2).
    Transposed,
}

/// How the files lay out the tensor with this Hugging Face name.
pub(crate) fn layout(arch: &Architecture, name: &str) -> Layout {
    let like_llama = [Family::Llama, Family::Mistral, Family::SmolLm3, Family::Granite];
    let Some((module, kind)) = name.rsplit_once('.') else { return Layout::Same };
    let Some((_, projection)) = Projection::parse_in(arch.family, module) else { return Layout::Same };
    let turns = projection.site == Site::Qkv && projection.index < 2;
    if turns && like_llama.contains(&arch.family) {
        Layout::Interleaved
    } else if projection.site == Site::Qkv && arch.family.is_by_head() {
        Layout::ByPart
    } else if arch.family.is_transposed() && kind == "weight" {
        Layout::Transposed
    } else {
        Layout::Same
    }
}

/// What the files have added to this tensor's values: Gemma's norms hold what rows are multiplied by.
pub(crate) fn offset(arch: &Architecture, name: &str) -> f32 {
    if arch.norm_plus_one && name.contains("norm.") { 1.0 } else { 0.0 }
}
