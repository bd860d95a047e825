//! What will be written where.

use anyhow::Result;
use candle_core::DType;
use ft_model::checkpoint::Format;
use ft_model::{Architecture, Checkpoint};

use crate::adapters::Adapters;
use crate::args::Dtype;

/// A tensor to be written.
pub struct Planned {
    pub name: String,
    /// The base's tensor that it is made of.
    pub from: String,
    pub shape: Vec<usize>,
    pub bytes: u64,
}

/// One file of weights.
pub struct Shard {
    /// Such as `model-00001-of-00002.safetensors`.
    pub file: String,
    pub tensors: Vec<Planned>,
}

/// The files of the result.
pub struct Plan {
    pub dtype: DType,
    /// Whether a head apart is written for a base whose head is its embedding.
    pub unties: bool,
    pub shards: Vec<Shard>,
}

impl Plan {
    /// Lays the base's tensors, in the order of the computation, into files of at most `max_shard` bytes.
    /// A single tensor that is larger has a file of its own.
    pub fn new(base: &Checkpoint, adapters: &Adapters, dtype: Option<Dtype>, max_shard: u64) -> Result<Self> {
        let dtype = match dtype {
            Some(dtype) => dtype.candle(),
            None => default_dtype(base)?,
        };
        let mut groups: Vec<Vec<Planned>> = Vec::new();
        let mut room = 0;
        let mut names: Vec<(String, String)> = base.names().into_iter().map(|name| (name.clone(), name)).collect();
        let head = untied_head(base.architecture(), adapters);
        let unties = head.is_some();
        names.extend(head);
        for (name, from) in names {
            let shape = base.shape(&from)?.to_vec();
            let bytes = (shape.iter().product::<usize>() * dtype.size_in_bytes()) as u64;
            if groups.is_empty() || bytes > room {
                groups.push(Vec::new());
                room = max_shard;
            }
            room = room.saturating_sub(bytes);
            if let Some(group) = groups.last_mut() {
                group.push(Planned { name, from, shape, bytes });
            }
        }
        let count = groups.len();
        let shards = groups.into_iter().enumerate().map(|(i, tensors)| Shard { file: file_name(i, count), tensors });
        Ok(Self { dtype, unties, shards: shards.collect() })
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> u64 {
        self.tensors().map(|tensor| tensor.bytes).sum()
    }

    /// All tensors, file by file.
    pub fn tensors(&self) -> impl Iterator<Item = &Planned> {
        self.shards.iter().flat_map(|shard| &shard.tensors)
    }
}

/// The head and what it is made of, where one of the two was trained and they are one in the base.
pub fn untied_head(arch: &Architecture, adapters: &Adapters) -> Option<(String, String)> {
    let (head, embedding) = (format!("{}.weight", arch.names().head), arch.embedding_name());
    let trained =
        [&head, &embedding].iter().any(|name| adapters.saved(name).is_some() || !adapters.on(name).is_empty());
    (arch.tie_word_embeddings && trained).then_some((head, embedding))
}

/// The type of a float model's own weights. The blocks of a GGUF, or of bitsandbytes, are exact in f32 and in nothing
/// narrower; it is also what transformers makes of them.
pub fn default_dtype(base: &Checkpoint) -> Result<DType> {
    for name in base.names() {
        if matches!(base.stored_dtype(&name)?, Format::Blocks(_) | Format::FourBit(_) | Format::ByteRows) {
            return Ok(DType::F32);
        }
    }
    Ok(base.main_dtype()?.float().unwrap_or(DType::F32))
}

fn file_name(index: usize, count: usize) -> String {
    if count == 1 {
        return "model.safetensors".into();
    }
    format!("model-{:05}-of-{count:05}.safetensors", index + 1)
}
