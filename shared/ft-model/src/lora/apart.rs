//! Adapters of mixtures of experts from before transformers 5, when each expert's matrices were modules of their own.
//!
//! peft turns them into adapters of all experts' parameters when it loads them, and so does this. Gate and up, which
//! became one matrix, each keep their own rank: with `A` above `A'` and `B`, `B'` on a block diagonal the product is both
//! products, one above the other.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::LoraConfig;
use super::expert_names::{DOWN, GATE_UP, words_of};
use super::keys::{PREFIX, key};
use super::targets::Targets;
use crate::arch::Family;
use crate::error::{Error, Result};

/// What the router's module was called where its checkpoint still calls it so, and what it is called in memory.
const ROUTER: [&str; 2] = [".block_sparse_moe.gate.lora_", ".mlp.gate.lora_"];

/// A tensor of one expert: gate, up or output projection, `A` or `B`.
struct OfExpert {
    family: Family,
    layer: usize,
    expert: usize,
    part: usize,
    half: usize,
}

/// `A` and `B` of each expert, by its number.
type Pairs = BTreeMap<usize, [Option<Tensor>; 2]>;

/// Whether a tensor has a name from then.
pub(super) fn is_apart(name: &str) -> bool {
    name.contains(ROUTER[0]) || parse(name).is_some()
}

fn parse(name: &str) -> Option<OfExpert> {
    let (module, kind) = name.strip_prefix(PREFIX).unwrap_or(name).split_once(".lora_")?;
    let half = match kind.split('.').collect::<Vec<_>>()[..] {
        ["A", "weight"] | ["A", _, "weight"] => 0,
        ["B", "weight"] | ["B", _, "weight"] => 1,
        _ => return None,
    };
    Family::ALL.into_iter().find_map(|family| {
        let (names, experts) = (family.names(), family.names().experts?);
        let (layer, path) = module.strip_prefix(names.layers)?.strip_prefix('.')?.split_once('.')?;
        let (expert, own) = path.strip_prefix(experts.experts)?.strip_prefix('.')?.split_once('.')?;
        let part = [experts.gate_up[0], experts.gate_up[1], experts.down].iter().position(|known| *known == own)?;
        Some(OfExpert { family, layer: layer.parse().ok()?, expert: expert.parse().ok()?, part, half })
    })
}

/// The tensors of all experts that those of single ones make, with peft's names of today; `config` is told alike.
pub(super) fn together(config: &mut LoraConfig, tensors: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
    let mut layers: BTreeMap<usize, [Pairs; 3]> = BTreeMap::new();
    let (mut family, mut found) = (None, Vec::new());
    for (name, tensor) in tensors {
        let Some(of) = parse(&name) else {
            family = family.or(Some(Family::Mixtral));
            found.push((name.replace(ROUTER[0], ROUTER[1]), tensor));
            continue;
        };
        family = Some(of.family);
        let pair = layers.entry(of.layer).or_default()[of.part].entry(of.expert).or_default();
        if pair[of.half].replace(tensor).is_some() {
            return Err(Error::Adapter(format!("has the tensor '{name}' twice, under two names")));
        }
    }
    let Some(family) = family else { return Ok(found) };
    retarget(config, family)?;
    for (layer, [gate, up, down]) in layers {
        let experts = family.names().in_layer(layer, "mlp.experts");
        let module = |kind: &str| format!("{experts}.{kind}");
        let mut add = |kind: &str, [a, b]: [Tensor; 2]| {
            let own = config.key_of(&module(kind));
            found.extend([(key(&own, "lora_A.weight"), a), (key(&own, "lora_B.weight"), b)]);
        };
        let (gate, up, down) = (whole(gate, &experts)?, whole(up, &experts)?, whole(down, &experts)?);
        if !gate.is_empty() {
            add(GATE_UP, stacked(&on_diagonal(&gate, &up, &experts)?)?);
        }
        if !down.is_empty() {
            add(DOWN, stacked(&down)?);
        }
    }
    Ok(found)
}

/// Writes the experts' names in `target_modules` as `target_parameters`.
fn retarget(config: &mut LoraConfig, family: Family) -> Result<()> {
    let Some(Targets::Many(names)) = config.target_modules.clone() else {
        return Err(Error::Adapter(
            "has adapters of single experts, as before transformers 5, and target_modules that are no list of names; write them out"
                .into(),
        ));
    };
    // The doubled rank would have another root.
    if config.use_rslora {
        return Err(Error::Adapter(
            "has adapters of single experts, as before transformers 5, with use_rslora: their scale cannot be kept"
                .into(),
        ));
    }
    config.take_words(&words_of(family), names)
}

/// The pairs of experts 0, 1, and so on, none missing and all of the same shapes.
fn whole(pairs: Pairs, module: &str) -> Result<Vec<[Tensor; 2]>> {
    let mut all: Vec<[Tensor; 2]> = Vec::new();
    for (number, (expert, pair)) in pairs.into_iter().enumerate() {
        let [Some(a), Some(b)] = pair else {
            return Err(Error::Adapter(format!("has one matrix and not the other of expert {expert} of '{module}'")));
        };
        if expert != number {
            return Err(Error::Adapter(format!(
                "has no tensors of expert {number} of '{module}', but some of {expert}"
            )));
        }
        if let Some([first_a, first_b]) =
            all.first().filter(|first| first[0].dims() != a.dims() || first[1].dims() != b.dims())
        {
            return Err(Error::Adapter(format!(
                "has tensors of shapes {:?} and {:?} for expert {expert} of '{module}', but {:?} and {:?} for expert 0",
                a.dims(),
                b.dims(),
                first_a.dims(),
                first_b.dims()
            )));
        }
        all.push([a, b]);
    }
    Ok(all)
}

/// Each expert's gate and up as one pair of twice the rank.
fn on_diagonal(gate: &[[Tensor; 2]], up: &[[Tensor; 2]], module: &str) -> Result<Vec<[Tensor; 2]>> {
    let fits = |([a, b], [c, d]): (&[Tensor; 2], &[Tensor; 2])| a.dims() == c.dims() && b.dims() == d.dims();
    if gate.len() != up.len() || !gate.iter().zip(up).all(fits) {
        return Err(Error::Adapter(format!("has other experts, or other shapes, for gate than for up of '{module}'")));
    }
    let one = |([a, b], [c, d]): (&[Tensor; 2], &[Tensor; 2])| -> Result<[Tensor; 2]> {
        let nothing = Tensor::zeros(b.shape(), DType::F32, &Device::Cpu)?;
        let rows = [Tensor::cat(&[b, &nothing], 1)?, Tensor::cat(&[&nothing, d], 1)?];
        Ok([Tensor::cat(&[a, c], 0)?, Tensor::cat(&rows, 0)?])
    };
    gate.iter().zip(up).map(one).collect()
}

/// All experts' pairs in peft's layout.
fn stacked(pairs: &[[Tensor; 2]]) -> Result<[Tensor; 2]> {
    let half = |i: usize| pairs.iter().map(|pair| pair[i].clone()).collect::<Vec<_>>();
    let b = Tensor::stack(&half(1), 2)?.contiguous()?;
    let (out, rank, experts) = b.dims3()?;
    Ok([Tensor::cat(&half(0), 0)?, b.reshape((out, rank * experts))?])
}

#[cfg(test)]
mod tests;
