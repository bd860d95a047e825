//! Llama's block with some of its parts switched: other norms, activations, biases, rotary embeddings.

use ft_kernels::math::pow;
use serde_json::{Value, json};

use super::plain::{activation, common, window};
use super::windows::{ropes_by_kind, turn_by_kind, turn_in_windows, windows};
use crate::arch::keys::{Keys, unsupported, wrong};
use crate::arch::rope_config::Defaults;
use crate::arch::{Activation, Architecture, Family, QkNorm, QueryGrowth, Rope, RopeScaling, Xielu};
use crate::error::Result;

pub(super) fn seed_oss(keys: Keys<'_>) -> Result<Architecture> {
    let arch = common(Family::SeedOss, keys, &Defaults::default(), false)?;
    Ok(Architecture {
        qkv_bias: keys.flag_or("attention_bias", true)?,
        o_bias: keys.flag_or("attention_out_bias", false)?,
        mlp_bias: keys.flag_or("mlp_bias", false)?,
        ..arch
    })
}

/// Llama by other names. transformers has one switch for all biases of the attention.
pub(super) fn internlm3(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::InternLm3, keys, &Defaults::default(), false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(2))?;
    let attention = keys.flag_or("qkv_bias", keys.flag_or("attention_bias", false)?)?;
    let mlp = keys.flag_or("bias", keys.flag_or("mlp_bias", false)?)?;
    if attention != mlp {
        return Err(unsupported("qkv_bias", &json!(attention), &format!("{mlp}, as the key bias says")));
    }
    Ok(Architecture { qkv_bias: attention, o_bias: attention, mlp_bias: mlp, ..eps(keys, arch, 1e-5)? })
}

/// An MLP without a gate.
pub(super) fn arcee(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Arcee, keys, &Defaults::default(), false)?;
    arch.activation = activation(keys, "hidden_act", Activation::ReluSquared)?;
    let bias = keys.flag_or("attention_bias", false)?;
    let mlp_bias = keys.flag_or("mlp_bias", false)?;
    Ok(Architecture { gated: false, qkv_bias: bias, o_bias: bias, mlp_bias, ..eps(keys, arch, 1e-5)? })
}

pub(super) fn helium(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { theta: 100_000.0, pairs: true, ..Defaults::default() };
    let arch = common(Family::Helium, keys, &defaults, false)?;
    let (qkv_bias, mlp_bias) = (keys.flag_or("attention_bias", false)?, keys.flag_or("mlp_bias", false)?);
    Ok(Architecture { qkv_bias, mlp_bias, ..eps(keys, arch, 1e-8)? })
}

pub(super) fn ernie4_5(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { theta: 500_000.0, pairs: true, ..Defaults::default() };
    let mut arch = common(Family::Ernie45, keys, &defaults, true)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(arch.num_heads))?;
    let bias = keys.flag_or("use_bias", false)?;
    Ok(Architecture { qkv_bias: bias, o_bias: bias, mlp_bias: bias, ..eps(keys, arch, 1e-5)? })
}

/// OLMo 2 with windows; layers without one alone are stretched.
pub(super) fn olmo3(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Olmo3, keys, &Defaults::default(), false)?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    arch.layers = windows(keys, arch.num_layers, window, |i| !(i + 1).is_multiple_of(4))?;
    turn_by_kind(&mut arch.layers);
    // The old style's one base is that of the layers without a window; every public model has the same for both.
    arch.ropes = ropes_by_kind(keys, &arch, [500_000.0, keys.number_or("rope_theta", Some(500_000.0))?])?;
    let bias = keys.flag_or("attention_bias", false)?;
    Ok(Architecture { qk_norm: QkNorm::Whole, qkv_bias: bias, o_bias: bias, ..eps(keys, arch, 1e-5)? })
}

/// Norms before and after attention and MLP.
pub(super) fn glm4(keys: Keys<'_>) -> Result<Architecture> {
    let defaults = Defaults { partial: Some(0.5), pairs: true, ..Defaults::default() };
    let mut arch = common(Family::Glm4, keys, &defaults, false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(2))?;
    Ok(Architecture { qkv_bias: keys.flag_or("attention_bias", true)?, ..eps(keys, arch, 1.5625e-7)? })
}

/// Norms after attention and MLP, and of heads. Where some layers have a window the others do not turn.
pub(super) fn exaone4(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Exaone4, keys, &Defaults::default(), false)?;
    arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(arch.num_heads))?;
    let window = if keys.has("sliding_window") { window(keys)? } else { Some(4096) };
    let slides = pattern(keys)?;
    arch.layers = windows(keys, arch.num_layers, window, |i| slides[i % slides.len()])?;
    turn_in_windows(&mut arch.layers);
    Ok(Architecture { qk_norm: QkNorm::Head, ..eps(keys, arch, 1e-5)? })
}

