//! A trained adapter held against a model, and what a person should know of it.

use super::adapter::Adapter;
use super::config::{self, LoraConfig};
use super::ends::End;
use super::known::unknown;
use super::saved::is_module;
use super::targets::{Matcher, Targets};
use crate::arch::Architecture;
use crate::error::Result;
use crate::projection::Projection;

impl Adapter {
    /// The adapter as it acts on a model, which it has to fit; what in its configuration acts on nothing is said.
    ///
    /// # Errors
    /// As [`Adapter::check`].
    pub fn fitted(self, arch: &Architecture) -> Result<Self> {
        self.check(arch)?;
        for warning in self.config.warnings(arch)? {
            tracing::warn!("the adapter {warning}");
        }
        self.tie_unnamed(arch)
    }
}

impl LoraConfig {
    /// What the configuration says that means nothing in this model: names that match no module, as `has …`.
    ///
    /// # Errors
    /// If a pattern cannot be matched.
    pub fn warnings(&self, arch: &Architecture) -> Result<Vec<String>> {
        let own = self.for_model(arch)?;
        let adapted = own.modules(arch)?.into_iter().map(|(layer, p)| p.module(arch, layer));
        let adapted: Vec<String> =
            adapted.chain(own.ends(arch)?.into_iter().map(|end| end.module(arch.family).to_owned())).collect();
        let mut all = Vec::new();
        let mut add = |name: &str, key: &str, of: &str| {
            all.push(format!("has '{name}' in {key}, which matches none of the {of}: it is without effect"));
        };
        for name in own.target_modules.as_ref().map(|targets| unknown(targets, arch)).unwrap_or_default() {
            add(name, "target_modules", "model's modules");
        }
        for name in self.exclude_modules.as_ref().map_or(Ok(Vec::new()), |leave| without_match(leave, arch))? {
            add(&name, "exclude_modules", "model's modules");
        }
        for name in self.modules_to_save()?.into_iter().filter(|name| !is_module(arch, name)) {
            add(name, "modules_to_save", "model's modules");
        }
        for (key, patterns) in [("rank_pattern", &own.rank_pattern), ("alpha_pattern", &own.alpha_pattern)] {
            for pattern in patterns.keys() {
                let mut matches = false;
                for module in &adapted {
                    matches |= config::names(pattern, module)?;
                }
                if !matches {
                    add(pattern, key, "adapted modules");
                }
            }
        }
        Ok(all)
    }
}

/// The names of `exclude_modules` that leave nothing out. Experts have names of their own, which are not looked at.
fn without_match(leave: &Targets, arch: &Architecture) -> Result<Vec<String>> {
    if arch.experts.is_some() {
        return Ok(Vec::new());
    }
    let (Targets::One(pattern), matcher @ Matcher::Whole(_)) = (leave, leave.matcher()?) else {
        return Ok(unknown(leave, arch).into_iter().map(str::to_owned).collect());
    };
    let in_layer = |layer: usize| {
        Projection::of_layer(arch, layer).into_iter().map(move |projection| projection.module(arch, layer))
    };
    let ends = End::ALL.map(|end| end.module(arch.family).to_owned());
    for module in (0..arch.num_layers).flat_map(in_layer).chain(ends) {
        if matcher.takes(&module)? {
            return Ok(Vec::new());
        }
    }
    Ok(vec![pattern.clone()])
}
