//! An adapter as llama.cpp's file of one (`general.type` = `adapter`): it stays apart from the base.
//!
//! llama.cpp adds `alpha / rank · B·A` to a tensor, with one alpha for the whole file and the rank of each pair. What it
//! does not know of a scale, rsLoRA's root or a module's own alpha, goes into that alpha, and into `B` where modules
//! differ.

use std::collections::HashMap;

use candle_core::Tensor;
use ft_io::gguf::{Metadata, Typed};
use ft_kernels::tensor::with_slice;

use super::refused::refused;
use super::tensors::{self, GgufPart};
use crate::arch::{Architecture, gguf};
use crate::error::Result;
use crate::lora::{Adapter, End, EndPair};

/// An adapter as llama.cpp reads one.
#[derive(Debug)]
pub struct GgufLora {
    /// What the file says, the architecture's name first.
    pub metadata: Metadata,
    /// Its matrices.
    pub tensors: Vec<LoraTensor>,
}

/// `A` or `B` of a tensor of the base, in f32.
#[derive(Debug)]
pub struct LoraTensor {
    /// The tensor's name in the base's file, and `.lora_a` or `.lora_b`.
    pub name: String,
    /// The last dimension is the one whose elements lie beside each other.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

/// The pairs of one tensor of the file: one, or one for each expert.
struct Pairs {
    name: String,
    factors: Vec<(Tensor, Tensor)>,
    parts: Vec<GgufPart>,
    scaling: f64,
}

impl GgufLora {
    /// The file of `adapter`, for a base of architecture `arch`.
    ///
    /// # Errors
    /// [`crate::Error::NotInGguf`] for what such a file has no place for: DoRA, biases and modules that were trained
    /// whole, an embedding that is the head too.
    pub fn new(arch: &Architecture, adapter: &Adapter) -> Result<Self> {
        refuse(arch, adapter)?;
        let all = pairs(arch, adapter)?;
        let alpha_of = |of: &Pairs| -> Result<f64> { Ok(of.scaling * of.factors[0].1.dim(1)? as f64) };
        let alphas = all.iter().map(alpha_of).collect::<Result<Vec<_>>>()?;
        // An alpha of 0 is none to llama.cpp.
        let alpha = alphas.iter().copied().find(|alpha| *alpha != 0.0).unwrap_or(1.0);
        let mut made = Vec::new();
        for (of, own) in all.iter().zip(alphas) {
            made.extend(of.tensors((own / alpha) as f32)?);
        }
        for pair in adapter.ends() {
            made.extend(end(pair, pair.scaling * pair.b.dim(1)? as f64 / alpha)?);
        }
        let text = |key: &str, text: &str| (key.to_owned(), Typed::Text(text.into()));
        let metadata = vec![
            text(gguf::ARCHITECTURE, gguf::architecture_name(arch.family)),
            text("general.type", "adapter"),
            text("adapter.type", "lora"),
            ("adapter.lora.alpha".into(), Typed::F32(alpha as f32)),
        ];
        Ok(Self { metadata, tensors: made })
    }
}

/// Fails for what a file has no place for.
fn refuse(arch: &Architecture, adapter: &Adapter) -> Result<()> {
    let merged = "nothing of it; merge the adapter with --to gguf instead";
    if adapter.modules().iter().any(|pair| pair.magnitude.is_some()) {
        return Err(refused("use_dora", "true", merged));
    }
    if let Some(saved) = adapter.saved_tensors().first() {
        return Err(refused(&saved.name, "trained whole (modules_to_save or bias)", merged));
    }
    if let Some(pair) = adapter.ends().first().filter(|_| arch.tie_word_embeddings) {
        return Err(refused(&pair.module, "adapted while embedding and head are one", merged));
    }
    Ok(())
}

/// The layers' pairs, by the file's tensors.
fn pairs(arch: &Architecture, adapter: &Adapter) -> Result<Vec<Pairs>> {
    let tensors = tensors::all(arch, gguf::architecture_name(arch.family))?;
    // Which tensor of the file each of the model's is in.
    let mut places: HashMap<&str, (usize, &GgufPart)> = HashMap::new();
    for (i, tensor) in tensors.iter().enumerate() {
        for part in &tensor.parts {
            places.entry(part.from.as_str()).or_insert((i, part));
        }
    }
    let mut all: Vec<Pairs> = Vec::new();
    for pair in adapter.modules() {
        let first = all.len();
        for (name, a, b) in pair.on_tensors(arch)? {
            let Some((i, part)) = places.get(name.as_str()) else {
                return Err(refused(&name, "adapted", "no tensor of that name"));
            };
            let name = &tensors[*i].name;
            let at = all[first..].iter().position(|known| known.name == *name).map(|at| first + at);
            let at = at.unwrap_or_else(|| {
                all.push(Pairs { name: name.clone(), factors: Vec::new(), parts: Vec::new(), scaling: pair.scaling });
                all.len() - 1
            });
            all[at].factors.push((a, b));
            all[at].parts.push((*part).clone());
        }
    }
    Ok(all)
}

impl Pairs {
    /// `A` as it is, and `B` with its rows as the file has the base's, times `factor`.
    fn tensors(&self, factor: f32) -> Result<[LoraTensor; 2]> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for ((a, b), part) in self.factors.iter().zip(&self.parts) {
            with_slice(a, |values| first.extend_from_slice(values))?;
            with_slice(b, |values| {
                let (start, rank) = (second.len(), values.len() / part.rows);
                second.resize(start + values.len(), 0.0);
                for (row, values) in values.chunks_exact(rank).enumerate() {
                    let to = &mut second[start + part.file_row(row) * rank..][..rank];
                    to.iter_mut().zip(values).for_each(|(to, x)| *to = x * factor);
                }
            })?;
        }
        let shape = |dims: &[usize]| {
            if self.factors.len() > 1 { [&[self.factors.len()], dims].concat() } else { dims.to_vec() }
        };
        let (a, b) = &self.factors[0];
        let tensor = |end: &str, dims: &[usize], values| LoraTensor {
            name: format!("{}.{end}", self.name),
            shape: shape(dims),
            values,
        };
        Ok([tensor("lora_a", a.dims(), first), tensor("lora_b", b.dims(), second)])
    }
}

/// The pair of an embedding, whose `A` llama.cpp takes transposed to look up rows of it, or of a head.
fn end(pair: &EndPair, factor: f64) -> Result<[LoraTensor; 2]> {
    let (name, a) = match pair.end {
        End::Embedding => ("token_embd.weight", pair.a.t()?.contiguous()?),
        End::Head => ("output.weight", pair.a.clone()),
    };
    let tensor = |end: &str, from: &Tensor, factor: f32| -> Result<LoraTensor> {
        let mut values = Vec::new();
        with_slice(from, |from| values.extend(from.iter().map(|x| x * factor)))?;
        Ok(LoraTensor { name: format!("{name}.{end}"), shape: from.dims().to_vec(), values })
    };
    Ok([tensor("lora_a", &a, 1.0)?, tensor("lora_b", &pair.b, factor as f32)?])
}
