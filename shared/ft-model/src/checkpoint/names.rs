//! What the tensors of a safetensors file are called, which is not always what the architecture calls them.
//!
//! A file may have been saved from the model with its head or from the one without, so that what stands before most
//! names (`base_model_prefix` in transformers: `model.`, `transformer.`, `gpt_neox.`) is there or not. transformers
//! takes it off and puts it on as needed, and leaves some buffers of old files unread; so does this, and nothing else.

use crate::arch::Family;

/// The architecture's name of the tensor that a file calls `stored`.
pub(super) fn canonical(family: Family, stored: &str) -> String {
    let (names, prefix) = (family.names(), family.base_prefix());
    let within = |name: &str, module: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
    let inside = [Some(names.layers), Some(names.embedding), names.positions, Some(names.final_norm)];
    let mut inside = inside.into_iter().flatten().filter_map(|module| module.strip_prefix(prefix)?.strip_prefix('.'));
    if inside.any(|module| within(stored, module)) {
        return format!("{prefix}.{stored}");
    }
    let outside = stored.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
    let name = outside.filter(|name| within(name, names.head)).unwrap_or(stored);
    // GPT-NeoX's head has had two names.
    match name.strip_prefix("lm_head.") {
        Some(kind) if family == Family::GptNeox => format!("{}.{kind}", names.head),
        _ => name.to_owned(),
    }
}

/// Whether transformers leaves a tensor of this name unread: masks, and frequencies that follow from the configuration
/// (`_keys_to_ignore_on_load_unexpected` of the family's class, and what `from_pretrained` adds to it).
pub(super) fn is_buffer(family: Family, stored: &str) -> bool {
    let ends: &[&str] = match family {
        Family::Gpt2 => &["attn.bias", "attn.masked_bias", "crossattention.bias"],
        Family::GptNeox => &["attention.bias", "attention.masked_bias"],
        _ => &[],
    };
    let is_mask =
        ends.iter().any(|end| stored.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    is_mask || (family != Family::Gpt2 && stored.contains("rotary_emb.inv_freq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_come_and_go() {
        for (family, stored, expected) in [
            (Family::Gpt2, "h.0.attn.c_attn.bias", "transformer.h.0.attn.c_attn.bias"),
            (Family::Gpt2, "transformer.wpe.weight", "transformer.wpe.weight"),
            (Family::Gpt2, "lm_head.weight", "lm_head.weight"),
            (Family::Llama, "layers.1.mlp.down_proj.weight.absmax", "model.layers.1.mlp.down_proj.weight.absmax"),
            (Family::Llama, "norm.weight", "model.norm.weight"),
            (Family::Llama, "model.lm_head.weight", "lm_head.weight"),
            (Family::Llama, "normal.weight", "normal.weight"),
            (Family::GptNeox, "embed_in.weight", "gpt_neox.embed_in.weight"),
            (Family::GptNeox, "embed_out.weight", "embed_out.weight"),
            (Family::GptNeox, "lm_head.weight", "embed_out.weight"),
        ] {
            assert_eq!(canonical(family, stored), expected);
        }
    }

    #[test]
    fn nothing_but_buffers_is_left_unread() {
        assert!(
            is_buffer(Family::Gpt2, "h.3.attn.bias") && is_buffer(Family::Gpt2, "transformer.h.3.attn.masked_bias")
        );
        assert!(is_buffer(Family::GptNeox, "gpt_neox.layers.0.attention.masked_bias"));
        assert!(is_buffer(Family::Llama, "model.layers.0.self_attn.rotary_emb.inv_freq"));
        assert!(!is_buffer(Family::Gpt2, "h.3.attn.c_attn.bias") && !is_buffer(Family::Llama, "h.3.attn.bias"));
        assert!(!is_buffer(Family::GptNeox, "layers.0.attention.dense.bias"));
    }
}
