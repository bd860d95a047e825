//! Several adapters as one, with a weight for each: peft's `add_weighted_adapter` (`peft/tuners/lora/model.py`,
//! `peft/utils/merge_utils.py`).
//!
//! `Cat`, and `Svd` as far as its rank goes, add up what the adapters add to the base. The other ways combine the `A`s
//! and the `B`s by themselves, with the roots of weights and scales as factors; TIES (Yadav et al., 2023) keeps the
//! largest elements and the sign of the majority, DARE (Yu et al., 2023) drops elements at random. The result's scale is
//! 1.

mod tensors;
mod ways;

pub use ways::{Combination, Combine, Majority};

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use ft_kernels::philox::Stream;
use ft_kernels::tensor::{from_vec, with_slice};
use serde_json::{Map, Value};

use super::adapter::{Adapter, LoraPair};
use super::config::LoraConfig;
use super::pissa::product;
use super::targets::Targets;
use crate::error::{Error, Result};
use crate::projection::Projection;
use tensors::Elements;

/// A module's pairs, with the products of weight and scale.
type Weighted<'a> = Vec<(&'a LoraPair, f64)>;

impl Combine {
    /// One adapter of all.
    ///
    /// # Errors
    /// [`Error::Adapter`] where the ranks differ and the way asks for equal ones, or an adapter has DoRA, biases, or
    /// modules beside the layers' projections.
    pub fn adapters(&self, all: &[(Adapter, f64)]) -> Result<Adapter> {
        all.iter().try_for_each(|(adapter, _)| refuse(adapter))?;
        let mut modules: BTreeMap<&str, Weighted<'_>> = BTreeMap::new();
        for (adapter, weight) in all {
            for pair in adapter.modules() {
                modules.entry(&pair.module).or_default().push((pair, weight * pair.scaling));
            }
        }
        let largest = all
            .iter()
            .flat_map(|(adapter, _)| adapter.modules())
            .map(|pair| pair.a.dim(0))
            .max_by_key(|r| *r.as_ref().unwrap_or(&0));
        let rank = match (self.how, self.rank) {
            (Combination::Cat, _) => all.iter().map(|(adapter, _)| adapter.config.r).sum(),
            (Combination::Svd, Some(rank)) => rank,
            _ => largest.transpose()?.unwrap_or(1),
        };
        let mut pairs = modules.values().map(|of| self.module(of, rank)).collect::<Result<Vec<_>>>()?;
        let order =
            |pair: &LoraPair| Projection::parse(&pair.module).map(|(layer, projection)| projection.stream(layer));
        pairs.sort_by_key(order);
        let Some((first, _)) = all.first() else {
            return Err(Error::Adapter("is none of several: there are none".into()));
        };
        let config = config(&first.config, all, &pairs, rank);
        Ok(Adapter::new(config, pairs, Vec::new(), Vec::new()))
    }

    fn module(&self, of: &Weighted<'_>, rank: usize) -> Result<LoraPair> {
        let first = of[0].0;
        if matches!(self.how, Combination::Cat | Combination::Svd)
            && of.iter().any(|(pair, _)| Projection::parse(&pair.module).is_some_and(|(_, p)| p.is_of_experts()))
        {
            return Err(told(&first.module, "all experts' matrices, which are combined by linear, ties or dare alone"));
        }
        let (a, b) = match self.how {
            Combination::Cat => concatenated(of, rank)?,
            Combination::Svd => {
                let all: usize = of.iter().map(|(pair, _)| pair.a.dim(0)).sum::<candle_core::Result<usize>>()?;
                let (a, b) = concatenated(of, all)?;
                product(&a, &b, rank)?
            }
            _ => self.by_elements(of)?,
        };
        Ok(LoraPair { a, b, scaling: 1.0, ..first.clone() })
    }

