//! How a model's makers would have it sampled: `generation_config.json`.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::sampling::Sampling;

/// What `generation_config.json` says of the next token and of an answer's length.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationConfig {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens of an answer.
    pub max_new_tokens: Option<u32>,
    /// Keys that would change the answers and are not followed.
    pub ignored: Vec<String>,
}

const FILE: &str = "generation_config.json";

/// What transformers takes where sampling is on and the file does not say.
const TOP_K: usize = 50;

/// Keys that change answers in transformers, with the values at which they do nothing.
const NOT_FOLLOWED: [(&str, &[f64]); 15] = [
    ("num_beams", &[1.0]),
    ("typical_p", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("top_h", &[]),
    ("no_repeat_ngram_size", &[0.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("min_length", &[0.0]),
    ("min_new_tokens", &[0.0]),
    ("guidance_scale", &[1.0]),
    ("suppress_tokens", &[]),
    ("begin_suppress_tokens", &[]),
    ("bad_words_ids", &[]),
    ("sequence_bias", &[]),
    ("forced_eos_token_id", &[]),
];

impl GenerationConfig {
    /// Reads the file of the model at `model`; none where it is a GGUF file or has no such file.
    ///
    /// # Errors
    /// [`Error::Content`] if it is no JSON object, or a value is none that transformers takes.
    pub fn read(model: &Path) -> Result<Option<Self>> {
        let file = model.join(FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            // A file has no files in it.
            Err(_) if !file.exists() => return Ok(None),
            Err(error) => return Err(Error::content(file.display().to_string(), error.to_string())),
        };
        let wrong = |told: String| Error::content(file.display().to_string(), told);
        let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
        if !value.is_object() {
            return Err(wrong("expected an object".into()));
        }
        Self::of(&value).map(Some).map_err(wrong)
    }

    fn of(config: &Value) -> std::result::Result<Self, String> {
        let number = |key: &str, fits: fn(f64) -> bool, expected: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|&number| fits(number)) {
                Some(number) => Ok(Some(number)),
                None => Err(format!("'{key}' is {value}, expected {expected}")),
            },
        };
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let temperature = number("temperature", |t| t >= 0.0, "a number of at least 0")?.unwrap_or(1.0);
        let top_k = number("top_k", |k| k >= 0.0 && k.fract() == 0.0, "a whole number of at least 0")?;
        let top_k = Some(top_k.map_or(TOP_K, |k| k as usize)).filter(|&k| k > 0);
        let top_p = number("top_p", share, "a number between 0 and 1")?;
        let min_p = number("min_p", share, "a number between 0 and 1")?;
        let repetition_penalty = number("repetition_penalty", |p| p > 0.0, "a number above 0")?.unwrap_or(1.0);
        let whole = |n: f64| n >= 1.0 && n.fract() == 0.0 && n <= f64::from(u32::MAX);
        let max_new_tokens = number("max_new_tokens", whole, "a whole number of at least 1")?.map(|n| n as u32);
        let samples = config.get("do_sample").and_then(Value::as_bool).unwrap_or(false);
        let sampling = if samples {
            Sampling { temperature, top_k, top_p, min_p, repetition_penalty }
        } else {
            Sampling { repetition_penalty, ..Sampling::GREEDY }
        };
        let ignored = NOT_FOLLOWED.iter().filter(|(key, idle)| acts(config.get(key), idle));
        Ok(Self { sampling, max_new_tokens, ignored: ignored.map(|(key, _)| (*key).to_owned()).collect() })
    }
}

/// Whether a value does something; at those of `idle` it does not.
fn acts(value: Option<&Value>, idle: &[f64]) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(value) => value.as_f64().is_none_or(|number| !idle.contains(&number)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_file_does_not_say_is_as_transformers_has_it() {
        let of = |value: Value| GenerationConfig::of(&value).unwrap();
        assert_eq!(of(json!({"eos_token_id": 2, "temperature": 0.6})).sampling, Sampling::GREEDY);
        let found = of(json!({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 64}));
        let expected = Sampling { temperature: 0.6, top_k: Some(50), top_p: Some(0.9), ..Sampling::GREEDY };
        assert_eq!((found.sampling, found.max_new_tokens), (expected, Some(64)));
        let found = of(json!({"do_sample": true, "top_k": 0, "min_p": 0.1, "repetition_penalty": 1.05}));
        assert_eq!((found.sampling.temperature, found.sampling.top_k), (1.0, None));
        assert_eq!((found.sampling.min_p, found.sampling.repetition_penalty), (Some(0.1), 1.05));
    }

    #[test]
    fn keys_that_are_not_followed_are_named_where_they_act() {
        let value = json!({"num_beams": 1, "typical_p": 1.0, "suppress_tokens": [], "no_repeat_ngram_size": 3,
            "bad_words_ids": [[5]], "min_length": 0, "top_h": null});
        assert_eq!(GenerationConfig::of(&value).unwrap().ignored, ["no_repeat_ngram_size", "bad_words_ids"]);
    }

    #[test]
    fn values_that_transformers_does_not_take_are_refused() {
        let told = |value: Value| GenerationConfig::of(&value).unwrap_err();
        assert_eq!(told(json!({"top_p": 1.5})), "'top_p' is 1.5, expected a number between 0 and 1");
        assert_eq!(told(json!({"top_k": 2.5})), "'top_k' is 2.5, expected a whole number of at least 0");
        assert!(told(json!({"repetition_penalty": 0})).contains("above 0"));
        assert!(told(json!({"temperature": "hot"})).contains("'temperature' is \"hot\""));
    }
}
