//! `adapter_config.json` as peft writes it.

use fancy_regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::targets::Targets;
use crate::error::{Error, Result};

/// How an adapter was made and how it is applied. Keys that are not listed here are kept and written
/// again; those that would change the mathematics are refused by [`LoraConfig::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// The kind of adapter; `LORA` is the only one that is implemented.
    pub peft_type: String,
    /// What the model is for.
    #[serde(default)]
    pub task_type: Option<String>,
    /// The model that the adapter belongs to, as a person would find it.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// The rank: rows of every `A` and columns of every `B`.
    #[serde(default = "eight")]
    pub r: usize,
    /// The numerator of the scale.
    #[serde(default = "eight_point", serialize_with = "whole_if_whole")]
    pub lora_alpha: f64,
    /// The probability with which an element of a module's input is dropped in training.
    #[serde(default, deserialize_with = "or_default")]
    pub lora_dropout: f64,
    /// Which modules are adapted.
    #[serde(default)]
    pub target_modules: Option<Targets>,
    /// Which of them are not.
    #[serde(default)]
    pub exclude_modules: Option<Targets>,
    /// Which biases are trained: `none`, `all`, or `lora_only`, those of the adapted modules.
    #[serde(default = "none")]
    pub bias: String,
    /// Whether the scale is `alpha / sqrt(r)` and not `alpha / r`
    /// (Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023).
    #[serde(default, deserialize_with = "or_default")]
    pub use_rslora: bool,
    /// How `A` and `B` were drawn.
    #[serde(default = "yes")]
    pub init_lora_weights: Value,
    /// The layers that are adapted: a number or a list; all of them where it is null.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    /// Ranks of single modules: a regular expression for the end of a module's name, and the rank.
    /// The first that matches counts.
    #[serde(default, deserialize_with = "or_default")]
    pub rank_pattern: Map<String, Value>,
    /// Alphas of single modules, as `rank_pattern`.
    #[serde(default, deserialize_with = "or_default")]
    pub alpha_pattern: Map<String, Value>,
    /// Whether peft loads the adapter frozen.
    #[serde(default, deserialize_with = "or_default")]
    pub inference_mode: bool,
    /// Every other key.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `layers_to_transform`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// A single layer.
    One(usize),
    /// Several.
    Many(Vec<usize>),
}

impl Layers {
    /// Whether it is an empty list, which means all layers.
    pub fn is_all(&self) -> bool {
        matches!(self, Layers::Many(many) if many.is_empty())
    }

    /// Whether layer `layer` is among them; an empty list means all of them, as in peft.
    pub fn contains(&self, layer: usize) -> bool {
        match self {
            Layers::One(one) => *one == layer,
            Layers::Many(many) => many.is_empty() || many.contains(&layer),
        }
    }
}

/// Keys of peft that change the mathematics, or the base's weights, and are not implemented: each must
/// be absent, null, false or empty.
const UNSUPPORTED: [&str; 15] = [
    "layer_replication",
    "lora_bias",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "megatron_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "use_qalora",
    "use_bdlora",
    "use_mora",
    "use_hira",
    "routing_function",
    "ensure_weight_tying",
];

/// More than any matrix has rows.
const MOST_RANK: u64 = u32::MAX as u64;

/// Ways to begin that change the base's weights, so that a trained adapter is none of the base as it is: peft changes
/// them again when it reads one; each with what would do. All others are over once an adapter is trained, `lora_ga` too:
/// peft changes nothing for it where it has no gradients of the base.
const INITS_ON_THE_BASE: [(&str, &str); 5] = [
    (
        "pissa_niter",
        "an adapter of the base as it is: peft draws this one's part of the base anew, another one each time it reads it; save it with path_initial_model_for_weight_conversion",
    ),
    ("pissa", TAKEN_FROM_THE_BASE),
    ("olora", TAKEN_FROM_THE_BASE),
    (
        "corda",
        "an adapter of the base as it is: this one needs the data that its part of the base was found with, and peft does not read it without; save it with path_initial_model_for_weight_conversion",
    ),
    (
        "loftq",
        "an adapter of the base as it is: this one belongs to the quantised base that it was trained on; save that with the adapter merged, or set init_lora_weights to true and give that base",
    ),
];

const TAKEN_FROM_THE_BASE: &str = "an adapter of the base as it is: this one was trained on what its first state leaves of the base's weights; save it with path_initial_model_for_weight_conversion";

/// What an adapter takes off the base's weights when it begins, and again when peft reads it as it was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartOfBase {
    /// The principal singular values and vectors.
    Pissa,
    /// What the first columns' space holds.
    Olora,
}

