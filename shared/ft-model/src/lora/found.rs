//! The tensors of an adapter's file, by what their names say.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::adapter::{Adapter, LoraPair, SavedTensor};
use super::config::LoraConfig;
use super::ends::{End, EndPair};
use super::expert_names::is_of_experts;
use super::keys::{PREFIX, key};
use crate::error::{Error, Result};
use crate::projection::Projection;

/// The matrices of a module and its magnitudes, as they are found.
type Parts = [Option<Tensor>; 3];

/// What a tensor of the file is.
enum Role<'a> {
    /// Of the adapter of a module: `A`, `B` or the magnitudes.
    Part { place: (usize, Projection), module: String, key: &'a str, part: usize },
    /// Of the adapter of embedding or head: `A` or `B`.
    OfEnd { end: End, module: &'a str, part: usize },
    /// A tensor of the base that is trained whole, by its name there.
    Saved(String),
    /// A bias of a saved module once more: with `bias` all, peft also writes it under the names that it has in memory,
    /// as it is and as it was. And the frozen weight of an adapted embedding or head, which peft writes beside its pair.
    Again,
}

/// What has been found so far.
#[derive(Default)]
pub(super) struct FoundTensors {
    /// By place: the module, and peft's name of it.
    modules: BTreeMap<(usize, Projection), (String, String, Parts)>,
    ends: BTreeMap<(End, String), [Option<Tensor>; 2]>,
    saved: Vec<SavedTensor>,
}

impl FoundTensors {
    /// Takes the tensor `name`.
    pub fn take(&mut self, name: &str, config: &LoraConfig, tensor: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        let part = match role(name, config)? {
            Role::Again => return Ok(()),
            Role::Saved(of) => {
                let key = name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
                self.saved.push(SavedTensor { name: of, key, tensor: tensor()? });
                return Ok(());
            }
            Role::OfEnd { end, module, part } => &mut self.ends.entry((end, module.to_owned())).or_default()[part],
            Role::Part { place, module, key, part } => {
                let new = || (module, key.to_owned(), Parts::default());
                &mut self.modules.entry(place).or_insert_with(new).2[part]
            }
        };
        match part.replace(tensor()?) {
            Some(_) => Err(Error::Adapter(format!("has the tensor '{name}' twice, under two names"))),
            None => Ok(()),
        }
    }

    /// The adapter of all of it.
    pub fn adapter(mut self, config: LoraConfig) -> Result<Adapter> {
        let pair = |(module, key, parts)| pair(&config, module, key, parts);
        let modules = self.modules.into_values().map(pair).collect::<Result<_>>()?;
        let end = |((end, module), parts)| end_pair(&config, end, module, parts);
        let ends = self.ends.into_iter().map(end).collect::<Result<_>>()?;
        self.saved.sort_by(|x, y| x.name.cmp(&y.name));
        Ok(Adapter::new(config, modules, ends, self.saved))
    }
}

fn pair(config: &LoraConfig, module: String, key: String, [a, b, magnitude]: Parts) -> Result<LoraPair> {
    let lacks = |kind: &str| Error::Adapter(format!("has no tensor '{}'", self::key(&key, kind)));
    let (a, b) = (a.ok_or_else(|| lacks("lora_A.weight"))?, b.ok_or_else(|| lacks("lora_B.weight"))?);
    check_rank(config, &module, &a, &b)?;
    if magnitude.is_some() != config.use_dora() {
        let (has, wants) = if magnitude.is_some() { ("a", "none") } else { ("no", "one") };
        return Err(Error::Adapter(format!(
            "has {has} lora_magnitude_vector for '{module}', but its use_dora asks for {wants}"
        )));
    }
    let scaling = config.scaling(&module)?;
    Ok(LoraPair { module, key, a, b, scaling, magnitude })
}

fn end_pair(config: &LoraConfig, end: End, module: String, parts: [Option<Tensor>; 2]) -> Result<EndPair> {
    let [Some(a), Some(b)] = parts else {
        return Err(EndPair::lacks(&module, end.kinds()[usize::from(parts[0].is_some())]));
    };
    check_rank(config, &module, &a, &b)?;
    let scaling = config.scaling(&module)?;
    Ok(EndPair { end, module, a, b, scaling })
}

/// The scale depends on the rank, so the file's must be the configuration's. Of experts each has one.
fn check_rank(config: &LoraConfig, module: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    let expected = config.rank(module)?;
    let (found_a, found_b) = (a.dims()[0], b.dims()[1]);
    let of_experts = is_of_experts(module) && found_a == found_b && found_a.is_multiple_of(expected);
    if of_experts || (found_a, found_b) == (expected, expected) {
        return Ok(());
    }
    Err(Error::Adapter(format!(
        "has the rank {expected} for '{module}' by its configuration, but lora_A has {found_a} rows and lora_B {found_b} columns"
    )))
}

/// What a tensor is by its name. peft leaves the adapter's own name (`default`) out of the keys; some tools do not.
fn role<'a>(name: &'a str, config: &LoraConfig) -> Result<Role<'a>> {
    let unknown = || {
        Error::Adapter(format!(
            "has the tensor '{name}', which has no place here; expected {PREFIX}model.layers.N.MODULE.lora_A.weight or lora_B.weight"
        ))
    };
    let plain = name.strip_prefix(PREFIX).unwrap_or(name);
    if [".modules_to_save.bias", ".original_module.bias"].iter().any(|end| plain.ends_with(end)) {
        return Ok(Role::Again);
    }
    if plain.strip_suffix(".base_layer.weight").is_some_and(|module| End::parse(module).is_some()) {
        return Ok(Role::Again);
    }
    if let Some((end, module, part)) = of_end(plain) {
        return Ok(Role::OfEnd { end, module, part });
    }
    let Some((key, kind)) = plain.split_once(".lora_") else {
        // Whole tensors: `X.weight`, `X.bias`, and the bias of a module that peft has wrapped.
        let of = plain.replace(".base_layer.bias", ".bias").replace(".modules_to_save.default.", ".");
        let known = match of.rsplit_once('.') {
            Some((_, "bias")) => true,
            Some((module, "weight")) => !module.ends_with(".base_layer"),
            _ => false,
        };
        return if known { Ok(Role::Saved(of)) } else { Err(unknown()) };
    };
    let part = match kind.split('.').collect::<Vec<_>>()[..] {
        ["A", "weight"] | ["A", _, "weight"] => 0,
        ["B", "weight"] | ["B", _, "weight"] => 1,
        ["magnitude_vector"] | ["magnitude_vector", _] | ["magnitude_vector", _, "weight"] => 2,
        _ => return Err(unknown()),
    };
    let module = config.module_of(key);
    let place = Projection::parse(&module).ok_or_else(|| Error::Module(key.into()))?;
    Ok(Role::Part { place, module, key, part })
}

/// The module and the part of a tensor of the adapter of embedding or head.
fn of_end(plain: &str) -> Option<(End, &str, usize)> {
    let (module, kind) = plain.split_once(".lora_")?;
    let end = End::parse(module)?;
    let [first, second] = match end {
        End::Head => ["A", "B"],
        End::Embedding => ["embedding_A", "embedding_B"],
    };
    let (name, rest) = kind.split_once('.').unwrap_or((kind, ""));
    // A head's are modules with a weight, an embedding's parameters; either may bear the adapter's name.
    let known = match end {
        End::Head => rest == "weight" || rest.split_once('.').is_some_and(|(_, last)| last == "weight"),
        End::Embedding => !rest.contains('.'),
    };
    let part = [first, second].iter().position(|known| *known == name).filter(|_| known)?;
    Some((end, module, part))
}
