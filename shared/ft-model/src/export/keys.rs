//! What a file says of the architecture.

use ft_io::gguf::{Metadata, Typed};

use crate::arch::{Architecture, Family, LayerKind, gguf};

/// The metadata that begin with the architecture's name, but for those of the rotary embedding.
pub(super) fn metadata(arch: &Architecture, name: &str) -> Metadata {
    let count = |n: usize| Typed::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let number = |x: f64| Typed::F32(x as f32);
    let (_, epsilon) = gguf::epsilon_keys(arch.family);
    let mut all = vec![
        ("vocab_size", count(arch.vocab_size)),
        ("context_length", count(arch.learned_positions.unwrap_or(arch.max_position_embeddings))),
        ("embedding_length", count(arch.hidden_size)),
        ("block_count", count(arch.num_layers)),
        ("feed_forward_length", count(arch.intermediate_size)),
        ("attention.head_count", count(arch.num_heads)),
        ("attention.head_count_kv", count(arch.num_kv_heads)),
        ("attention.key_length", count(arch.head_dim)),
        ("attention.value_length", count(arch.head_dim)),
        (epsilon, number(arch.norm_eps)),
    ];
    if let Some(experts) = &arch.experts {
        all.push(("expert_count", count(experts.count)));
        all.push(("expert_used_count", count(experts.per_token)));
        if arch.family == Family::Qwen3Moe {
            all.push(("expert_feed_forward_length", count(experts.intermediate_size)));
        }
    }
    match arch.family {
        Family::Gemma2 | Family::Gemma3 | Family::Phi3 => windows(arch, &mut all),
        Family::Granite => all.extend([
            ("attention.scale", number(arch.attention_scale)),
            ("embedding_scale", number(arch.embedding_scale)),
            ("residual_scale", number(arch.residual_scale)),
            ("logit_scale", number(1.0 / arch.logit_scale)),
        ]),
        Family::GptNeox => all.push(("use_parallel_residual", Typed::Bool(arch.parallel))),
        _ => {}
    }
    let caps = [("attn_logit_softcapping", arch.attention_softcap), ("final_logit_softcapping", arch.logit_softcap)];
    all.extend(caps.into_iter().filter_map(|(key, cap)| Some((key, number(cap?)))));
    all.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect()
}

/// The window, and which layers have it where that is not what llama.cpp takes for granted.
fn windows(arch: &Architecture, all: &mut Vec<(&str, Typed)>) {
    let window = arch.layers.iter().find_map(|layer| layer.sliding_window);
    let Some(size) = window else {
        // The reader of Phi-3 looks for it, and 0 is none.
        if arch.family == Family::Phi3 {
            all.push(("attention.sliding_window", Typed::U32(0)));
        }
        return;
    };
    all.push(("attention.sliding_window", Typed::U32(u32::try_from(size).unwrap_or(u32::MAX))));
    let every = match arch.family {
        Family::Gemma2 => 2,
        Family::Gemma3 => 6,
        _ => return,
    };
    let slides = |layer: &LayerKind| layer.sliding_window.is_some();
    if arch.layers.iter().enumerate().any(|(i, layer)| slides(layer) == (i + 1).is_multiple_of(every)) {
        let list = arch.layers.iter().map(slides).collect();
        all.push(("attention.sliding_window_pattern", Typed::Bools(list)));
    }
}
