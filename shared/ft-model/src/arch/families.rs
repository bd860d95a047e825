//! What each family's `config.json` says, and what it takes for granted.

mod mixtures;
mod plain;

use ft_kernels::math::pow;
use serde_json::{Value, json};

use self::plain::{MOST_LAYERS, Start, activation, common, window};
use super::keys::{Keys, unsupported, wrong};
use super::rope_config::{Base, Defaults, build, rope};
use super::{Activation, Architecture, Family, LayerKind, NormKind, QkNorm};
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
        Family::Gpt2 => gpt2(keys),
        Family::GptNeox => gpt_neox(keys),
        Family::Phi => phi(keys),
        Family::Starcoder2 => starcoder2(keys),
        Family::Mixtral => mixtures::mixtral(keys),
        Family::Qwen3Moe => mixtures::qwen3_moe(keys),
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
    for layer in arch.layers.iter_mut().filter(|layer| layer.sliding_window.is_none()) {
        layer.rope = Some(1);
    }
    let parameters = keys.object("rope_parameters")?;
    let of = |kind: &str| parameters.map_or(Ok(None), |p| p.object(kind));
    let (local, global) = (of("sliding_attention")?, of("full_attention")?);
    // Where both styles are written the old one's words count, as in transformers.
    let mut words = global.map(Keys::all).cloned().unwrap_or_default();
    if let Some(old) = keys.object("rope_scaling")? {
        let differs = |(key, value): (&String, &Value)| words.get(key) != Some(value);
        if global.is_some() && old.all().iter().any(differs) {
            tracing::warn!(
                "config.json has both rope_scaling and rope_parameters, and they differ: rope_scaling counts, as in transformers"
            );
        }
        words.extend(old.all().clone());
    }
    let global = Some(keys.over(&words)).filter(|words| !words.is_empty());
    let base = |theta: f64| Base {
        theta,
        share: 1.0,
        partial: false,
        head_dim: arch.head_dim,
        context: arch.max_position_embeddings,
    };
    let local = build(keys, local, base(keys.number_or("rope_local_base_freq", Some(10_000.0))?))?;
    let global = build(keys, global, base(keys.number_or("rope_theta", Some(1_000_000.0))?))?;
    arch.ropes = vec![local, global];
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

fn gpt2(keys: Keys<'_>) -> Result<Architecture> {
    let (hidden_size, num_heads) = (keys.size_or("n_embd", Some(768))?, keys.size_or("n_head", Some(12))?);
    let context = keys.size_or("n_positions", Some(1024))?;
    let start = Start {
        family: Family::Gpt2,
        num_heads,
        hidden_size,
        num_layers: keys.count_or("n_layer", Some(12), MOST_LAYERS)?,
        intermediate_size: keys.size_or("n_inner", Some(4 * hidden_size))?,
        context,
        head_dim: hidden_size / num_heads,
    };
    let mut arch = layer_norms(start.plain(keys, true)?, keys.number_or("layer_norm_epsilon", Some(1e-5))?);
    arch.layers = vec![LayerKind { sliding_window: None, rope: None, is_mixture: false }; arch.num_layers];
    arch.activation = activation(keys, "activation_function", Activation::GeluTanh)?;
    arch.scales_by_layer = keys.flag_or("scale_attn_by_inverse_layer_idx", false)?;
    if !keys.flag_or("scale_attn_weights", true)? {
        arch.attention_scale = 1.0;
    }
    Ok(Architecture { learned_positions: Some(context), ..arch })
}

fn gpt_neox(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = Start::new(Family::GptNeox, keys, 2048, None)?.plain(keys, false)?;
    let defaults = Defaults {
        theta_key: "rotary_emb_base",
        partial: Some(0.25),
        partial_key: "rotary_pct",
        ..Defaults::default()
    };
    arch.ropes = vec![rope(keys, arch.head_dim, arch.max_position_embeddings, &defaults)?];
    // transformers writes both styles side by side.
    keys.get("rope_theta");
    keys.get("partial_rotary_factor");
    arch = layer_norms(arch, keys.number_or("layer_norm_eps", Some(1e-5))?);
    arch.activation = activation(keys, "hidden_act", Activation::Gelu)?;
    arch.parallel = keys.flag_or("use_parallel_residual", true)?;
    let attention = keys.flag_or("attention_bias", true)?;
    Ok(Architecture { qkv_bias: attention, o_bias: attention, ..arch })
}

fn phi(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = Start::new(Family::Phi, keys, 2048, None)?.plain(keys, false)?;
    let defaults = Defaults { partial: Some(0.5), ..Defaults::default() };
    arch.ropes = vec![rope(keys, arch.head_dim, arch.max_position_embeddings, &defaults)?];
    arch = layer_norms(arch, keys.number_or("layer_norm_eps", Some(1e-5))?);
    arch.activation = activation(keys, "hidden_act", Activation::GeluTanh)?;
    if keys.flag_or("qk_layernorm", false)? {
        arch.qk_norm = QkNorm::Head;
    }
    Ok(Architecture { parallel: true, head_bias: true, ..arch })
}

fn starcoder2(keys: Keys<'_>) -> Result<Architecture> {
    let arch = common(Family::Starcoder2, keys, &Defaults::default(), true)?;
    let mut arch = layer_norms(arch, keys.number_or("norm_epsilon", Some(1e-5))?);
    let bias = keys.flag_or("use_bias", true)?;
    (arch.qkv_bias, arch.o_bias, arch.mlp_bias) = (bias, bias, bias);
    arch.activation = activation(keys, "hidden_act", Activation::GeluTanh)?;
    let window = window(keys)?;
    arch.layers.iter_mut().for_each(|layer| layer.sliding_window = window);
    Ok(arch)
}

/// A block with layer norms, an MLP without a gate, and biases everywhere.
fn layer_norms(arch: Architecture, norm_eps: f64) -> Architecture {
    let (qkv_bias, o_bias, mlp_bias) = (true, true, true);
    Architecture { norm: NormKind::Layer, norm_eps, gated: false, qkv_bias, o_bias, mlp_bias, ..arch }
}

/// Layers with a window where `layer_types` says so, or else `slides` does.
fn windows(
    keys: Keys<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<LayerKind>> {
    let types = keys.list("layer_types", layers)?;
    let one = |i: usize| -> Result<LayerKind> {
        let slides = match types.map(|list| &list[i]) {
            None => slides(i),
            Some(word) if word == "sliding_attention" => true,
            Some(word) if word == "full_attention" => false,
            Some(other) => return Err(unsupported("layer_types", other, "full_attention or sliding_attention")),
        };
        Ok(LayerKind { sliding_window: window.filter(|_| slides), rope: Some(0), is_mixture: false })
    };
    (0..layers).map(one).collect()
}

/// A bound, `default` where the key is missing, none where it is null.
fn softcap(keys: Keys<'_>, key: &str, default: f64) -> Result<Option<f64>> {
    if keys.has(key) { keys.number(key) } else { Ok(Some(default)) }
}
