//! What sort of value an argument takes.

use std::any::TypeId;
use std::num::NonZeroUsize;

use clap::Arg;
use serde_json::{Map, Number, Value};

use crate::args::Object;

/// A sort of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Whole,
    Real,
    Text,
    /// A text, or the argument alone.
    MaybeText,
    Object,
    /// Several texts.
    Texts,
    /// Several whole numbers.
    Wholes,
    /// Whatever others take, for an argument that has no effect.
    Any,
}

impl Kind {
    /// The sort of a built argument.
    pub fn of(arg: &Arg) -> Self {
        let is = |types: &[TypeId]| types.iter().any(|of| arg.get_value_parser().type_id() == *of);
        let several = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        let whole = is(&[
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<i64>(),
            TypeId::of::<usize>(),
            TypeId::of::<NonZeroUsize>(),
        ]);
        match (several, whole) {
            _ if super::peers::of(arg).is_some() => Self::Any,
            (true, true) => Self::Wholes,
            (true, false) => Self::Texts,
            (false, true) => Self::Whole,
            _ if is(&[TypeId::of::<bool>()]) => Self::Bool,
            _ if is(&[TypeId::of::<f64>()]) => Self::Real,
            _ if is(&[TypeId::of::<Object>()]) => Self::Object,
            _ if arg.get_num_args().is_some_and(|range| range.min_values() == 0) => Self::MaybeText,
            _ => Self::Text,
        }
    }

    /// Words as they are typed, as a value of a file.
    pub fn value(self, words: &[String]) -> Value {
        let one = words.first().map_or("", String::as_str);
        match self {
            Self::Bool => {
                Value::Bool(matches!(one.to_ascii_lowercase().as_str(), "y" | "yes" | "t" | "true" | "on" | "1"))
            }
            Self::Whole | Self::Real => number(one),
            Self::Object => serde_json::from_str(one).unwrap_or(Value::Object(Map::new())),
            Self::Texts => words.iter().map(|word| Value::from(word.as_str())).collect(),
            Self::Wholes => words.iter().map(|word| number(word)).collect(),
            Self::MaybeText if one.is_empty() => Value::Bool(true),
            Self::Text | Self::MaybeText => one.into(),
            Self::Any => serde_json::from_str(one).unwrap_or_else(|_| one.into()),
        }
    }

    /// Its name in a JSON schema, with `null` for what is not given.
    pub fn schema(self) -> Value {
        let types = |name: &str| serde_json::json!({"type": [name, "null"]});
        let many = |item: &str| serde_json::json!({"type": [item, "array", "null"], "items": {"type": item}});
        match self {
            Self::Bool => types("boolean"),
            Self::Whole => types("integer"),
            Self::Real => types("number"),
            Self::Text => types("string"),
            Self::MaybeText => serde_json::json!({"type": ["string", "boolean", "null"]}),
            Self::Object => types("object"),
            Self::Texts => many("string"),
            Self::Wholes => many("integer"),
            Self::Any => Value::Object(Map::new()),
        }
    }
}

/// A number in the digits in which it was typed, as far as JSON has it.
fn number(word: &str) -> Value {
    let whole = word.parse::<u64>().map(Number::from).or_else(|_| word.parse::<i64>().map(Number::from));
    let number = whole.ok().or_else(|| word.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| word.into(), Value::Number)
}

/// A number as people write it: without an exponent, which readers of YAML 1.1 take for a word.
pub fn digits(number: &Number) -> String {
    match number.as_f64() {
        Some(real) if number.is_f64() && real.abs() < 1e16 => {
            let text = real.to_string();
            if text.contains('.') { text } else { text + ".0" }
        }
        _ => number.to_string(),
    }
}
