//! llama.cpp's names for tensors, and how it stores them otherwise than Hugging Face does.

use crate::arch::{Architecture, Family, K_NORM, Names, Q_NORM};
use crate::projection::Projection;

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
        None => projection(arch.family.names(), part).or_else(|| of_mixture(arch, part))?,
    };
    Some(format!("blk.{layer}.{own}.{kind}"))
}

/// Of a projection outside mixtures of experts.
fn projection(names: &Names, part: &str) -> Option<&'static str> {
    let mut all = [names.qkv, names.o, names.gate_up, names.down].into_iter().flatten();
    Some(match all.find(|(_, path)| *path == part)?.0 {
        Projection::Qkv => "attn_qkv",
        Projection::Q => "attn_q",
        Projection::K => "attn_k",
        Projection::V => "attn_v",
        Projection::O => "attn_output",
        Projection::Gate => "ffn_gate",
        // A fused gate and up, and the one projection of an MLP without a gate, have the same name.
        Projection::Up | Projection::GateUp | Projection::UpOnly => "ffn_up",
        Projection::Down => "ffn_down",
        Projection::ExpertsGateUp | Projection::Router | Projection::ExpertsDown => return None,
    })
}

/// Of a part of a mixture of experts; all experts' matrices of a kind are one tensor.
fn of_mixture(arch: &Architecture, part: &str) -> Option<&'static str> {
    let names = arch.names().experts?;
    if part == names.router {
        return Some("ffn_gate_inp");
    }
    let (_, kind) = expert(arch, part)?;
    let kinds = [(names.gate_up[0], "ffn_gate_exps"), (names.gate_up[1], "ffn_up_exps"), (names.down, "ffn_down_exps")];
    kinds.into_iter().find(|(known, _)| *known == kind).map(|(_, own)| own)
}

/// An expert's number, and what of it a part of a layer is.
fn expert<'a>(arch: &Architecture, part: &'a str) -> Option<(usize, &'a str)> {
    let (number, kind) = part.strip_prefix(arch.names().experts?.experts)?.strip_prefix('.')?.split_once('.')?;
    Some((number.parse().ok()?, kind))
}

/// Which of the matrices that lie in one tensor of the file the tensor with this Hugging Face name is, if they do.
pub(crate) fn expert_number(arch: &Architecture, name: &str) -> Option<usize> {
    let (_, part) = name.strip_prefix(arch.names().layers)?.strip_prefix('.')?.split_once('.')?;
    expert(arch, part).map(|(number, _)| number)
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
    let like_llama = [Family::Llama, Family::Mistral, Family::Mixtral, Family::SmolLm3, Family::Granite];
    let Some((module, kind)) = name.rsplit_once('.') else { return Layout::Same };
    let Some((_, projection)) = Projection::parse_in(arch.family, module) else { return Layout::Same };
    let turns = matches!(projection, Projection::Q | Projection::K);
    if turns && like_llama.contains(&arch.family) {
        Layout::Interleaved
    } else if projection == Projection::Qkv && arch.family.is_by_head() {
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