impl Default for LoraConfig {
    /// peft's defaults, on all linear layers of a causal language model.
    fn default() -> Self {
        Self {
            peft_type: "LORA".into(),
            task_type: Some("CAUSAL_LM".into()),
            base_model_name_or_path: None,
            r: eight(),
            lora_alpha: eight_point(),
            lora_dropout: 0.0,
            target_modules: Some(Targets::all_linear()),
            exclude_modules: None,
            bias: none(),
            use_rslora: false,
            init_lora_weights: yes(),
            layers_to_transform: None,
            rank_pattern: Map::new(),
            alpha_pattern: Map::new(),
            inference_mode: true,
            other: unused_keys(),
        }
    }
}

impl LoraConfig {
    /// A configuration for training: `target_modules` as typed, see [`Targets::from_str`](std::str::FromStr).
    pub fn new(r: usize, lora_alpha: f64, target_modules: &str) -> Self {
        let Ok(targets) = target_modules.parse::<Targets>();
        Self { r, lora_alpha, target_modules: Some(targets), ..Self::default() }
    }

    /// Refuses what is not implemented, numbers that make no adapter, and pairs that are none of the base as it is.
    ///
    /// # Errors
    /// [`Error::AdapterFeature`] naming the key, its value and what would do.
    pub fn check(&self) -> Result<()> {
        match self.part_of_base() {
            Some(_) => Err(feature("init_lora_weights", &self.init_lora_weights, TAKEN_FROM_THE_BASE)),
            None => self.check_as_saved(),
        }
    }

    /// The part of the base's weights that the pairs of a trained adapter belong to the rest of, if peft finds it again.
    pub(super) fn part_of_base(&self) -> Option<PartOfBase> {
        match self.init_lora_weights.as_str()?.to_ascii_lowercase().as_str() {
            "pissa" => Some(PartOfBase::Pissa),
            "olora" => Some(PartOfBase::Olora),
            _ => None,
        }
    }

    /// [`Self::check`] of an adapter as it stands in its file, whose pairs may belong to what is left of the base.
    pub(super) fn check_as_saved(&self) -> Result<()> {
        if self.peft_type != "LORA" {
            return Err(feature("peft_type", &self.peft_type, "LORA"));
        }
        for key in UNSUPPORTED {
            if let Some(value) = self.other.get(key).filter(|value| !is_inert(value)) {
                return Err(feature(key, value, "null, false or empty"));
            }
        }
        if !["none", "all", "lora_only"].contains(&self.bias.as_str()) {
            return Err(feature("bias", &self.bias, "none, all or lora_only"));
        }
        for (key, value) in [("use_dora", self.flag("use_dora")), ("fan_in_fan_out", self.flag("fan_in_fan_out"))] {
            if value.is_none() {
                return Err(feature(key, &self.other[key], "true or false"));
            }
        }
        self.modules_to_save()?;
        self.target_parameters()?;
        let init = &self.init_lora_weights;
        let word = init.as_str().map(str::to_ascii_lowercase).unwrap_or_default();
        let changing = INITS_ON_THE_BASE.iter().find(|(changing, _)| word.starts_with(changing));
        if let Some((_, expected)) = changing.filter(|_| self.part_of_base().is_none()) {
            return Err(feature("init_lora_weights", init, expected));
        }
        self.layers_pattern()?;
        if self.r == 0 || self.r as u64 > MOST_RANK {
            return Err(feature("r", &self.r, "1 or more, and less than the weights have rows"));
        }
        if !self.lora_alpha.is_finite() {
            return Err(feature("lora_alpha", &self.lora_alpha, "a finite number"));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(feature("lora_dropout", &self.lora_dropout, "a probability below 1"));
        }
        self.check_patterns()
    }

    /// A switch among the other keys; none where it is neither true nor false.
    fn flag(&self, key: &str) -> Option<bool> {
        match self.other.get(key) {
            None | Some(Value::Null) => Some(false),
            Some(value) => value.as_bool(),
        }
    }

    /// Whether adapters have a magnitude a row of the weight (Liu et al., "DoRA: Weight-Decomposed Low-Rank
    /// Adaptation", 2024).
    pub fn use_dora(&self) -> bool {
        self.flag("use_dora") == Some(true)
    }

    /// The modules of the base that are trained and saved whole.
    ///
    /// # Errors
    /// If the key is no list of names.
    pub fn modules_to_save(&self) -> Result<Vec<&str>> {
        self.names("modules_to_save", "a list of modules' names")
    }

    /// What stands before a layer's number in the names of modules, one of them; none where that may be anything.
    ///
    /// # Errors
    /// If the key is neither a word nor a list of them, or is there without `layers_to_transform`.
    pub fn layers_pattern(&self) -> Result<Vec<&str>> {
        let key = "layers_pattern";
        let patterns = match self.other.get(key) {
            Some(Value::String(one)) => {
                if one.is_empty() {
                    Vec::new()
                } else {
                    vec![one.as_str()]
                }
            }
            _ => self.names(key, "a word or a list of words")?,
        };
        if !patterns.is_empty() && self.layers_to_transform.is_none() {
            return Err(feature(key, &self.other[key], "layers_to_transform beside it"));
        }
        Ok(patterns)
    }

