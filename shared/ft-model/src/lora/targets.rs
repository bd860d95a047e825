//! Which modules an adapter is put on.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::str::FromStr;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::config::{Layers, LoraConfig};
use super::ends::End;
use super::parameters::{expert_words, parameter};
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

impl LoraConfig {
    /// The modules in a model's layers that this configuration adapts, by layer, then in the order of
    /// [`Projection::of_layer`]. Beside them there are [`LoraConfig::ends`].
    ///
    /// # Errors
    /// If nothing matches, a name matches nothing, or a module is meant that cannot be adapted here.
    pub fn modules(&self, arch: &Architecture) -> Result<Vec<(usize, Projection)>> {
        self.for_model(arch)?.listed(arch)
    }

    /// [`Self::modules`] of a configuration as it is written.
    fn listed(&self, arch: &Architecture) -> Result<Vec<(usize, Projection)>> {
        let none = Targets::Many(Vec::new());
        let targets = match &self.target_modules {
            Some(targets) => targets,
            None if !self.target_parameters()?.is_empty() => &none,
            None => {
                let known = known(arch);
                return Err(Error::Adapter(format!("has no target_modules; expected all-linear, or some of {known}")));
            }
        };
        self.check_parameters(arch)?;
        let in_layers = LayersOf::new(self)?;
        let (take, leave) = (targets.matcher()?, self.exclude_modules.as_ref().map(Targets::matcher).transpose()?);
        let taken = |module: &str| -> Result<bool> {
            Ok(take.takes(module)? && !leave.as_ref().map_or(Ok(false), |leave| leave.takes(module))?)
        };
        let mut modules = Vec::new();
        for layer in 0..arch.num_layers {
            for projection in Projection::of_layer(arch, layer) {
                let module = projection.module(arch, layer);
                let is_taken = if projection.is_of_mixture() {
                    self.adapts_parameter(&parameter(arch, layer, projection))
                } else {
                    in_layers.contain(layer, &module)? && taken(&module)?
                };
                if is_taken {
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

    /// Refuses a name in `target_modules` of a new adapter that matches nothing: a mistyped one among good ones would
    /// leave a module untrained. Of a trained adapter it is no fault, see [`LoraConfig::warnings`].
    ///
    /// # Errors
    /// [`Error::Adapter`] naming it.
    pub fn refuse_unknown_targets(&self, arch: &Architecture) -> Result<()> {
        let config = self.for_model(arch)?;
        match config.target_modules.as_ref().map(|targets| unknown(targets, arch)).unwrap_or_default()[..] {
            [name, ..] => Err(Error::Adapter(format!(
                "has '{name}' in target_modules, which matches none of the model's modules; there are {} in layers 0 to {}",
                known(arch),
                arch.num_layers.saturating_sub(1)
            ))),
            [] => Ok(()),
        }
    }

    /// The configuration as it is written: `all-linear` in words, as peft does before it saves, for other readers do
    /// not know it; and what means experts as `target_parameters`. Once written it stays the same.
    ///
    /// # Errors
    /// If it asks for what experts cannot have.
    pub fn for_model(&self, arch: &Architecture) -> Result<Self> {
        let mut config = self.clone();
        if arch.experts.is_some() {
            config.take_parameters(arch)?;
        } else if config.target_modules.as_ref().is_some_and(Targets::is_all_linear) {
            config.target_modules = Some(Targets::Many(leaves(arch)));
        }
        Ok(config)
    }
}

/// `layers_to_transform`, and where in a module's name the layer's number stands.
struct LayersOf<'a> {
    layers: Option<&'a Layers>,
    patterns: Vec<Regex>,
}

impl<'a> LayersOf<'a> {
    fn new(config: &'a LoraConfig) -> Result<Self> {
        let pattern = |text: &str| {
            Regex::new(&format!(r"\A(?:.*?\.)?(?:{text})\.(\d+)\.")).map_err(|e| {
                Error::Adapter(format!("has layers_pattern '{text}', which is no regular expression: {e}"))
            })
        };
        let patterns = config.layers_pattern()?.into_iter().map(pattern).collect::<Result<_>>()?;
        let layers = config.layers_to_transform.as_ref().filter(|layers| !layers.is_all());
        Ok(Self { layers, patterns })
    }

    /// Whether a module of layer `layer` is among them. As in peft the first pattern that matches says which number is
    /// the layer's.
    fn contain(&self, layer: usize, module: &str) -> Result<bool> {
        let Some(layers) = self.layers else { return Ok(true) };
        if self.patterns.is_empty() {
            return Ok(layers.contains(layer));
        }
        for pattern in &self.patterns {
            let found = pattern.captures(module).map_err(|e| {
                Error::Adapter(format!("has a layers_pattern that cannot be matched with '{module}': {e}"))
            })?;
            if let Some(number) = found.as_ref().and_then(|found| found.get(1)) {
                return Ok(number.as_str().parse().is_ok_and(|layer| layers.contains(layer)));
            }
        }
        Ok(false)
    }
}

/// The names among `targets` that match none of the model's modules.
pub(super) fn unknown<'a>(targets: &'a Targets, arch: &Architecture) -> Vec<&'a str> {
    let Targets::Many(names) = targets else { return Vec::new() };
    let of = |layer: usize| {
        let modules = Projection::of_layer(arch, layer).into_iter().filter(|p| !p.is_of_mixture());
        modules.map(move |p| p.module(arch, layer))
    };
    let all: Vec<String> = (0..arch.num_layers).flat_map(of).collect();
    let exists = |name: &str| {
        all.iter()
            .map(String::as_str)
            .chain(End::ALL.map(|end| end.module(arch.family)))
            .any(|module| ends_with(module, name))
    };
    names.iter().map(String::as_str).filter(|name| !exists(name)).collect()
}

/// The last parts of the names of all linear layers that are modules, sorted.
fn leaves(arch: &Architecture) -> Vec<String> {
    let names: BTreeSet<&str> = (0..arch.num_layers).flat_map(|layer| of_layer(arch, layer)).collect();
    names.into_iter().map(Into::into).collect()
}

/// The last parts of the names of a layer's modules, in its order.
fn of_layer(arch: &Architecture, layer: usize) -> impl Iterator<Item = &'static str> {
    let modules = Projection::of_layer(arch, layer).into_iter().filter(|p| !p.is_of_mixture());
    modules.map(move |p| {
        let path = p.path(arch, layer);
        path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
    })
}

/// What can be targeted, for messages.
pub(super) fn known(arch: &Architecture) -> String {
    let mut all: Vec<&str> = Vec::new();
    for name in (0..arch.num_layers).flat_map(|layer| of_layer(arch, layer)).chain(expert_words(arch)) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(", ")
}
