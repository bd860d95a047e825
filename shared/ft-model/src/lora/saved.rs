//! What is trained beside the pairs: biases, and modules of the base that are saved whole.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use ft_kernels::Compute;
use ft_kernels::linear::dora_norm;
use ft_kernels::tensor::on_host;

use super::adapter::{Adapter, SavedTensor};
use super::config::LoraConfig;
use super::ends::End;
use crate::arch::{Architecture, Expected};
use crate::error::{Error, Result};
use crate::layers::{LayerSource, NormWeights};
use crate::projection::Projection;

impl LoraConfig {
    /// The tensors of the base that are trained whole, with their shapes: biases by `bias`, embedding and head by
    /// `modules_to_save`.
    ///
    /// # Errors
    /// If a module is named that cannot be saved here.
    pub fn saved(&self, arch: &Architecture) -> Result<Vec<Expected>> {
        if self.bias == "all" && arch.qk_norm_has_bias() {
            return Err(Error::Adapter(
                "has bias 'all', which is not implemented with qk_layernorm; try lora_only".into(),
            ));
        }
        let adapted: BTreeSet<String> = match self.bias.as_str() {
            "lora_only" => {
                let in_layers = self.modules(arch)?.into_iter().map(|(layer, p)| p.module(arch, layer));
                in_layers.chain(self.ends(arch)?.into_iter().map(|end| end.module(arch.family).to_owned())).collect()
            }
            _ => BTreeSet::new(),
        };
        let is_trained = |name: &str| {
            let module = name.strip_suffix(".bias");
            module.is_some_and(|module| self.bias == "all" || adapted.contains(module))
        };
        let mut all: Vec<Expected> = arch.tensors().into_iter().filter(|tensor| is_trained(&tensor.name)).collect();
        for module in self.saved_modules(arch)? {
            let weight = Expected { name: format!("{module}.weight"), shape: vec![arch.vocab_size, arch.hidden_size] };
            all.push(weight);
            let bias = Expected { name: format!("{module}.bias"), shape: vec![arch.vocab_size] };
            if arch.head_bias && module == arch.names().head && !all.contains(&bias) {
                all.push(bias);
            }
        }
        Ok(all)
    }

    /// The full names of the modules of `modules_to_save`.
    fn saved_modules(&self, arch: &Architecture) -> Result<Vec<&'static str>> {
        let known = [arch.names().embedding, arch.names().head];
        let names = self.modules_to_save()?;
        let other = |name: &&&str| !known.iter().any(|module| module.ends_with(**name)) && is_module(arch, name);
        if let Some(name) = names.iter().find(other) {
            return Err(Error::Adapter(format!(
                "has '{name}' in modules_to_save, which is not implemented; there are {} and {}",
                known[0], known[1]
            )));
        }
        Ok(known.into_iter().filter(|module| names.iter().any(|name| module.ends_with(name))).collect())
    }

    /// peft's name of a tensor that is trained whole.
    pub(super) fn saved_key(&self, arch: &Architecture, name: &str) -> String {
        let of = name.strip_suffix(".bias");
        let module = of.and_then(|module| Projection::parse_in(arch.family, module));
        let end = of.and_then(|module| End::parse_in(arch.family, module));
        let wrapped = module.is_some_and(|of| self.modules(arch).is_ok_and(|adapted| adapted.contains(&of)))
            || end.is_some_and(|of| self.ends(arch).is_ok_and(|adapted| adapted.contains(&of)));
        if wrapped { name.replace(".bias", ".base_layer.bias") } else { name.to_owned() }
    }
}

impl Adapter {
    /// [`Adapter::init`] for every configuration: with the magnitudes that DoRA begins with, which are the lengths of
    /// the weights' rows, and copies of the tensors that are trained whole.
    ///
    /// # Errors
    /// As [`Adapter::init`], and if a layer cannot be had.
    pub fn init_on(arch: &Architecture, source: &dyn LayerSource, config: LoraConfig, seed: u64) -> Result<Self> {
        let (config, mut modules, ends, mut saved) = Self::without_base(arch, config, seed)?.into_parts();
        if config.use_dora() {
            for pair in &mut modules {
                let (layer, projection) = Projection::parse_in(arch.family, &pair.module)
                    .ok_or_else(|| Error::Module(pair.module.clone()))?;
                let weights = source.layer(layer)?;
                let rows = (projection.column(arch, layer), projection.shape(arch, layer).0);
                let weight = weights.product(projection.site()).weight.narrow(rows.0, rows.1)?;
                let weight = weight.to_device(&Device::Cpu)?;
                pair.magnitude = Some(dora_norm(Compute::cpu(), &weight, &pair.a, &pair.b, pair.scaling as f32)?);
            }
        }
        for Expected { name, shape } in config.saved(arch)? {
            let tensor = on_host(&base_tensor(arch, source, &name)?.to_dtype(DType::F32)?)?.copy()?;
            if tensor.dims() != shape {
                return Err(Error::Adapter(format!("saves '{name}' of shape {:?}, expected {shape:?}", tensor.dims())));
            }
            let key = config.saved_key(arch, &name);
            saved.push(SavedTensor { name, key, tensor });
        }
        saved.sort_by(|x, y| x.name.cmp(&y.name));
        Ok(Self::new(config, modules, ends, saved))
    }

