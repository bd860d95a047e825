//! Which modules an adapter is put on.

use std::convert::Infallible;
use std::str::FromStr;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::projection::Projection;

/// `target_modules` or `exclude_modules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// `all-linear`, or a regular expression for the whole name of a module.
    One(String),
    /// Names of modules, or what they end with after a point.
    Many(Vec<String>),
}

/// What peft calls every linear layer but the head.
const ALL_LINEAR: &str = "all-linear";

impl FromStr for Targets {
    type Err = Infallible;

    /// As typed: `all-linear`, names with commas between them or as a JSON list, or else a regular expression.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        if let Ok(names) = serde_json::from_str::<Vec<String>>(text) {
            return Ok(Targets::Many(names));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.,- ".contains(c);
        if text.eq_ignore_ascii_case(ALL_LINEAR) || !text.chars().all(is_name) {
            return Ok(Targets::One(text.into()));
        }
        Ok(Targets::Many(text.split([',', ' ']).filter(|name| !name.is_empty()).map(Into::into).collect()))
    }
}

impl Targets {
    /// Every linear layer of every block.
    pub fn all_linear() -> Self {
        Targets::One(ALL_LINEAR.into())
    }

    pub(super) fn is_all_linear(&self) -> bool {
        matches!(self, Targets::One(one) if one.eq_ignore_ascii_case(ALL_LINEAR))
    }

    /// A test of module names.
    pub(super) fn matcher(&self) -> Result<Matcher<'_>> {
        match self {
            _ if self.is_all_linear() => Ok(Matcher::Projections),
            Targets::One(pattern) => Regex::new(&format!(r"\A(?:{pattern})\z")).map(Matcher::Whole).map_err(|e| {
                Error::Adapter(format!("has target_modules '{pattern}', which is no regular expression: {e}"))
            }),
            Targets::Many(names) => Ok(Matcher::Endings(names)),
        }
    }
}

pub(super) enum Matcher<'a> {
    Projections,
    Whole(Regex),
    Endings(&'a [String]),
}

impl Matcher<'_> {
    pub(super) fn takes(&self, module: &str) -> Result<bool> {
        Ok(match self {
            Matcher::Projections => Projection::parse(module).is_some(),
            Matcher::Whole(regex) => regex
                .is_match(module)
                .map_err(|e| Error::Adapter(format!("has target_modules that cannot be matched: {e}")))?,
            Matcher::Endings(names) => names.iter().any(|name| ends_with(module, name)),
        })
    }
}

/// Whether `module` is `name`, or ends with it after a point.
pub(super) fn ends_with(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
