//! What peft's files call the tensors of an adapter.

/// What peft puts before a module's name.
pub(super) const PREFIX: &str = "base_model.model.";

/// peft's name of a module's tensor, such as `lora_A.weight`.
pub(super) fn key(module: &str, kind: &str) -> String {
    format!("{PREFIX}{module}.{kind}")
}

/// What a trained tensor is, which decides its learning rate and its decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainedKind {
    /// `A` of a module.
    A,
    /// `B` of a module.
    B,
    /// DoRA's magnitudes.
    Magnitude,
    /// `A` of an embedding.
    EmbeddingA,
    /// `B` of an embedding.
    EmbeddingB,
    /// A tensor of the base that is trained whole.
    Saved,
}

impl TrainedKind {
    /// The name in peft's file of the tensor of what peft calls `key`.
    pub(super) fn name(self, key: &str) -> String {
        match self {
            TrainedKind::A => self::key(key, "lora_A.weight"),
            TrainedKind::B => self::key(key, "lora_B.weight"),
            TrainedKind::Magnitude => self::key(key, "lora_magnitude_vector"),
            TrainedKind::EmbeddingA => self::key(key, "lora_embedding_A"),
            TrainedKind::EmbeddingB => self::key(key, "lora_embedding_B"),
            TrainedKind::Saved => format!("{PREFIX}{key}"),
        }
    }
}
