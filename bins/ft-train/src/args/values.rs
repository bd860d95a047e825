//! Values of arguments, and how they are read.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use serde_json::{Map, Value};

/// A JSON object, such as `{"num_cycles": 2}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(pub Map<String, Value>);

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            _ => Err("expected a JSON object such as {\"name\": 1}".into()),
        }
    }
}

/// clap's own parser of paths refuses the empty one, which here says that no value was given.
pub fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// A number of at least 0.
pub fn not_negative(text: &str) -> Result<f64, String> {
    within(text, 0.0..f64::INFINITY, "a number of at least 0")
}

/// A number from 0 to below 1.
pub fn probability(text: &str) -> Result<f64, String> {
    within(text, 0.0..1.0, "a number from 0 to below 1")
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    within(text, 0.0..1.0 + f64::EPSILON, "a number from 0 to 1")
}

/// A whole number of steps, or below 1 a share of all of them. 0 is never.
pub fn steps(text: &str) -> Result<f64, String> {
    let wrong = "a whole number of steps, or a number below 1, which is a share of all steps";
    let steps = within(text, 0.0..2f64.powi(53), wrong)?;
    if steps >= 1.0 && steps.fract() != 0.0 { Err(format!("expected {wrong}")) } else { Ok(steps) }
}

fn within(text: &str, range: Range<f64>, what: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x| range.contains(x)).ok_or_else(|| format!("expected {what}"))
}
