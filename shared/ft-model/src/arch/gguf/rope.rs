//! The rotary embedding in a GGUF file's metadata and small tensors.

use candle_core::quantized::gguf_file::Value as Gguf;
use serde_json::{Map, Value, json};

use super::RopeTensors;
use super::keys::GgufKeys;
use crate::arch::{Family, Rope, RopeScaling};
use crate::error::{Error, Result};

/// The tensor with what Llama 3.1 divides its frequencies by.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's factors for long sequences.
pub(crate) const LONG_FACTORS: &str = "rope_factors_long.weight";
/// LongRoPE's factors for short ones.
pub(crate) const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// The keys of the rotary embedding in both of `config.json`'s styles.
pub(super) fn config(
    keys: &GgufKeys<'_>,
    family: Family,
    so_far: &Map<String, Value>,
    tensors: &RopeTensors,
) -> Result<Map<String, Value>> {
    let size = |key: &str| so_far.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
    let (head_dim, context) = (size("head_dim"), size("max_position_embeddings"));
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let dims = keys.size_or("rope.dimension_count", head_dim)?;
    if dims != head_dim && family != Family::Phi3 {
        return Err(keys.unsupported("rope.dimension_count", &format!("the width of a head, {head_dim}")));
    }
    let mut rope = scaling(keys, theta, dims, context, tensors)?;
    let old = if rope["rope_type"] == "default" { Value::Null } else { rope.clone() };
    rope["rope_theta"] = json!(theta);
    let mut config = Map::new();
    if dims != head_dim {
        let share = json!(dims as f64 / head_dim as f64);
        rope["partial_rotary_factor"] = share.clone();
        config.insert("partial_rotary_factor".into(), share);
    }
    if let Some(original) = keys.whole("rope.scaling.original_context_length").filter(|_| family == Family::Phi3) {
        config.insert("original_max_position_embeddings".into(), json!(original));
    }
    if family == Family::Gemma3 {
        // llama.cpp takes the base of the layers with a window for granted.
        config.insert("rope_local_base_freq".into(), json!(10_000.0));
        let local = json!({"rope_type": "default", "rope_theta": 10_000.0});
        rope = json!({"sliding_attention": local, "full_attention": rope});
    }
    config.insert("rope_theta".into(), json!(theta));
    config.insert("rope_scaling".into(), old);
    config.insert("rope_parameters".into(), rope);
    Ok(config)
}

fn scaling(keys: &GgufKeys<'_>, theta: f64, dims: usize, context: usize, tensors: &RopeTensors) -> Result<Value> {
    let original = || keys.size_or("rope.scaling.original_context_length", context);
    if let Some(factors) = tensors.get(ROPE_FACTORS) {
        return llama3(theta, dims, factors);
    }
    if let (Some(long), Some(short)) = (tensors.get(LONG_FACTORS), tensors.get(SHORT_FACTORS)) {
        let list = |factors: &[f32]| factors.iter().map(|f| shortest(*f)).collect::<Vec<_>>();
        return Ok(json!({
            "rope_type": "longrope", "long_factor": list(long), "short_factor": list(short),
            "original_max_position_embeddings": original()?,
        }));
    }
    let key = "rope.scaling.type";
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?,
    };
    let needed = || factor.ok_or_else(|| keys.wrong("rope.scaling.factor", "a number above 0"));
    Ok(match (keys.get(key), factor) {
        (None, None) => json!({"rope_type": "default"}),
        (None, Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
        (Some(Gguf::String(kind)), _) if kind == "none" => json!({"rope_type": "default"}),
        (Some(Gguf::String(kind)), _) if kind == "linear" => json!({"rope_type": "linear", "factor": needed()?}),
        (Some(Gguf::String(kind)), _) if kind == "yarn" => json!({
            "rope_type": "yarn", "factor": needed()?, "original_max_position_embeddings": original()?,
        }),
        _ => return Err(keys.unsupported(key, "none, linear or yarn")),
    })
}

/// The number that a person wrote, not the f32 nearest to it.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// llama.cpp keeps of Llama 3.1's scaling only what each frequency is divided by. Llama's four numbers
/// are found again, for a Hugging Face folder has to say them.
fn llama3(theta: f64, dims: usize, factors: &[f32]) -> Result<Value> {
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let plain = Rope { theta, dims, scaling: RopeScaling::None }.frequencies(1);
    let contexts = [8192].into_iter().chain((5..=20).map(|power| 1 << power));
    for original_max_position_embeddings in contexts {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings,
        };
        let scaled = Rope { theta, dims, scaling }.frequencies(1);
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
