//! Which modules of a model a configuration puts an adapter on.

use fancy_regex::Regex;

use super::config::{Layers, LoraConfig};
use super::expert_names::parameter;
use super::known::{known, leaves, unknown};
use super::targets::Targets;
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

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
