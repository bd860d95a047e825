//! What the parts of the writing share.

use ft_model::Checkpoint;
use ft_model::export::{FileType, GgufModel};

use crate::adapters::Adapters;
use crate::args::Args;

/// What a file is made of.
pub struct Job<'a> {
    pub args: &'a Args,
    pub base: &'a Checkpoint,
    pub adapters: &'a Adapters,
    pub to: FileType,
    pub model: GgufModel,
    /// The head and what it is made of, where the two were one and no longer are.
    pub head: Option<(String, String)>,
}
