//! Typed access to the keys of `config.json`; a key that is `null` is missing.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The keys of a JSON object.
#[derive(Clone, Copy)]
pub struct Keys<'a>(pub &'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The value of `key` unless it is missing or `null`.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A positive whole number.
    pub fn size(self, key: &str) -> Result<usize> {
        self.size_or(key, None)
    }

    /// A positive whole number, or `default` where the key is missing.
    pub fn size_or(self, key: &str, default: Option<usize>) -> Result<usize> {
        let expected = "a whole number above 0";
        let Some(value) = self.get(key) else {
            return default.ok_or_else(|| wrong(key, None, expected));
        };
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0 && n < 1 << 40);
        number.ok_or_else(|| wrong(key, Some(value), expected))
    }

    /// A positive number, or `default` where the key is missing.
    pub fn number_or(self, key: &str, default: Option<f64>) -> Result<f64> {
        let expected = "a number above 0";
        let Some(value) = self.get(key) else {
            return default.ok_or_else(|| wrong(key, None, expected));
        };
        value.as_f64().filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| wrong(key, Some(value), expected))
    }

    /// `true` or `false`, or `default` where the key is missing.
    pub fn flag_or(self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(key, Some(value), "true or false"))
    }

    /// Text, or `default` where the key is missing.
    pub fn text_or(self, key: &str, default: &'a str) -> Result<&'a str> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().ok_or_else(|| wrong(key, Some(value), "text"))
    }

    /// A token, or a list of them.
    pub fn tokens(self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let tokens = match value {
            Value::Array(list) => list.iter().map(one).collect(),
            other => one(other).map(|token| vec![token]),
        };
        tokens.ok_or_else(|| wrong(key, Some(value), "a token's id or a list of them"))
    }

    /// Another object.
    pub fn object(self, key: &str) -> Result<Option<Keys<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_object().map(|map| Some(Keys(map))).ok_or_else(|| wrong(key, Some(value), "an object"))
    }
}

/// `key` is missing, or has a value that does not do.
pub fn wrong(key: &str, value: Option<&Value>, expected: impl Into<String>) -> Error {
    let found = value.map_or_else(|| "missing".into(), Value::to_string);
    Error::Key { key: key.into(), found, expected: expected.into() }
}
