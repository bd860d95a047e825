//! Typed access to the keys of `config.json`; a key that is `null` is missing.
//!
//! Every key that is asked for is noted, so that those which change the mathematics and were not asked for by the
//! model's family can be refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The keys of a JSON object.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    map: &'a Map<String, Value>,
    used: &'a RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// The keys of `map`; `used` takes the names of those that are asked for.
    pub fn new(map: &'a Map<String, Value>, used: &'a RefCell<BTreeSet<String>>) -> Self {
        Self { map, used }
    }

    /// The value of `key` unless it is missing or `null`.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.used.borrow_mut().insert(key.into());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The keys of `map`, which stand for some of these.
    pub fn over<'b>(self, map: &'b Map<String, Value>) -> Keys<'b>
    where
        'a: 'b,
    {
        Keys { map, used: self.used }
    }

    /// All keys with their values.
    pub fn all(self) -> &'a Map<String, Value> {
        self.map
    }

    /// Whether there is no key.
    pub fn is_empty(self) -> bool {
        self.map.is_empty()
    }

    /// Whether the key is there, if only as `null`.
    pub fn has(self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The value of a key that nobody has asked for.
    pub fn unused(self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null() && !self.used.borrow().contains(key))
    }

    /// A number above 0; none where the key is missing.
    pub fn number(self, key: &str) -> Result<Option<f64>> {
        if self.get(key).is_some() { self.number_or(key, None).map(Some) } else { Ok(None) }
    }

    /// A list with one element a layer.
    pub fn list(self, key: &str, layers: usize) -> Result<Option<&'a Vec<Value>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().filter(|list| list.len() >= layers);
        list.map(Some).ok_or_else(|| wrong(key, Some(value), format!("a list of {layers} elements, one a layer")))
    }

    /// A list of numbers above 0.
    pub fn numbers(self, key: &str) -> Result<Vec<f64>> {
        let value = self.get(key);
        let numbers = value.and_then(Value::as_array).and_then(|l| l.iter().map(Value::as_f64).collect());
        numbers
            .filter(|list: &Vec<f64>| list.iter().all(|x| x.is_finite() && *x > 0.0))
            .ok_or_else(|| wrong(key, value, "a list of numbers above 0"))
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

    /// A positive whole number that memory is asked for by, so that it is at most `most`; or `default` where the key is
    /// missing.
    pub fn count_or(self, key: &str, default: Option<usize>, most: usize) -> Result<usize> {
        let count = self.size_or(key, default)?;
        if count <= most {
            return Ok(count);
        }
        Err(wrong(key, self.get(key), format!("a whole number from 1 to {most}")))
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

    /// A token, or a list of them. Early Llamas' -1 means none.
    pub fn tokens(self, key: &str) -> Result<Vec<u32>> {
        let Some(value) = self.get(key).filter(|value| value.as_i64() != Some(-1)) else { return Ok(Vec::new()) };
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
        let object = value.as_object().map(|map| Some(Keys { map, ..self }));
        object.ok_or_else(|| wrong(key, Some(value), "an object"))
    }
}

/// `key` is missing, or has a value that does not do.
pub fn wrong(key: &str, value: Option<&Value>, expected: impl Into<String>) -> Error {
    let found = value.map_or_else(|| "missing".into(), Value::to_string);
    Error::Key { key: key.into(), found, expected: expected.into() }
}

/// `key` has a value whose meaning is not implemented.
pub(super) fn unsupported(key: &str, value: &Value, expected: &str) -> Error {
    Error::Unsupported { key: key.into(), value: value.to_string(), expected: expected.into() }
}