    /// The parameters that are adapted: those of mixtures of experts, by what their names end with.
    ///
    /// # Errors
    /// If the key is no list of names.
    pub fn target_parameters(&self) -> Result<Vec<&str>> {
        self.names("target_parameters", "a list of parameters' names")
    }

    fn names(&self, key: &'static str, expected: &'static str) -> Result<Vec<&str>> {
        match self.other.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(value) => {
                let names = value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
                names.ok_or_else(|| feature(key, value, expected))
            }
        }
    }

    fn check_patterns(&self) -> Result<()> {
        for (pattern, rank) in &self.rank_pattern {
            ending(pattern)?;
            if rank.as_u64().is_none_or(|rank| rank == 0 || rank > MOST_RANK) {
                return Err(feature("rank_pattern", &format!("{rank} for '{pattern}'"), "whole numbers, 1 or more"));
            }
        }
        for (pattern, alpha) in &self.alpha_pattern {
            ending(pattern)?;
            if alpha.as_f64().is_none() {
                return Err(feature("alpha_pattern", &format!("{alpha} for '{pattern}'"), "numbers"));
            }
        }
        Ok(())
    }

    /// The rank of a module's adapter.
    ///
    /// # Errors
    /// If a pattern cannot be matched with its name.
    pub fn rank(&self, module: &str) -> Result<usize> {
        let own = first_match(&self.rank_pattern, module)?.and_then(Value::as_u64);
        Ok(own.map_or(self.r, |rank| usize::try_from(rank).unwrap_or(usize::MAX)))
    }

    /// The factor of a module's `B·A`: `alpha / r`, or `alpha / sqrt(r)` with `use_rslora`. The one
    /// place where this is decided.
    ///
    /// # Errors
    /// As [`Self::rank`].
    pub fn scaling(&self, module: &str) -> Result<f64> {
        let alpha = first_match(&self.alpha_pattern, module)?.and_then(Value::as_f64).unwrap_or(self.lora_alpha);
        let rank = self.rank(module)? as f64;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }

    /// `adapter_config.json`: indented, sorted by key. The patterns keep their order, which counts.
    ///
    /// # Errors
    /// [`Error::Adapter`] if a number is not finite.
    pub fn to_json(&self) -> Result<String> {
        let failed = |e: serde_json::Error| Error::Adapter(format!("has a configuration that is no JSON: {e}"));
        let mut value = serde_json::to_value(self).map_err(failed)?;
        if let Value::Object(map) = &mut value {
            map.sort_keys();
        }
        serde_json::to_string_pretty(&value).map_err(failed)
    }
}

/// The value of the first pattern that matches the end of a module's name, from a point on or from the
/// start, as peft's `get_pattern_key` does it.
fn first_match<'a>(patterns: &'a Map<String, Value>, module: &str) -> Result<Option<&'a Value>> {
    for (pattern, value) in patterns {
        if names(pattern, module)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether a pattern of `rank_pattern` or `alpha_pattern` matches the end of a module's name.
///
/// # Errors
/// If it is no regular expression, or matching takes more steps than anybody waits for.
pub(super) fn names(pattern: &str, module: &str) -> Result<bool> {
    ending(pattern)?.is_match(module).map_err(|e| {
        Error::Adapter(format!("has the pattern '{pattern}', which cannot be matched with '{module}': {e}"))
    })
}

fn ending(pattern: &str) -> Result<Regex> {
    Regex::new(&format!(r"\A(?:.*\.)?(?:{pattern})\z"))
        .map_err(|e| Error::Adapter(format!("has the pattern '{pattern}', which is no regular expression: {e}")))
}

fn is_inert(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

fn feature(key: &'static str, value: &impl ToString, expected: &'static str) -> Error {
    Error::AdapterFeature { key, value: value.to_string(), expected }
}

/// Keys that other readers look for although nothing here sets them.
fn unused_keys() -> Map<String, Value> {
    let no = |key: &str| (key.to_owned(), Value::Bool(false));
    let null = |key: &str| (key.to_owned(), Value::Null);
    [no("fan_in_fan_out"), no("use_dora"), null("layers_pattern"), null("modules_to_save")].into_iter().collect()
}

fn eight() -> usize {
    8
}

fn eight_point() -> f64 {
    8.0
}

fn none() -> String {
    "none".into()
}

fn yes() -> Value {
    Value::Bool(true)
}

/// `null` is the default, as in files of old versions.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// peft declares alpha a whole number, and some readers insist on it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn whole_if_whole<S: Serializer>(value: &f64, to: S) -> std::result::Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 9e15 { to.serialize_i64(*value as i64) } else { to.serialize_f64(*value) }
}

#[cfg(test)]
mod tests;
