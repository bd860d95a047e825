//! The rotary embedding in a GGUF file's metadata and small tensors.

use std::collections::HashMap;

use ft_io::gguf::Value as Gguf;
use ft_kernels::math::log;
use serde_json::{Map, Value, json};

use super::families::Sizes;
use super::keys::GgufKeys;
use crate::arch::{Family, Rope, RopeScaling};
use crate::error::{Error, Result};

/// The tensor with what Llama 3.1 divides its frequencies by.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's factors for long sequences.
pub(crate) const LONG_FACTORS: &str = "rope_factors_long.weight";
/// LongRoPE's factors for short ones.
pub(crate) const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// Small tensors that change the rotary embedding, by their names.
pub(crate) type RopeTensors = HashMap<&'static str, Vec<f32>>;

/// The keys of the rotary embedding in both of `config.json`'s styles.
pub(super) fn config(
    keys: &GgufKeys<'_>,
    family: Family,
    sizes: &Sizes,
    tensors: &RopeTensors,
) -> Result<Map<String, Value>> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let dims = keys.size_or("rope.dimension_count", sizes.head_dim)?;
    let partial = matches!(
        family,
        Family::Phi3 | Family::Phi | Family::GptNeox | Family::Glm4 | Family::Nemotron | Family::StableLm
    );
    if dims > sizes.head_dim || dims < sizes.head_dim && !partial {
        return Err(keys.unsupported("rope.dimension_count", &format!("the width of a head, {}", sizes.head_dim)));
    }
    let mut rope = scaling(keys, theta, dims, sizes.context, tensors)?;
    let old = if rope["rope_type"] == "default" { Value::Null } else { rope.clone() };
    rope["rope_theta"] = json!(theta);
    let mut config = Map::new();
    let (theta_key, share_key) = match family {
        Family::GptNeox => ("rotary_emb_base", "rotary_pct"),
        _ => ("rope_theta", "partial_rotary_factor"),
    };
    if partial {
        let share = share(dims, sizes.head_dim);
        rope["partial_rotary_factor"] = json!(share);
        config.insert(share_key.into(), json!(share));
    }
    if let Some(original) = keys.whole("rope.scaling.original_context_length").filter(|_| family == Family::Phi3) {
        config.insert("original_max_position_embeddings".into(), json!(original));
    }
    if matches!(family, Family::Gemma3 | Family::Olmo3) {
        // The layers with a window have a base of their own, and are never stretched.
        let usual = if family == Family::Gemma3 { 10_000.0 } else { theta };
        let base = keys.number("rope.freq_base_swa")?.unwrap_or(usual);
        if family == Family::Gemma3 {
            config.insert("rope_local_base_freq".into(), json!(base));
        }
        let local = json!({"rope_type": "default", "rope_theta": base});
        rope = json!({"sliding_attention": local, "full_attention": rope});
    }
    config.insert(theta_key.into(), json!(theta));
    config.insert("rope_scaling".into(), old);
    config.insert("rope_parameters".into(), rope);
    Ok(config)
}

/// The share of a head's `width` elements that turns, such that `dims` come out of it when it is rounded down.
fn share(dims: usize, width: usize) -> f64 {
    let mut share = dims as f64 / width as f64;
    while ((width as f64 * share) as usize) < dims {
        share = share.next_up();
    }
    share
}

fn scaling(keys: &GgufKeys<'_>, theta: f64, dims: usize, context: usize, tensors: &RopeTensors) -> Result<Value> {
    let original = || keys.size_or("rope.scaling.original_context_length", context);
    let magnitude = keys.number("rope.scaling.attn_factor")?;
    if let Some(factors) = tensors.get(ROPE_FACTORS) {
        return llama3(theta, dims, factors);
    }
    if let (Some(long), Some(short)) = (tensors.get(LONG_FACTORS), tensors.get(SHORT_FACTORS)) {
        let list = |factors: &[f32]| factors.iter().map(|f| shortest(*f)).collect::<Vec<_>>();
        let original = original()?;
        let mut rope = json!({
            "rope_type": "longrope", "long_factor": list(long), "short_factor": list(short),
            "original_max_position_embeddings": original,
        });
        let stretch = context as f64 / original as f64;
        let usual = if stretch <= 1.0 { 1.0 } else { (1.0 + log(stretch) / log(original as f64)).sqrt() };
        if let Some(other) = magnitude.filter(|m| (m / usual - 1.0).abs() > 1e-6) {
            rope["attention_factor"] = json!(other);
        }
        return Ok(rope);
    }
    let key = "rope.scaling.type";
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?,
    };
    let kind = match keys.get(key) {
        None => "linear",
        Some(Gguf::String(kind)) => kind,
        Some(_) => return Err(keys.wrong(key, "a word")),
    };
    let rope = match (kind, factor) {
        ("none", _) | ("linear", None) => json!({"rope_type": "default"}),
        ("linear", Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
        ("yarn", Some(factor)) => return yarn(keys, factor, original()?, magnitude),
        ("yarn", None) => return Err(keys.wrong("rope.scaling.factor", "a number above 0")),
        _ => return Err(keys.unsupported(key, "none, linear or yarn")),
    };
    match magnitude {
        Some(other) if (other - 1.0).abs() > 1e-6 => Err(keys.unsupported("rope.scaling.attn_factor", "1")),
        _ => Ok(rope),
    }
}

/// YaRN. The file's factor of cosines and sines comes on top of the usual one.
fn yarn(keys: &GgufKeys<'_>, factor: f64, original: usize, magnitude: Option<f64>) -> Result<Value> {
    let mut rope = json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original});
    for key in ["beta_fast", "beta_slow"] {
        if let Some(beta) = keys.number(&format!("rope.scaling.yarn_{key}"))? {
            rope[key] = json!(beta);
        }
    }
    if let Some(mscale) = keys.number("rope.scaling.yarn_log_multiplier")? {
        // llama.cpp divides by what it multiplies with.
        (rope["mscale"], rope["mscale_all_dim"]) = (json!(mscale), json!(mscale));
    }
    if let Some(beta) = keys.number("attention.temperature_scale")? {
        rope["llama_4_scaling_beta"] = json!(beta);
    }
    if let Some(other) = magnitude.filter(|m| (m - 1.0).abs() > 1e-6) {
        rope["attention_factor"] = json!(other * if factor <= 1.0 { 1.0 } else { 0.1 * log(factor) + 1.0 });
    }
    Ok(rope)
}

/// The number that a person wrote, not the f32 nearest to it.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// llama.cpp keeps of Llama 3.1's scaling only what each frequency is divided by. Llama's four numbers
/// are found again, for a Hugging Face folder has to say them.
fn llama3(theta: f64, dims: usize, factors: &[f32]) -> Result<Value> {
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let plain = Rope { theta, dims, pairs: false, scaling: RopeScaling::None }.frequencies(1);
    let contexts = [8192].into_iter().chain((5..=20).map(|power| 1 << power));
    for original_max_position_embeddings in contexts {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings,
        };
        let scaled = Rope { theta, dims, pairs: false, scaling }.frequencies(1);
        let same = |((f, plain), scaled): ((&f32, f64), f64)| (plain / scaled / f64::from(*f) - 1.0).abs() < 1e-4;
        if factors.len() == plain.len() && factors.iter().zip(plain.iter().copied()).zip(scaled).all(same) {
            return Ok(json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": original_max_position_embeddings,
            }));
        }
    }
    let value = json!(factors).to_string();
    let expected = "the factors that Llama 3's scaling gives".into();
    Err(Error::Unsupported { key: ROPE_FACTORS.into(), value, expected })
}