    /// The `A`s and the `B`s, each by themselves.
    fn by_elements(&self, of: &Weighted<'_>) -> Result<(Tensor, Tensor)> {
        let first = of[0].0;
        if let Some((other, _)) =
            of.iter().find(|(pair, _)| pair.a.dims() != first.a.dims() || pair.b.dims() != first.b.dims())
        {
            let what = format!(
                "the ranks {} and {}, which this way cannot combine; give --combine svd or cat",
                first.a.dim(0)?,
                other.a.dim(0)?
            );
            return Err(told(&first.module, &what));
        }
        let roots: Vec<f32> = of.iter().map(|(_, factor)| factor.abs().sqrt() as f32).collect();
        // The sign goes to one side, or it would be lost.
        let signed =
            of.iter().zip(&roots).map(|((_, factor), root)| if *factor < 0.0 { -root } else { *root }).collect();
        let one = |tensor: fn(&LoraPair) -> &Tensor, weights: Vec<f32>, number: u64| -> Result<Tensor> {
            let mut all = Vec::new();
            for (pair, _) in of {
                with_slice(tensor(pair), |values| all.push(values.to_vec()))?;
            }
            let stream = Stream::new(self.seed, STREAM, number ^ by_name(&first.module));
            let made = Elements { of: all, weights }.combined(self, stream);
            Ok(from_vec(made, tensor(first).dims())?)
        };
        Ok((one(|pair| &pair.a, signed, 0)?, one(|pair| &pair.b, roots, 1)?))
    }
}

/// What random numbers of DARE are drawn for.
const STREAM: u32 = 0x6461_7265;

/// FNV-1a, in steps of two for `A` and `B`.
fn by_name(module: &str) -> u64 {
    module
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        << 1
}

/// `A`s above each other, each times its weight and scale, and `B`s beside each other, with zeros up to `rank`.
fn concatenated(of: &Weighted<'_>, rank: usize) -> Result<(Tensor, Tensor)> {
    let (inner, out) = (of[0].0.a.dim(1)?, of[0].0.b.dim(0)?);
    let (mut a, mut b) = (vec![0.0; rank * inner], vec![0.0; out * rank]);
    let mut first = 0;
    for (pair, factor) in of {
        let own = pair.a.dim(0)?;
        with_slice(&pair.a, |values| {
            a[first * inner..].iter_mut().zip(values).for_each(|(to, x)| *to = x * *factor as f32);
        })?;
        with_slice(&pair.b, |values| {
            for (to, from) in b.chunks_exact_mut(rank).zip(values.chunks_exact(own)) {
                to[first..first + own].copy_from_slice(from);
            }
        })?;
        first += own;
    }
    Ok((from_vec(a, (rank, inner))?, from_vec(b, (out, rank))?))
}

/// Fails for what has no weight.
fn refuse(adapter: &Adapter) -> Result<()> {
    if let Some(pair) = adapter.modules().iter().find(|pair| pair.magnitude.is_some()) {
        return Err(told(
            &pair.module,
            "DoRA's magnitudes, which cannot be combined; merge one, and the next into the result",
        ));
    }
    if let Some(pair) = adapter.ends().first() {
        return Err(told(
            &pair.module,
            "a pair on embedding or head, which is not combined; merge the adapters one after the other",
        ));
    }
    match adapter.saved_tensors().first() {
        Some(saved) => Err(told(
            &saved.name,
            "a tensor that was trained whole, which cannot be combined; merge the adapters one after the other",
        )),
        None => Ok(()),
    }
}

fn told(module: &str, what: &str) -> Error {
    Error::Adapter(format!("has for '{module}' {what}"))
}

/// The first one's configuration, for these pairs of scale 1.
fn config(first: &LoraConfig, all: &[(Adapter, f64)], pairs: &[LoraPair], rank: usize) -> LoraConfig {
    let same = all.iter().all(|(adapter, _)| {
        let other = &adapter.config;
        let of = |config: &LoraConfig| {
            (
                config.target_modules.clone(),
                config.exclude_modules.clone(),
                config.layers_to_transform.clone(),
                config.other.clone(),
            )
        };
        of(other) == of(first)
    });
    let mut config = LoraConfig {
        r: rank,
        lora_alpha: rank as f64,
        use_rslora: false,
        rank_pattern: Map::new(),
        alpha_pattern: Map::new(),
        init_lora_weights: Value::Bool(true),
        ..first.clone()
    };
    if !same {
        // Their full names say which, whatever each adapter's patterns were.
        let names: BTreeSet<String> = pairs.iter().map(|pair| pair.module.clone()).collect();
        config.target_modules = Some(Targets::Many(names.into_iter().collect()));
        config.exclude_modules = None;
        config.layers_to_transform = None;
        config.other.remove("layers_pattern");
    }
    config
}

#[cfg(test)]
mod tests;
