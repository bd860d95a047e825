//! llama.cpp's names for tensors, and how it stores them otherwise than Hugging Face does.

use crate::arch::{Architecture, Family, Names, QkNorm};
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
        // llama.cpp calls it by what Hugging Face does.
        (names.mlp_norm, if arch.family == Family::SeedOss { "post_attention_norm" } else { "ffn_norm" }),
        (names.output_norm, "post_ffw_norm"),
        (Some(names.qk_norm[0]), "attn_q_norm"),
        (Some(names.qk_norm[1]), "attn_k_norm"),
    ];
    let whole = head_norm(arch, part).map_or(part, |(whole, _)| whole);
    let own = match norms.into_iter().find(|(known, _)| *known == Some(whole)) {
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

/// The norm that a head's own one is a part of, and the head's number.
fn head_norm<'a>(arch: &Architecture, part: &'a str) -> Option<(&'a str, usize)> {
    let (whole, head) = part.split_once(".norms.").filter(|_| arch.qk_norm == QkNorm::Each)?;
    Some((whole, head.parse().ok()?))
}

/// Which of the parts that lie in one tensor of the file the tensor with this Hugging Face name is, if they do: an
/// expert's matrix, or a head's norm.
pub(crate) fn number_within(arch: &Architecture, name: &str) -> Option<usize> {
    let (_, part) = name.strip_prefix(arch.names().layers)?.strip_prefix('.')?.split_once('.')?;
    let module = part.rsplit_once('.').map_or(part, |(module, _)| module);
    expert(arch, part).map(|(number, _)| number).or_else(|| head_norm(arch, module).map(|(_, head)| head))
}

/// The key of the metadata that has this number of a layer's activation for every layer, and the layer's place in it.
pub(crate) fn activation_key(arch: &Architecture, name: &str) -> Option<(String, usize)> {
    let (layer, part) = name.strip_prefix(arch.names().layers)?.strip_prefix('.')?.split_once('.')?;
    let number = arch.activation_numbers().into_iter().find(|number| number.name == part)?;
    let (_, kind) = number.name.rsplit_once('.')?;
    Some((format!("xielu.{kind}"), layer.parse().ok()?))
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
    let like_llama = [
        Family::Llama,
        Family::Mistral,
        Family::Mixtral,
        Family::SmolLm3,
        Family::Granite,
        Family::Arcee,
        Family::Ministral3,
    ];
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
    if arch.norm_plus_one && name.ends_with("norm.weight") { 1.0 } else { 0.0 }
}
