//! Adapters of the embedding and of the head, beside those of the layers.
//!
//! A head is a linear layer as any other. An embedding's matrix is `[vocabulary, hidden]`, and an id's embedding becomes
//! `W[id] + scaling · B·A[:, id]`, with `A` `[r, vocabulary]` and `B` `[hidden, r]`, which peft calls
//! `lora_embedding_A` and `lora_embedding_B`. Where both are one matrix they are adapted apart, as in peft.

use candle_core::Tensor;

use super::keys::TrainedKind;
use crate::arch::{Architecture, Family};
use crate::error::Error;
use crate::trainable::PairIds;

/// One of the two modules that have a row for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Embedding,
    Head,
}

/// The adapter of one of them.
#[derive(Debug, Clone)]
pub struct EndPair {
    pub end: End,
    /// Such as `model.embed_tokens`.
    pub module: String,
    /// `[r, in]`, f32; of an embedding `in` is the vocabulary.
    pub a: Tensor,
    /// `[out, r]`, f32
    pub b: Tensor,
    /// The factor of `B·A`.
    pub scaling: f64,
}

/// A pair, and the ids of its tensors.
#[derive(Debug, Clone, Copy)]
pub struct OnEnd<'a> {
    pub ids: PairIds,
    pub pair: &'a EndPair,
}

impl End {
    /// In the order in which adapters list them, after the layers.
    pub const ALL: [End; 2] = [End::Embedding, End::Head];

    /// The module's full name in a family.
    pub fn module(self, family: Family) -> &'static str {
        match self {
            End::Embedding => family.names().embedding,
            End::Head => family.names().head,
        }
    }

    /// Which one a module's full name means in some family.
    pub fn parse(module: &str) -> Option<Self> {
        Family::ALL.into_iter().find_map(|family| Self::parse_in(family, module))
    }

    /// [`Self::parse`] in one family.
    pub fn parse_in(family: Family, module: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.module(family) == module)
    }

    /// The shapes of `A` and `B`.
    pub fn shapes(self, arch: &Architecture, rank: usize) -> [[usize; 2]; 2] {
        let (inner, out) = match self {
            End::Embedding => (arch.vocab_size, arch.hidden_size),
            End::Head => (arch.hidden_size, arch.vocab_size),
        };
        [[rank, inner], [out, rank]]
    }

    /// What peft calls `A` and `B`.
    pub fn kinds(self) -> [TrainedKind; 2] {
        match self {
            End::Embedding => [TrainedKind::EmbeddingA, TrainedKind::EmbeddingB],
            End::Head => [TrainedKind::A, TrainedKind::B],
        }
    }
}

impl EndPair {
    /// The error of a pair of which one tensor is not there.
    pub(super) fn lacks(module: &str, kind: TrainedKind) -> Error {
        Error::Adapter(format!("has no tensor '{}'", kind.name(module)))
    }
}
