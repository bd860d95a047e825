//! `config.json`, in the keys of transformers 4 and of transformers 5.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::DType;
use serde_json::{Value, json};

use super::keys::{Keys, unsupported, wrong};
use super::{Architecture, Family, families};
use crate::error::{Error, Result};

impl Architecture {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the architecture is not known, a key is missing or of another type, or a key changes the
    /// mathematics in a way that is not implemented. The errors do not name the file.
    pub fn from_config(config: &Value) -> Result<Self> {
        let map = config.as_object().ok_or_else(|| wrong("config", Some(config), "an object"))?;
        let used = RefCell::new(BTreeSet::new());
        let keys = Keys::new(map, &used);
        let family = family(keys)?;
        let mut arch = families::read(family, keys)?;
        arch.raw = config.clone();
        arch.base_dropout = dropout(family, keys)?;
        refuse_unsupported(keys)?;
        arch.check()?;
        Ok(arch)
    }

    /// The `config.json` of this model with weights of type `dtype`.
    pub fn to_config(&self, dtype: DType) -> Value {
        let mut config = self.raw.as_object().cloned().unwrap_or_default();
        if config.contains_key("architectures") {
            let own = config["architectures"].get(0).and_then(Value::as_str).unwrap_or_default();
            if !self.family.other_classes().contains(&own) {
                config.insert("architectures".into(), json!([self.family.class()]));
            }
        }
        let name = match dtype {
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            DType::F64 => "float64",
            _ => "float32",
        };
        if config.contains_key("torch_dtype") {
            config.insert("torch_dtype".into(), json!(name));
        }
        if config.contains_key("dtype") || !config.contains_key("torch_dtype") {
            config.insert("dtype".into(), json!(name));
        }
        Value::Object(config)
    }

    /// Fails where the sizes contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let expected = format!("a divisor of num_attention_heads, which is {}", self.num_heads);
            return Err(wrong("num_key_value_heads", Some(&json!(self.num_kv_heads)), expected));
        }
        self.check_sizes()?;
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return Err(wrong("head_dim", Some(&json!(self.head_dim)), "an even number above 0"));
        }
        Ok(())
    }
}

impl Architecture {
    /// Fails where a product of sizes could be more than a number of 64 bits holds.
    fn check_sizes(&self) -> Result<()> {
        // A machine with this many parameters is none that there will be.
        const MOST: u128 = 1 << 48;
        const MOST_EXPERTS: usize = 1 << 20;
        if let Some(of) = self.experts.filter(|of| of.count * self.num_layers > MOST_EXPERTS) {
            let expected = format!("at most {MOST_EXPERTS} over all of the {} layers", self.num_layers);
            return Err(wrong("num_experts", Some(&json!(of.count)), expected));
        }
        let wide = |n: usize| n as u128;
        let (hidden, experts) = (wide(self.hidden_size), self.experts.map_or(0, |of| wide(of.count)));
        let inside = wide(self.intermediate_size).max(self.experts.map_or(0, |of| wide(of.intermediate_size)));
        // Each factor is below 2^40, so none of these products is too large for 128 bits.
        let attention = wide(self.num_heads).saturating_mul(wide(self.head_dim));
        let layer = attention.saturating_mul(4).saturating_add(inside.saturating_mul(3 * experts.max(1)));
        let rows = layer.saturating_mul(wide(self.num_layers)).saturating_add(2 * wide(self.vocab_size));
        let rows = rows.saturating_add(wide(self.learned_positions.unwrap_or(0)));
        let found = rows.saturating_mul(hidden);
        if found <= MOST {
            return Ok(());
        }
        let keys = "hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, head_dim, vocab_size";
        Err(Error::Key {
            key: keys.into(),
            found: format!("{found} parameters together"),
            expected: format!("at most {MOST}"),
        })
    }
}

/// The family that `model_type` names, or else the class in `architectures`.
fn family(keys: Keys<'_>) -> Result<Family> {
    let class = keys.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let found = match keys.get("model_type") {
        Some(_) => Some(keys.text_or("model_type", "")?),
        None => class,
    };
    let Some(found) = found else {
        return Err(wrong("model_type", None, format!("one of: {}", known())));
    };
    let same = |f: &Family| {
        f.name() == found || f.class() == found || f.base_class() == found || f.other_classes().contains(&found)
    };
    let family = Family::ALL.into_iter().find(same).ok_or_else(|| unknown(found))?;
    // A classifier or a reward model of a known family has another head.
    let has = |class: &str| {
        class == family.class() || class == family.base_class() || family.other_classes().contains(&class)
    };
    match class {
        Some(class) if !has(class) => Err(unknown(class)),
        _ => Ok(family),
    }
}

