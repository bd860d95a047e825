//! A model as a GGUF file would have it: metadata, tensors, and what each of them is made of.
//!
//! Names, orders of rows and what is added to norms are those that GGUF files are read by (`arch::gguf`), the other way
//! round. Some things such a file cannot say, and llama.cpp takes them for granted; so what would be written is read
//! again before anything is, and a model that would come out as another one is refused.

mod agree;
mod keys;
mod loads;
mod lora;
mod refused;
mod rope;
mod tensors;
mod types;

pub use lora::{GgufLora, LoraTensor};
pub use tensors::{GgufPart, GgufTensor};
pub use types::FileType;

use ft_io::gguf::{Metadata, NewTensor, Typed};

use crate::arch::{Architecture, gguf};
use crate::checkpoint::Format;
use crate::error::Result;

/// A model as a GGUF file would have it, but for its tokenizer.
#[derive(Debug)]
pub struct GgufModel {
    /// What the file says of the architecture, llama.cpp's name for it first.
    pub metadata: Metadata,
    /// The weights.
    pub tensors: Vec<GgufTensor>,
    /// Small tensors that are no weights, all of 32 bits: what changes the rotary embedding.
    pub rope: Vec<(&'static str, Vec<f32>)>,
    /// What llama.cpp computes otherwise, in words for a person.
    pub remarks: Vec<String>,
}

impl GgufModel {
    /// The model `arch` as a file of type `to`.
    ///
    /// # Errors
    /// [`crate::Error::NotInGguf`] where llama.cpp has no such architecture, or takes another value for granted than the model
    /// has.
    pub fn new(arch: &Architecture, to: FileType) -> Result<Self> {
        let name = gguf::architecture_name(arch.family);
        let mut metadata = vec![(gguf::ARCHITECTURE.to_owned(), Typed::Text(name.into()))];
        metadata.extend(keys::metadata(arch, name));
        let (keys, rope) = rope::metadata(arch, name);
        metadata.extend(keys);
        loads::check(arch, name)?;
        let tensors = tensors::all(arch, name)?;
        let remarks = agree::check(arch, &metadata, &tensors, &rope)?;
        let tensors = types::assign(tensors, arch, to);
        Ok(Self { metadata, tensors, rope, remarks })
    }

    /// All tensors as the header has them, those of the rotary embedding first.
    ///
    /// # Errors
    /// [`crate::Error::NotInGguf`] for a row that is no whole number of blocks, which no type is chosen for.
    pub fn headers(&self) -> Result<Vec<NewTensor>> {
        let rope = self.rope.iter().map(|(name, values)| {
            let bytes = 4 * values.len() as u64;
            Ok(NewTensor {
                name: (*name).into(),
                shape: vec![values.len()],
                kind: Format::F32.ggml().unwrap_or(0),
                bytes,
            })
        });
        rope.chain(self.tensors.iter().map(GgufTensor::header)).collect()
    }
}