    /// Whether a saved tensor that the configuration does not name is the embedding's or the head's matrix, which peft
    /// writes beside an adapter where it thinks that the vocabulary has changed, and puts in the base's place.
    fn is_unnamed_end(arch: &Architecture, saved: &SavedTensor) -> bool {
        let ends = End::ALL.map(|end| format!("{}.weight", end.module(arch.family)));
        ends.contains(&saved.name) && saved.tensor.dims() == [arch.vocab_size, arch.hidden_size]
    }

    /// The saved tensors that the configuration does not name, by their names in the base's checkpoint: they take the
    /// place of the base's, but are not trained.
    ///
    /// # Errors
    /// If the configuration does not fit the model.
    pub fn unnamed(&self, arch: &Architecture) -> Result<Vec<&str>> {
        let expected = self.config.saved(arch)?;
        let names = self.saved.iter().map(|saved| saved.name.as_str());
        Ok(names.filter(|name| expected.iter().all(|e| e.name != *name)).collect())
    }

    /// Where embedding and head of the model are one matrix, a saved one that the configuration does not name is both.
    pub(super) fn tie_unnamed(self, arch: &Architecture) -> Result<Self> {
        let [embedding, head] = End::ALL.map(|end| format!("{}.weight", end.module(arch.family)));
        let unnamed = self.unnamed(arch)?;
        let (has_embedding, has_head) = (unnamed.contains(&embedding.as_str()), unnamed.contains(&head.as_str()));
        if !arch.tie_word_embeddings || has_embedding == has_head {
            return Ok(self);
        }
        let (there, other) = if has_head { (head, embedding) } else { (embedding, head) };
        if self.saved.iter().any(|saved| saved.name == other) {
            return Ok(self);
        }
        let Self { config, modules, ends, mut saved, .. } = self;
        let found = saved.iter().find(|saved| saved.name == there).map(|saved| saved.tensor.clone());
        saved.extend(found.map(|tensor| SavedTensor { key: other.clone(), name: other, tensor }));
        saved.sort_by(|x, y| x.name.cmp(&y.name));
        Ok(Self::new(config, modules, ends, saved))
    }

    /// Whether the saved tensors are those that the configuration names, in the base's shapes.
    pub(super) fn check_saved(&self, arch: &Architecture) -> Result<()> {
        let expected = self.config.saved(arch)?;
        for Expected { name, shape } in &expected {
            let found = self.saved.iter().find(|saved| saved.name == *name);
            let found = found.ok_or_else(|| {
                Error::Adapter(format!("has no tensor '{name}', which its bias or modules_to_save name"))
            })?;
            if found.tensor.dims() != shape {
                return Err(Error::Adapter(format!(
                    "does not fit the model: the tensor '{name}' has the shape {:?}, expected {shape:?}",
                    found.tensor.dims()
                )));
            }
        }
        let unknown =
            |saved: &&SavedTensor| expected.iter().all(|e| e.name != saved.name) && !Self::is_unnamed_end(arch, saved);
        match self.saved.iter().find(unknown) {
            None => Ok(()),
            Some(saved) => Err(Error::Adapter(format!(
                "has the tensor '{}', which neither its bias nor its modules_to_save name",
                saved.key
            ))),
        }
    }
}

/// Whether the model has a module whose name ends so, as peft asks of `modules_to_save`.
pub(super) fn is_module(arch: &Architecture, ending: &str) -> bool {
    arch.tensors().iter().any(|tensor| {
        let mut modules = tensor.name.match_indices('.').map(|(end, _)| &tensor.name[..end]);
        modules.any(|module| module.ends_with(ending))
    })
}

/// A tensor of the base that can be trained whole, from wherever its layers come.
fn base_tensor(arch: &Architecture, source: &dyn LayerSource, name: &str) -> Result<Tensor> {
    let missing = || Error::Adapter(format!("saves '{name}', which the model has not"));
    let (names, ends) = (arch.names(), source.ends());
    let (module, kind) = name.rsplit_once('.').ok_or_else(missing)?;
    let bias = |norm: &NormWeights| norm.bias.clone();
    let found = match (module, kind) {
        (module, "weight") if module == names.embedding => Some(source.embedding()?.widened()?),
        (module, "weight") if module == names.head => Some(source.head()?.widened()?),
        (module, "bias") if module == names.head => ends.head_bias.clone(),
        (module, "bias") if module == names.final_norm => bias(&ends.final_norm),
        _ => None,
    };
    if let Some(tensor) = found {
        return Ok(tensor);
    }
    let inside = module.strip_prefix(names.layers).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    let (layer, part) = inside.filter(|_| kind == "bias").ok_or_else(missing)?;
    let weights = source.layer(layer.parse().map_err(|_| missing())?)?;
    if let Some((layer, projection)) = Projection::parse_in(arch.family, module) {
        let bias = weights.product(projection.site()).bias.as_ref().ok_or_else(missing)?;
        return Ok(bias.narrow(0, projection.column(arch, layer), projection.shape(arch, layer).0)?);
    }
    let norms = [
        (names.input_norm, &weights.input_norm),
        (names.attention_norm, &weights.attention_norm),
        (names.mlp_norm, &weights.mlp_norm),
        (names.output_norm, &weights.output_norm),
    ];
    let norm = norms.into_iter().find(|(known, _)| *known == Some(part)).and_then(|(_, norm)| norm.as_ref());
    norm.and_then(bias).ok_or_else(missing)
}