/// The names of all families, for messages.
pub(super) fn known() -> String {
    Family::ALL.map(Family::name).join(", ")
}

/// An architecture that is not implemented.
pub(super) fn unknown(found: &str) -> Error {
    let nearest = nearest(found).map_or_else(String::new, |family| format!("most like it is '{}'; ", family.name()));
    Error::UnknownArchitecture { found: found.into(), nearest, known: known() }
}

/// The family whose name, or whose class's, has the longest beginning in common with `found`, of three letters or more.
fn nearest(found: &str) -> Option<Family> {
    let letters = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let found = letters(found);
    let common = |name: &str| letters(name).chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
    let of = |family: &Family| common(family.name()).max(common(family.class()));
    // Of equal ones the first, which is the plainest.
    Family::ALL.into_iter().rev().max_by_key(of).filter(|family| of(family) >= 3)
}

/// Keys that drop elements inside the base while it trains, where they ask for it, or where the family does without them.
fn dropout(family: Family, keys: Keys<'_>) -> Result<Vec<(String, f64)>> {
    let usual = |name: &str| {
        let drops = family == Family::SeedOss && matches!(name, "attention_dropout" | "residual_dropout");
        drops.then_some(0.1)
    };
    let names = [
        "attention_dropout",
        "hidden_dropout",
        "attn_pdrop",
        "resid_pdrop",
        "embd_pdrop",
        "residual_dropout",
        "embedding_dropout",
    ];
    let mut found = Vec::new();
    for name in names {
        let share = match keys.get(name) {
            Some(value) => {
                let share = value.as_f64().filter(|p| (0.0..1.0).contains(p));
                Some(share.ok_or_else(|| wrong(name, Some(value), "a probability below 1"))?)
            }
            None => usual(name),
        };
        found.extend(share.filter(|share| *share > 0.0).map(|share| (name.to_owned(), share)));
    }
    Ok(found)
}

/// Keys of transformers' decoders that change what is computed, with the values that change nothing. A family that
/// implements one has asked for it by now.
fn refuse_unsupported(keys: Keys<'_>) -> Result<()> {
    let one = ["partial_rotary_factor", "rotary_pct", "embedding_multiplier", "residual_multiplier"];
    let scales = ["logits_scaling", "logit_scale", "attention_multiplier", "pretraining_tp"];
    for key in one.into_iter().chain(scales) {
        refuse_unless(keys, key, "1", |v| v.as_f64() == Some(1.0))?;
    }
    let switches = [
        "attention_bias",
        "mlp_bias",
        "use_bias",
        "use_qk_norm",
        "qk_norm",
        "qk_layernorm",
        "use_sliding_window",
        "use_parallel_residual",
        "parallel_residual",
        "parallel_attn",
        "scale_attn_by_inverse_layer_idx",
        "add_cross_attention",
        "use_bidirectional_attention",
        "alibi",
        "attn_output_gate",
        "use_mrope",
    ];
    for key in switches {
        refuse_unless(keys, key, "false", |v| *v == json!(false))?;
    }
    refuse_unless(keys, "scale_attn_weights", "true", |v| *v == json!(true))?;
    let absent = [
        "sliding_window",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "query_pre_attn_scalar",
        "clip_qkv",
        "num_local_experts",
        "num_experts",
        "quantization_config",
        "attention_chunk_size",
        "dual_chunk_attention_config",
        "rope_scaling",
        "rope_parameters",
        "rope_local_base_freq",
    ];
    for key in absent {
        refuse_unless(keys, key, "null", |_| false)?;
    }
    let all = |v: &Value, word: Value| v.as_array().is_some_and(|list| list.iter().all(|x| *x == word));
    refuse_unless(keys, "layer_types", "full_attention for each layer", |v| all(v, json!("full_attention")))?;
    refuse_unless(keys, "no_rope_layers", "1 for each layer", |v| all(v, json!(1)))
}

/// Refuses `key` where it is there, its family has not asked for it, and `fine` does not hold of it.
fn refuse_unless(keys: Keys<'_>, key: &str, expected: &str, fine: impl Fn(&Value) -> bool) -> Result<()> {
    match keys.unused(key) {
        Some(value) if !fine(value) => Err(unsupported(key, value, expected)),
        _ => Ok(()),
    }
}
