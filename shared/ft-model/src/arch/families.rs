//! What each family's `config.json` says, and what it takes for granted.

mod layer_norms;
mod mixtures;
mod plain;
mod switches;
mod windows;

use ft_kernels::math::pow;
use serde_json::json;

use self::plain::{Start, activation, common, window};
use self::windows::{ropes_by_kind, turn_by_kind, windows};
use super::keys::{Keys, wrong};
use super::rope_config::Defaults;
use super::{Activation, Architecture, Family, LayerKind, QkNorm};
use crate::error::Result;

/// The architecture of a family's `config.json`.
pub(super) fn read(family: Family, keys: Keys<'_>) -> Result<Architecture> {
    match family {
        Family::Llama => llama(keys),
        Family::Mistral => mistral(keys),
        Family::Qwen2 => qwen2(keys),
        Family::Qwen3 => qwen3(keys),
        Family::Phi3 => phi3(keys),
        Family::Gemma => gemma(keys),
        Family::Gemma2 => gemma2(keys),
        Family::Gemma3 => gemma3(keys),
        Family::SmolLm3 => smollm3(keys),
        Family::Olmo2 => olmo2(keys),
        Family::Granite => granite(keys),
        Family::Gpt2 => layer_norms::gpt2(keys),
        Family::GptNeox => layer_norms::gpt_neox(keys),
        Family::Phi => layer_norms::phi(keys),
        Family::Starcoder2 => layer_norms::starcoder2(keys),
        Family::Mixtral => mixtures::mixtral(keys),
        Family::Qwen3Moe => mixtures::qwen3_moe(keys),
        Family::SeedOss => switches::seed_oss(keys),
        Family::InternLm3 => switches::internlm3(keys),
        Family::Arcee => switches::arcee(keys),
        Family::Helium => switches::helium(keys),
        Family::Ernie45 => switches::ernie4_5(keys),
        Family::Olmo3 => switches::olmo3(keys),
        Family::Glm4 => switches::glm4(keys),
        Family::Nemotron => layer_norms::nemotron(keys),
        Family::Cohere2 => layer_norms::cohere2(keys),
        Family::Exaone4 => switches::exaone4(keys),
        Family::StableLm => layer_norms::stablelm(keys),
        Family::Hunyuan => switches::hunyuan(keys),
        Family::Ministral3 => switches::ministral3(keys),
        Family::Apertus => switches::apertus(keys),
        Family::OlMoe => mixtures::olmoe(keys),
    }
}

fn llama(keys: Keys<'_>) -> Result<Architecture> {
    let arch = common(Family::Llama, keys, &Defaults::default(), false)?;
    let attention = keys.flag_or("attention_bias", false)?;
    let mlp_bias = keys.flag_or("mlp_bias", false)?;
    Ok(Architecture { qkv_bias: attention, o_bias: attention, mlp_bias, ..arch })
}

fn mistral(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Mistral, keys, &Defaults::default(), false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(8))?;
    // transformers' default is for a key that is missing, and not for null.
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    arch.layers.iter_mut().for_each(|layer| layer.sliding_window = window);
    Ok(arch)
}

fn qwen2(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Qwen2, keys, &Defaults::default(), false)?;
    arch.qkv_bias = true;
    let layers = qwen_windows(keys, arch.num_layers)?;
    Ok(Architecture { layers, ..arch })
}

fn qwen3(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Qwen3, keys, &Defaults::default(), false)?;
    arch.qkv_bias = keys.flag_or("attention_bias", false)?;
    arch.o_bias = arch.qkv_bias;
    arch.qk_norm = QkNorm::Head;
    let layers = qwen_windows(keys, arch.num_layers)?;
    Ok(Architecture { layers, ..arch })
}

/// Windows from layer `max_window_layers` on, if they are wanted at all.
fn qwen_windows(keys: Keys<'_>, layers: usize) -> Result<Vec<LayerKind>> {
    let wanted = keys.flag_or("use_sliding_window", false)?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) }.filter(|_| wanted);
    let from = match keys.get("max_window_layers") {
        Some(value) => value.as_u64().ok_or_else(|| wrong("max_window_layers", Some(value), "a whole number"))?,
        None => 28,
    };
    windows(keys, layers, window, |i| i as u64 >= from)
}

fn phi3(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { partial: Some(1.0), ..Defaults::default() };
    let mut arch = common(Family::Phi3, keys, &defaults, false)?;
    let window = window(keys)?;
    arch.layers.iter_mut().for_each(|layer| layer.sliding_window = window);
    Ok(Architecture { norm_eps: keys.number_or("rms_norm_eps", Some(1e-5))?, ..arch })
}

fn gemma(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Gemma, keys, &Defaults::default(), true)?;
    // Old files name the exact function and mean the approximation; newer ones say which counts.
    let own = activation(keys, "hidden_act", Activation::GeluTanh)?;
    let own = if own == Activation::Gelu { Activation::GeluTanh } else { own };
    arch.activation = activation(keys, "hidden_activation", own)?;
    gemmas(keys, arch)
}

