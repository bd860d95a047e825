//! Which modules an adapter is put on.

use std::convert::Infallible;
use std::str::FromStr;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::End;
use super::config::LoraConfig;
use crate::arch::Architecture;
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

    /// As typed: `all-linear`, names with commas between them, or else a regular expression.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
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

    fn is_all_linear(&self) -> bool {
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

impl LoraConfig {
    /// The modules in a model's layers that this configuration adapts (beside them there are [`LoraConfig::ends`]), by layer, then in the order of
    /// [`Projection::ALL`].
    ///
    /// # Errors
    /// If nothing matches, a name matches nothing, or a module is meant that cannot be adapted here.
    pub fn modules(&self, arch: &Architecture) -> Result<Vec<(usize, Projection)>> {
        let targets = self.target_modules.as_ref().ok_or_else(|| {
            Error::Adapter(format!("has no target_modules; expected all-linear, or some of {}", known(arch)))
        })?;
        refuse_unknown(targets, arch)?;
        let (take, leave) = (targets.matcher()?, self.exclude_modules.as_ref().map(Targets::matcher).transpose()?);
        let taken = |module: &str| -> Result<bool> {
            Ok(take.takes(module)? && !leave.as_ref().map_or(Ok(false), |leave| leave.takes(module))?)
        };
        let mut modules = Vec::new();
        for layer in (0..arch.num_layers).filter(|l| self.layers_to_transform.as_ref().is_none_or(|of| of.contains(*l)))
        {
            for projection in Projection::all(arch) {
                if taken(&projection.module(arch, layer))? {
                    modules.push((layer, projection));
                }
            }
        }
        if modules.is_empty() && self.ends(arch)?.is_empty() {
            return Err(Error::Adapter(format!(
                "has target_modules that match none of the model's modules; there are {} in layers 0 to {}",
                known(arch),
                arch.num_layers.saturating_sub(1)
            )));
        }
        Ok(modules)
    }

    /// Writes `all-linear` out, as peft does before it saves: other readers do not know the word.
    pub(super) fn expand_targets(&mut self, arch: &Architecture) {
        if self.target_modules.as_ref().is_some_and(Targets::is_all_linear) {
            let mut names: Vec<String> = Projection::all(arch).into_iter().map(|p| leaf(arch, p).to_owned()).collect();
            names.sort_unstable();
            self.target_modules = Some(Targets::Many(names));
        }
    }
}

/// A mistyped name among good ones would leave a module untrained without a word.
fn refuse_unknown(targets: &Targets, arch: &Architecture) -> Result<()> {
    let Targets::Many(names) = targets else { return Ok(()) };
    let of = |layer: usize| Projection::all(arch).into_iter().map(move |p| p.module(arch, layer));
    let all: Vec<String> = (0..arch.num_layers).flat_map(of).collect();
    let exists = |name: &str| {
        all.iter()
            .map(String::as_str)
            .chain(End::ALL.map(|end| end.module(arch.family)))
            .any(|module| ends_with(module, name))
    };
    match names.iter().find(|name| !exists(name)) {
        Some(name) => Err(Error::Adapter(format!(
            "has '{name}' in target_modules, which matches none of the model's modules; there are {} in layers 0 to {}",
            known(arch),
            arch.num_layers.saturating_sub(1)
        ))),
        None => Ok(()),
    }
}

fn leaf(arch: &Architecture, projection: Projection) -> &'static str {
    let path = projection.path(arch);
    path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
}

fn known(arch: &Architecture) -> String {
    Projection::all(arch).into_iter().map(|p| leaf(arch, p)).collect::<Vec<_>>().join(", ")
}