/// `sliding_window_pattern`: after how many layers one has no window, or a letter for each of some layers: L with one, G
/// without.
fn pattern(keys: Keys<'_>) -> Result<Vec<bool>> {
    let key = "sliding_window_pattern";
    let every = |n: usize| (1..=n).map(|i| i < n).collect::<Vec<bool>>();
    match keys.get(key) {
        None => Ok(every(4)),
        Some(Value::String(letters)) if !letters.is_empty() && letters.chars().all(|c| matches!(c, 'L' | 'G')) => {
            Ok(letters.chars().map(|letter| letter == 'L').collect())
        }
        // What transformers writes where no layer has a window.
        Some(value) if value.as_u64() == Some(0) => Ok(vec![false]),
        Some(value) => {
            let number = value.as_u64().filter(|n| (1..=1 << 14).contains(n));
            let expected = "a whole number from 1 to 16384, or letters L and G";
            Ok(every(number.ok_or_else(|| wrong(key, Some(value), expected))? as usize))
        }
    }
}

/// Queries and keys are normalised after they turned.
pub(super) fn hunyuan(keys: Keys<'_>) -> Result<Architecture> {
    let mut arch = common(Family::Hunyuan, keys, &Defaults::default(), false)?;
    if let Some(rope) = by_alpha(keys, &arch)? {
        arch.ropes = vec![rope];
    }
    // What its own code on the hub calls what it always has, and the number of experts of one that has none.
    keys.get("use_qk_norm");
    if keys.get("num_experts").is_some_and(|n| *n != json!(1)) {
        return Err(unsupported("num_experts", &keys.get("num_experts").cloned().unwrap_or_default(), "1"));
    }
    let bias = keys.flag_or("attention_bias", false)?;
    let arch = eps(keys, arch, 1e-5)?;
    Ok(Architecture { qk_norm: QkNorm::Head, turns_first: true, qkv_bias: bias, o_bias: bias, ..arch })
}

/// What Hunyuan calls dynamic: a base that `alpha` has stretched once and for all.
fn by_alpha(keys: Keys<'_>, arch: &Architecture) -> Result<Option<Rope>> {
    let old = keys.object("rope_scaling")?.filter(|old| !old.is_empty());
    let Some(inner) = old.or(keys.object("rope_parameters")?) else { return Ok(None) };
    let kind = inner.text_or("rope_type", inner.text_or("type", "default")?)?;
    let alpha = inner.number("alpha")?.filter(|_| kind == "dynamic");
    let dims = arch.head_dim as f64;
    Ok(alpha.map(|alpha| {
        let theta = arch.ropes[0].theta * pow(alpha, dims / (dims - 2.0));
        Rope { theta, scaling: RopeScaling::None, ..arch.ropes[0].clone() }
    }))
}

/// Mistral's block; queries grow with their position.
pub(super) fn ministral3(keys: Keys<'_>) -> Result<Architecture> {
    let usual = json!({
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1,
    });
    with_rope(keys, "rope_parameters", usual, |keys| {
        let defaults = Defaults { theta: 1_000_000.0, ..Defaults::default() };
        let mut arch = common(Family::Ministral3, keys, &defaults, false)?;
        arch.num_kv_heads = keys.size_or("num_key_value_heads", Some(8))?;
        let window = window(keys)?;
        arch.layers.iter_mut().for_each(|layer| layer.sliding_window = window);
        let old = keys.object("rope_scaling")?.filter(|old| !old.is_empty());
        if let Some(inner) = old.or(keys.object("rope_parameters")?) {
            let context = inner.size_or("original_max_position_embeddings", Some(arch.max_position_embeddings))?;
            arch.query_growth = inner.number("llama_4_scaling_beta")?.map(|beta| QueryGrowth { beta, context });
        }
        eps(keys, arch, 1e-5)
    })
}

/// Norms of heads, and an MLP without a gate whose activation has numbers of its own in each layer.
pub(super) fn apertus(keys: Keys<'_>) -> Result<Architecture> {
    let usual = json!({
        "rope_type": "llama3", "rope_theta": 12e6, "factor": 8.0, "original_max_position_embeddings": 8192,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    });
    with_rope(keys, "rope_parameters", usual, |keys| {
        let defaults = Defaults { theta: 12_000_000.0, ..Defaults::default() };
        let mut arch = common(Family::Apertus, keys, &defaults, false)?;
        arch.activation = activation(keys, "hidden_act", Activation::Xielu(Xielu::default()))?;
        // What its own code on the hub always has.
        keys.get("qk_norm");
        let bias = keys.flag_or("attention_bias", false)?;
        let arch = eps(keys, arch, 1e-5)?;
        Ok(Architecture { gated: false, qk_norm: QkNorm::Head, qkv_bias: bias, o_bias: bias, ..arch })
    })
}

/// Reads `keys` with a whole rotary embedding under `name` where nothing says one.
fn with_rope(
    keys: Keys<'_>,
    name: &str,
    usual: Value,
    read: impl FnOnce(Keys<'_>) -> Result<Architecture>,
) -> Result<Architecture> {
    let says = ["rope_parameters", "rope_scaling", "rope_theta"];
    if says.iter().any(|key| keys.get(key).is_some()) {
        return read(keys);
    }
    let mut map = keys.all().clone();
    map.insert(name.into(), usual);
    read(keys.over(&map))
}

/// The norms' epsilon where the family's own default is `usual`.
fn eps(keys: Keys<'_>, arch: Architecture, usual: f64) -> Result<Architecture> {
    Ok(Architecture { norm_eps: keys.number_or("rms_norm_eps", Some(usual))?, ..arch })
}
