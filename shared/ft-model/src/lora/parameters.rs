//! Adapters of mixtures of experts, which peft puts on parameters (`target_parameters`) and not on modules.
//!
//! Since transformers 5 all experts' matrices of a kind are one parameter. The names that they had as modules still mean
//! them in `target_modules`: peft turns these into `target_parameters`, takes gate and up, which became one, together
//! and doubles their rank and alpha, so that the scale stays. `all-linear` means experts and routers too. Where some
//! layers have a plain MLP, the names of its parts mean those of experts alone: so it is in peft.

use std::collections::BTreeSet;

use candle_core::Tensor;
use serde_json::{Number, Value, json};

use super::adapter::LoraPair;
use super::config::LoraConfig;
use super::expert_names::{CONTAINER, DOWN, GATE_UP, INNER, ROUTER, is_of_experts, parameter, words};
use super::known::known;
use super::targets::{Targets, ends_with};
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

impl LoraConfig {
    /// Whether a parameter is adapted, by its full name.
    pub(super) fn adapts_parameter(&self, name: &str) -> bool {
        self.target_parameters().is_ok_and(|targets| targets.iter().any(|target| ends_with(name, target)))
    }

    /// peft's name of the module whose tensors are saved.
    pub(super) fn key_of(&self, module: &str) -> String {
        let Some((container, kind)) = module.rsplit_once('.').filter(|_| is_of_experts(module)) else {
            return module.into();
        };
        let inside = kind == GATE_UP && self.adapts_parameter(&format!("{container}.{DOWN}"));
        if inside { format!("{container}.base_layer") } else { container.into() }
    }

    /// The module whose tensors peft saves under `key`.
    pub(super) fn module_of(&self, key: &str) -> String {
        if let Some(layer) = key.strip_suffix(INNER) {
            return format!("{layer}{CONTAINER}.{GATE_UP}");
        }
        if !key.ends_with(CONTAINER) {
            return key.into();
        }
        let down = format!("{key}.{DOWN}");
        if self.adapts_parameter(&down) { down } else { format!("{key}.{GATE_UP}") }
    }

    /// Turns the names of experts and routers in `target_modules` into `target_parameters`.
    pub(super) fn take_parameters(&mut self, arch: &Architecture) -> Result<()> {
        let names = self.resolved(arch)?;
        self.take_words(&words(arch), names)
    }

    /// Takes `names` for `target_modules`, and those that are among `words` for `target_parameters`.
    pub(super) fn take_words(&mut self, words: &[(&str, &str)], names: Vec<String>) -> Result<()> {
        let mut modules: Vec<String> = Vec::new();
        let mut found: BTreeSet<&str> = BTreeSet::new();
        for name in names {
            match words.iter().find(|(word, _)| ends_with(&name, word)) {
                Some((word, _)) => drop(found.insert(word)),
                None => modules.push(name),
            }
        }
        if self.target_modules.is_some() {
            self.target_modules = Some(Targets::Many(modules));
        }
        let fused: Vec<&str> = words.iter().filter(|(_, of)| *of == GATE_UP).map(|(word, _)| *word).collect();
        match fused.iter().partition::<Vec<&str>, _>(|word| found.contains(**word)) {
            (there, missing) if missing.is_empty() => {
                let times = there.len();
                self.rank_pattern.insert(format!(r".*\.{GATE_UP}"), json!(times * self.r));
                self.alpha_pattern.insert(format!(r".*\.{GATE_UP}"), number(times as f64 * self.lora_alpha));
            }
            (there, missing) if !there.is_empty() => {
                return Err(Error::Adapter(format!(
                    "has '{}' in target_modules without '{}', which is one parameter with it; give both or none",
                    there[0], missing[0]
                )));
            }
            _ => {}
        }
        let known = self.target_parameters()?.into_iter();
        let new = words.iter().filter(|(word, _)| found.contains(word)).map(|(_, of)| *of);
        let all: BTreeSet<&str> = known.chain(new).collect();
        if !all.is_empty() {
            let all = json!(all);
            self.other.insert("target_parameters".into(), all);
        }
        Ok(())
    }

