//! The families whose norms take away the mean.

use super::plain::{MOST_LAYERS, Start, activation, common, window};
use super::windows::{turn_in_windows, windows};
use crate::arch::keys::Keys;
use crate::arch::rope_config::{Defaults, rope};
use crate::arch::{Activation, Architecture, Family, LayerKind, NormKind, QkNorm};
use crate::error::Result;

pub(super) fn gpt2(keys: Keys<'_>) -> Result<Architecture> {
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

pub(super) fn gpt_neox(keys: Keys<'_>) -> Result<Architecture> {
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

pub(super) fn phi(keys: Keys<'_>) -> Result<Architecture> {
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

pub(super) fn starcoder2(keys: Keys<'_>) -> Result<Architecture> {
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
    Architecture { norm: NormKind::Layer { bias: true }, norm_eps, gated: false, qkv_bias, o_bias, mlp_bias, ..arch }
}

/// The weights of norms are what is added to 1, and the MLP has no gate.
pub(super) fn nemotron(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { partial: Some(0.5), ..Defaults::default() };
    let mut arch = common(Family::Nemotron, keys, &defaults, false)?;
    arch.activation = activation(keys, "hidden_act", Activation::ReluSquared)?;
    let (attention, mlp) = (keys.flag_or("attention_bias", false)?, keys.flag_or("mlp_bias", false)?);
    let arch = layer_norms(arch, keys.number_or("norm_eps", Some(1e-5))?);
    Ok(Architecture { norm_plus_one: true, qkv_bias: attention, o_bias: attention, mlp_bias: mlp, ..arch })
}

/// Attention and MLP read one norm, which has no bias. Layers without a window do not turn.
pub(super) fn cohere2(keys: Keys<'_>) -> Result<Architecture> {
    let mut start = Start::new(Family::Cohere2, keys, 8192, None)?;
    // transformers takes no notice of the key.
    start.head_dim = start.hidden_size / start.num_heads;
    let mut arch = start.plain(keys, true)?;
    let defaults = Defaults { pairs: true, ..Defaults::default() };
    arch.ropes = vec![rope(keys, arch.head_dim, arch.max_position_embeddings, &defaults)?];
    let pattern = keys.size_or("sliding_window_pattern", keys.size_or("_sliding_window_pattern", Some(4)).ok())?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    arch.layers = windows(keys, arch.num_layers, window, |i| !(i + 1).is_multiple_of(pattern))?;
    turn_in_windows(&mut arch.layers);
    let bias = keys.flag_or("attention_bias", false)?;
    // What its own code on the hub calls the parts that it always has.
    keys.get("use_parallel_block");
    Ok(Architecture {
        norm: NormKind::Layer { bias: false },
        norm_eps: keys.number_or("layer_norm_eps", Some(1e-5))?,
        parallel: true,
        qkv_bias: bias,
        o_bias: bias,
        logit_scale: keys.number_or("logit_scale", Some(0.0625))?,
        ..arch
    })
}

/// A gated MLP; the largest model's blocks are parallel, with a norm for each head.
pub(super) fn stablelm(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = Start::new(Family::StableLm, keys, 4096, None)?.plain(keys, false)?;
    let defaults = Defaults { partial: Some(0.25), ..Defaults::default() };
    arch.ropes = vec![rope(keys, arch.head_dim, arch.max_position_embeddings, &defaults)?];
    if keys.flag_or("qk_layernorm", false)? {
        arch.qk_norm = QkNorm::Each;
    }
    Ok(Architecture {
        norm: NormKind::Layer { bias: true },
        norm_eps: keys.number_or("layer_norm_eps", Some(1e-5))?,
        parallel: keys.flag_or("use_parallel_residual", false)?,
        qkv_bias: keys.flag_or("use_qkv_bias", false)?,
        ..arch
    })
}
