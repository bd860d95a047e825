//! What comes out of a template.

use std::ops::Range;

/// What a template made of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    /// The text.
    pub text: String,
    /// Byte ranges of `text` that stood inside `{% generation %}`, in order.
    /// Empty if the template has no such tag.
    pub generated: Vec<Range<usize>>,
}