    /// The names in `target_modules`, `all-linear` and patterns resolved to the last parts of what they match.
    fn resolved(&self, arch: &Architecture) -> Result<Vec<String>> {
        let Some(targets) = &self.target_modules else { return Ok(Vec::new()) };
        if let Targets::Many(names) = targets {
            return Ok(names.clone());
        }
        let matcher = if targets.is_all_linear() { None } else { Some(targets.matcher()?) };
        let takes = |name: &str| matcher.as_ref().map_or(Ok(true), |matcher| matcher.takes(name));
        let mut all = BTreeSet::new();
        for layer in 0..arch.num_layers {
            for projection in Projection::of_layer(arch, layer) {
                let module = projection.module(arch, layer);
                if !projection.is_of_mixture() && takes(&module)? {
                    all.extend(module.rsplit('.').next().map(str::to_owned));
                }
            }
        }
        for (word, _) in words(arch) {
            if self.means(arch, word, &takes)? {
                all.insert(word.to_owned());
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Whether `takes`, and not `exclude_modules`, means an expert's part by its old name.
    fn means(&self, arch: &Architecture, word: &str, takes: &dyn Fn(&str) -> Result<bool>) -> Result<bool> {
        let part = if word == "gate" { "mlp.gate".to_owned() } else { format!("mlp.experts.{word}") };
        let layers = (0..arch.num_layers).filter(|&layer| arch.experts_of(layer).is_some());
        let names: Vec<String> = layers.map(|layer| arch.names().in_layer(layer, &part)).collect();
        let leave = self.exclude_modules.as_ref().map(Targets::matcher).transpose()?;
        let left: Vec<bool> = match leave {
            Some(leave) => names.iter().map(|name| leave.takes(name)).collect::<Result<_>>()?,
            None => vec![false; names.len()],
        };
        if left.iter().any(|left| *left) && !left.iter().all(|left| *left) {
            return Err(Error::Adapter(format!(
                "has exclude_modules that leave '{part}' out in some layers, but target_parameters mean it in all; name it in none or all"
            )));
        }
        let mut taken = false;
        for (name, left) in names.iter().zip(left) {
            taken |= !left && takes(name)?;
        }
        Ok(taken)
    }

    /// Refuses `target_parameters` that the model has not, and what peft cannot do with them.
    pub(super) fn check_parameters(&self, arch: &Architecture) -> Result<()> {
        let targets = self.target_parameters()?;
        let Some(first) = targets.first() else { return Ok(()) };
        let of = |layer: usize| {
            let all = Projection::of_layer(arch, layer).into_iter().filter(|p| p.is_of_mixture());
            all.map(move |p| parameter(arch, layer, p))
        };
        let names: Vec<String> = (0..arch.num_layers).flat_map(of).collect();
        if let Some(unknown) = targets.iter().find(|target| !names.iter().any(|name| ends_with(name, target))) {
            let there = match names.first() {
                Some(_) => format!("there are {GATE_UP}, {DOWN} and {ROUTER}"),
                None => format!("it has no experts; name modules in target_modules: {}", known(arch)),
            };
            return Err(Error::Adapter(format!(
                "has '{unknown}' in target_parameters, which matches none of the model's parameters that can be adapted; {there}"
            )));
        }
        let refused = [
            (self.lora_dropout > 0.0, "lora_dropout above 0"),
            (self.use_dora(), "use_dora"),
            (self.layers_to_transform.is_some(), "layers_to_transform"),
        ];
        match refused.iter().find(|(asked, _)| *asked) {
            Some((_, key)) => Err(Error::Adapter(format!(
                "adapts parameters of experts ('{first}'), which cannot be with {key}, in peft neither; leave it out, or experts and routers (target_modules q_proj,k_proj,v_proj,o_proj)"
            ))),
            None => Ok(()),
        }
    }
}

impl LoraPair {
    /// The products that the pair adds to the base, each by the name of the checkpoint's tensor, with its `A` `[r, in]`
    /// and `B` `[out, r]`: one for a module, one or two for each expert.
    ///
    /// # Errors
    /// If the model has no such module, or candle refuses the shapes.
    pub fn on_tensors(&self, arch: &Architecture) -> Result<Vec<(String, Tensor, Tensor)>> {
        let unknown = || Error::Module(self.module.clone());
        let (layer, projection) = Projection::parse_in(arch.family, &self.module).ok_or_else(unknown)?;
        let experts = projection.experts(arch, layer);
        let (first, all) = (projection.column(arch, layer), projection.shape(arch, layer).0);
        let (rank, each) = (self.a.dim(0)? / experts, all / experts);
        let b = self.b.reshape((each, rank, experts))?;
        let (mut column, mut found) = (0, Vec::new());
        for (path, (rows, _)) in projection.site().stored(arch, layer) {
            if (first..first + all).contains(&column) {
                let (expert, row) = ((column - first) / each, (column - first) % each);
                let a = self.a.narrow(0, expert * rank, rank)?.contiguous()?;
                let b = b.narrow(0, row, rows)?.narrow(2, expert, 1)?.squeeze(2)?.contiguous()?;
                found.push((arch.names().in_layer(layer, &format!("{path}.weight")), a, b));
            }
            column += rows;
        }
        Ok(found)
    }
}

/// A whole number where it is one.
fn number(x: f64) -> Value {
    let whole = x.fract() == 0.0 && x.abs() < 9e15;
    if whole { json!(x as i64) } else { Number::from_f64(x).map_or(Value::Null, Value::Number) }
}
