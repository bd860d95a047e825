//! The rotary embedding in `config.json`: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (4).

use ft_kernels::math::log;
use serde_json::{Value, json};

use super::keys::{Keys, unsupported, wrong};
use super::{Rope, RopeScaling};
use crate::error::Result;

/// What a family takes for granted.
pub(super) struct Defaults<'a> {
    /// The base of the frequencies.
    pub theta: f64,
    /// The old style's own key of the base.
    pub theta_key: &'a str,
    /// The share of a head that turns; none where the family turns all of it.
    pub partial: Option<f64>,
    /// The old style's own key of that share.
    pub partial_key: &'a str,
    /// Whether neighbours turn together.
    pub pairs: bool,
}

impl Default for Defaults<'_> {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            theta_key: "rope_theta",
            partial: None,
            partial_key: "partial_rotary_factor",
            pairs: false,
        }
    }
}

/// The rotary embedding of a model with one.
pub(super) fn rope(keys: Keys<'_>, head_dim: usize, context: usize, defaults: &Defaults<'_>) -> Result<Rope> {
    let theta = keys.number_or(defaults.theta_key, Some(defaults.theta))?;
    // Some write the share even where the family does not read it: then it has to be 1.
    let share = keys.number_or(defaults.partial_key, Some(defaults.partial.unwrap_or(1.0)))?;
    let base = Base { theta, share, partial: defaults.partial.is_some(), pairs: defaults.pairs, head_dim, context };
    let (old, new) = (keys.object("rope_scaling")?.filter(|old| !old.is_empty()), keys.object("rope_parameters")?);
    let rope = build(keys, old.or(new), base)?;
    if old.is_some() && new.is_some_and(|new| build(keys, Some(new), base).ok().as_ref() != Some(&rope)) {
        tracing::warn!(
            "config.json has both rope_scaling and rope_parameters, and they differ: rope_scaling counts, as in transformers"
        );
    }
    Ok(rope)
}

/// What stands outside the object of the scaling.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub theta: f64,
    pub share: f64,
    /// Whether the family turns a part of each head.
    pub partial: bool,
    /// Whether neighbours turn together.
    pub pairs: bool,
    pub head_dim: usize,
    /// `max_position_embeddings`
    pub context: usize,
}

/// A rotary embedding from the object of its scaling, where there is one, and what stands outside of it.
pub(super) fn build(keys: Keys<'_>, inner: Option<Keys<'_>>, base: Base) -> Result<Rope> {
    let theta = inner.map_or(Ok(base.theta), |inner| inner.number_or("rope_theta", Some(base.theta)))?;
    let share = inner.map_or(Ok(base.share), |inner| inner.number_or("partial_rotary_factor", Some(base.share)))?;
    #[expect(clippy::float_cmp, reason = "a family that turns whole heads says exactly 1, or nothing")]
    if !base.partial && share != 1.0 {
        return Err(unsupported("partial_rotary_factor", &json!(share), "1"));
    }
    let dims = (base.head_dim as f64 * share) as usize;
    if dims == 0 || dims > base.head_dim {
        let expected = format!("a share that is at least one of a head's {} elements", base.head_dim);
        return Err(wrong("partial_rotary_factor", Some(&json!(share)), expected));
    }
    let scaling = inner.map_or(Ok(RopeScaling::None), |inner| scaling(keys, inner, base.context, dims))?;
    Ok(Rope { theta, dims, pairs: base.pairs, scaling })
}

fn scaling(keys: Keys<'_>, inner: Keys<'_>, context: usize, dims: usize) -> Result<RopeScaling> {
    let kind = inner.text_or("rope_type", inner.text_or("type", "default")?)?;
    let factor = || inner.number_or("factor", None);
    // The object's own word first, then the model's, then what it was made for.
    let original = || -> Result<usize> {
        let outer = keys.size_or("original_max_position_embeddings", Some(context))?;
        inner.size_or("original_max_position_embeddings", Some(outer))
    };
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: factor()? },
        "dynamic" => RopeScaling::Dynamic { factor: factor()?, context },
        "llama3" => RopeScaling::Llama3 {
            factor: factor()?,
            low_freq_factor: inner.number_or("low_freq_factor", None)?,
            high_freq_factor: inner.number_or("high_freq_factor", None)?,
            original_max_position_embeddings: original()?,
        },
        "yarn" => yarn(inner, original()?, context)?,
        "longrope" | "su" => longrope(inner, original()?, context, dims)?,
        other => {
            return Err(unsupported("rope_type", &json!(other), "default, linear, dynamic, llama3, yarn or longrope"));
        }
    })
}

fn yarn(inner: Keys<'_>, original: usize, context: usize) -> Result<RopeScaling> {
    let factor = inner.number("factor")?.unwrap_or(context as f64 / original as f64);
    // YaRN, section 3.4: how much sharper attention becomes.
    let sharper = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * log(factor) + 1.0 };
    let attention_factor = match (inner.number("attention_factor")?, inner.get("mscale"), inner.get("mscale_all_dim")) {
        (Some(given), _, _) => given,
        (None, Some(one), Some(all)) => {
            let number = |key: &str, value: &Value| value.as_f64().ok_or_else(|| wrong(key, Some(value), "a number"));
            match (number("mscale", one)?, number("mscale_all_dim", all)?) {
                (one, all) if one != 0.0 && all != 0.0 => sharper(one) / sharper(all),
                _ => sharper(1.0),
            }
        }
        _ => sharper(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: inner.number("beta_fast")?.unwrap_or(32.0),
        beta_slow: inner.number("beta_slow")?.unwrap_or(1.0),
        original_max_position_embeddings: original,
        truncate: inner.flag_or("truncate", true)?,
        attention_factor,
    })
}

fn longrope(inner: Keys<'_>, original: usize, context: usize, dims: usize) -> Result<RopeScaling> {
    let factors = |key: &str| -> Result<Vec<f64>> {
        let list = inner.numbers(key)?;
        if list.len() == dims.div_ceil(2) {
            return Ok(list);
        }
        Err(wrong(key, Some(&json!(list.len())), format!("{} numbers, one for each pair that turns", dims.div_ceil(2))))
    };
    let factor = inner.number("factor")?.unwrap_or(context as f64 / original as f64);
    let own = if factor <= 1.0 { 1.0 } else { (1.0 + log(factor) / log(original as f64)).sqrt() };
    Ok(RopeScaling::LongRope {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        original_max_position_embeddings: original,
        attention_factor: inner.number("attention_factor")?.unwrap_or(own),
    })
}