/// What all Gemmas share.
fn gemmas(keys: Keys<'_>, arch: Architecture) -> Result<Architecture> {
    let bias = keys.flag_or("attention_bias", false)?;
    // transformers' own scale is an f32.
    let embedding_scale = f64::from((arch.hidden_size as f64).sqrt() as f32);
    Ok(Architecture { norm_plus_one: true, embedding_scale, qkv_bias: bias, o_bias: bias, ..arch })
}

fn gemma2(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Gemma2, keys, &Defaults::default(), true)?;
    arch.activation = activation(keys, "hidden_activation", Activation::GeluTanh)?;
    arch.attention_scale = pow(keys.number_or("query_pre_attn_scalar", Some(256.0))?, -0.5);
    arch.attention_softcap = softcap(keys, "attn_logit_softcapping", 50.0)?;
    arch.logit_softcap = softcap(keys, "final_logit_softcapping", 30.0)?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    arch.layers = windows(keys, arch.num_layers, window, |i| i.is_multiple_of(2))?;
    gemmas(keys, arch)
}

/// Layers with a window turn by a base of their own.
fn gemma3(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = Start::new(Family::Gemma3, keys, 131_072, Some(256))?.plain(keys, true)?;
    arch.activation = activation(keys, "hidden_activation", Activation::GeluTanh)?;
    arch.attention_scale = pow(keys.number_or("query_pre_attn_scalar", Some(256.0))?, -0.5);
    arch.logit_softcap = keys.number("final_logit_softcapping")?;
    // In the files, but transformers' attention does not read it.
    keys.get("attn_logit_softcapping");
    arch.qk_norm = QkNorm::Head;
    let pattern = keys.size_or("sliding_window_pattern", keys.size_or("_sliding_window_pattern", Some(6)).ok())?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    arch.layers = windows(keys, arch.num_layers, window, |i| !(i + 1).is_multiple_of(pattern))?;
    turn_by_kind(&mut arch.layers);
    let local = keys.number_or("rope_local_base_freq", Some(10_000.0))?;
    arch.ropes = ropes_by_kind(keys, &arch, [local, keys.number_or("rope_theta", Some(1_000_000.0))?])?;
    gemmas(keys, arch)
}

fn smollm3(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { theta: 2_000_000.0, ..Defaults::default() };
    let mut arch = common(Family::SmolLm3, keys, &defaults, true)?;
    arch.qkv_bias = keys.flag_or("attention_bias", false)?;
    arch.o_bias = arch.qkv_bias;
    arch.mlp_bias = keys.flag_or("mlp_bias", false)?;
    let interval = keys.size_or("no_rope_layer_interval", Some(4))?;
    let given = keys.list("no_rope_layers", arch.num_layers)?;
    let turns: Vec<bool> = (0..arch.num_layers)
        .map(|i| given.map_or(!(i + 1).is_multiple_of(interval), |list| list[i] == json!(1) || list[i] == json!(true)))
        .collect();
    let wanted = keys.flag_or("use_sliding_window", false)?;
    let window = window(keys)?.filter(|_| wanted);
    arch.layers = windows(keys, arch.num_layers, window, |i| !turns[i])?;
    for (layer, turns) in arch.layers.iter_mut().zip(turns) {
        layer.rope = turns.then_some(0);
    }
    Ok(arch)
}

fn olmo2(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Olmo2, keys, &Defaults::default(), false)?;
    arch.norm_eps = keys.number_or("rms_norm_eps", Some(1e-5))?;
    arch.qkv_bias = keys.flag_or("attention_bias", false)?;
    arch.o_bias = arch.qkv_bias;
    Ok(Architecture { qk_norm: QkNorm::Whole, ..arch })
}

fn granite(keys: Keys<'_>) -> Result<Architecture> {
    let arch = common(Family::Granite, keys, &Defaults::default(), false)?;
    let attention = keys.flag_or("attention_bias", false)?;
    Ok(Architecture {
        qkv_bias: attention,
        o_bias: attention,
        mlp_bias: keys.flag_or("mlp_bias", false)?,
        attention_scale: keys.number_or("attention_multiplier", Some(1.0))?,
        embedding_scale: keys.number_or("embedding_multiplier", Some(1.0))?,
        residual_scale: keys.number_or("residual_multiplier", Some(1.0))?,
        logit_scale: 1.0 / keys.number_or("logits_scaling", Some(1.0))?,
        ..arch
    })
}

/// A bound, `default` where the key is missing, none where it is null.
fn softcap(keys: Keys<'_>, key: &str, default: f64) -> Result<Option<f64>> {
    if keys.has(key) { keys.number(key) } else { Ok(Some(default)) }
}
