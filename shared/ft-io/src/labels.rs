//! What files and programs mean by a label.

/// The label of a token that takes no part in the loss: PyTorch's `ignore_index`, and Hugging Face's.
pub const IGNORE_INDEX: i32 = -100;
