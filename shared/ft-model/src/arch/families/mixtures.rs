//! The families with mixtures of experts.

use serde_json::{Value, json};

use super::plain::{MOST_EXPERTS, common, window};
use crate::arch::keys::{Keys, unsupported, wrong};
use crate::arch::rope_config::Defaults;
use crate::arch::{Architecture, Experts, Family, QkNorm};
use crate::error::Result;

/// Mistral's block with a mixture in each layer. A token's experts always share out 1.
pub(super) fn mixtral(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Mixtral, keys, &Defaults { theta: 1e6, ..Defaults::default() }, false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(8))?;
    arch.norm_eps = keys.number_or("rms_norm_eps", Some(1e-5))?;
    let experts = experts(keys, arch.intermediate_size, true, 8)?;
    // The noise on what experts read while they are trained.
    refuse_unless_zero(keys, "router_jitter_noise")?;
    let window = window(keys)?;
    for layer in &mut arch.layers {
        (layer.sliding_window, layer.is_mixture) = (window, true);
    }
    Ok(Architecture { experts: Some(experts), ..arch })
}

/// Qwen3's block with a mixture in some layers, or all.
pub(super) fn qwen3_moe(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Qwen3Moe, keys, &Defaults::default(), false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(4))?;
    arch.qkv_bias = keys.flag_or("attention_bias", false)?;
    arch.o_bias = arch.qkv_bias;
    arch.qk_norm = QkNorm::Head;
    let inside = keys.size_or("moe_intermediate_size", Some(768))?;
    let experts = experts(keys, inside, keys.flag_or("norm_topk_prob", false)?, 128)?;
    let every = keys.size_or("decoder_sparse_step", Some(1))?;
    let plain = plain_layers(keys)?;
    let wanted = keys.flag_or("use_sliding_window", false)?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) }.filter(|_| wanted);
    for (i, layer) in arch.layers.iter_mut().enumerate() {
        layer.sliding_window = window;
        layer.is_mixture = (i + 1).is_multiple_of(every) && !plain.contains(&i);
    }
    Ok(Architecture { experts: Some(experts), ..arch })
}

/// Llama's block with norms of whole queries and keys and a mixture in each layer, whose weights share out less than 1.
pub(super) fn olmoe(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::OlMoe, keys, &Defaults::default(), false)?;
    arch.norm_eps = keys.number_or("rms_norm_eps", Some(1e-5))?;
    arch.qkv_bias = keys.flag_or("attention_bias", false)?;
    arch.o_bias = arch.qkv_bias;
    let normalised = keys.flag_or("norm_topk_prob", false)?;
    let experts = experts(keys, arch.intermediate_size, normalised, 64)?;
    arch.layers.iter_mut().for_each(|layer| layer.is_mixture = true);
    Ok(Architecture { experts: Some(experts), qk_norm: QkNorm::Whole, ..arch })
}

/// The experts by their number, which transformers has called by two names.
fn experts(keys: Keys<'_>, intermediate_size: usize, normalised: bool, usual: usize) -> Result<Experts> {
    let count = match keys.get("num_local_experts") {
        Some(_) => keys.count_or("num_local_experts", None, MOST_EXPERTS)?,
        None => keys.count_or("num_experts", Some(usual), MOST_EXPERTS)?,
    };
    let usual = if usual == 8 { 2 } else { 8 };
    let per_token = keys.size_or("num_experts_per_tok", Some(usual))?;
    if per_token > count {
        let expected = format!("at most the number of experts, which is {count}");
        return Err(wrong("num_experts_per_tok", Some(&json!(per_token)), expected));
    }
    // The auxiliary loss is added by transformers where the config asks for the router's logits, and nowhere else.
    if keys.flag_or("output_router_logits", false)? {
        let expected = "false: the routers' auxiliary loss is not implemented";
        return Err(unsupported("output_router_logits", &json!(true), expected));
    }
    Ok(Experts { count, per_token, intermediate_size, normalised })
}

/// `mlp_only_layers`
fn plain_layers(keys: Keys<'_>) -> Result<Vec<usize>> {
    let Some(value) = keys.get("mlp_only_layers") else { return Ok(Vec::new()) };
    let number = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let list = value.as_array().and_then(|list| list.iter().map(number).collect());
    list.ok_or_else(|| wrong("mlp_only_layers", Some(value), "a list of layers' numbers"))
}

fn refuse_unless_zero(keys: Keys<'_>, key: &str) -> Result<()> {
    match keys.get(key) {
        Some(value) if value.as_f64() != Some(0.0) => Err(unsupported(key, value, "0")),
        _ => Ok(()),
    }
}
